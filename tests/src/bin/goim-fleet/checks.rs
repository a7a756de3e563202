//! What a fleet has to do, whoever's its nodes are.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use halley_tests::goim::{Fleet, Kind, Logic};
use halley_wire::Op;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::clients::{COUNTS_MAX, Member, OPERATION};

const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Pushes to one receiver in a row, so far apart that goim's queues hold them.
const SEQUENCE: usize = 20;
const APART: Duration = Duration::from_millis(20);
/// How long a fleet may take until the first push arrives: a new group has to
/// form, and a job to find the comet.
const WARM_UP_MAX: Duration = Duration::from_mins(1);

/// What is looked at, as the table calls it.
pub(crate) type Check = &'static str;

/// How it was.
#[derive(Debug)]
pub(crate) enum Outcome {
    Good,
    /// Good, and there is something to say.
    Said(String),
    /// These nodes cannot know it.
    NotThere,
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "ok",
            Self::Said(what) => what,
            Self::NotThere => "–",
            Self::Failed(_) => "FAILED",
        })
    }
}

/// Two in one room, one in another, one in none.
struct Members {
    tcp: Member,
    websocket: Member,
    elsewhere: Member,
    roomless: Member,
}

struct Fixture<'f, 'a> {
    fleet: &'f mut Fleet<'a>,
    members: Members,
    pushes: AtomicUsize,
}

/// Connects clients and asks everything.
pub(crate) async fn run(fleet: &mut Fleet<'_>) -> Vec<(Check, Outcome)> {
    let mut outcomes = Vec::new();
    let mut fixture = match Fixture::new(fleet).await {
        Ok(fixture) => fixture,
        Err(error) => {
            outcomes.push(("log in", Outcome::Failed(format!("{error:#}"))));
            return outcomes;
        }
    };
    outcomes.push(("log in", Outcome::Good));
    let mut note = |check, result: anyhow::Result<Outcome>| {
        let outcome = result.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        outcomes.push((check, outcome));
    };
    note("first push", fixture.first_push().await);
    note("keys", fixture.keys().await);
    note("users", fixture.users().await);
    note("room", fixture.room().await);
    note("all", fixture.all().await);
    note("in a row", fixture.sequence().await);
    note("upstream", fixture.upstream().await);
    note("receipt", fixture.receipt().await);
    note("online", fixture.online().await);
    note("node list", fixture.node_list().await);
    note("change room", fixture.change_room().await);
    note("same key again", fixture.same_key_again().await);
    note("other job", fixture.other_job().await);
    outcomes
}

impl<'f, 'a> Fixture<'f, 'a> {
    async fn new(fleet: &'f mut Fleet<'a>) -> anyhow::Result<Self> {
        // With two comets, the members of the first room are not on the same one.
        let first = fleet.comets.first().context("no comet")?;
        let last = fleet.comets.last().context("no comet")?;
        let members = Members {
            tcp: Member::start("tcp", first.tcp, 1, "a", "live://1")?,
            websocket: Member::start("ws", last.websocket, 2, "b", "live://1")?,
            elsewhere: Member::start("tcp", last.tcp, 3, "c", "live://2")?,
            roomless: Member::start("ws", first.websocket, 0, "d", "")?,
        };
        for member in members.all() {
            member.is_connected().await?;
        }
        let pushes = AtomicUsize::new(0);
        Ok(Self {
            fleet,
            members,
            pushes,
        })
    }

    /// A fleet that was just started may lose what comes first.
    async fn first_push(&self) -> anyhow::Result<Outcome> {
        let begun = Instant::now();
        while !self.members.tcp.has("first") {
            ensure!(
                begun.elapsed() < WARM_UP_MAX,
                "nothing arrived for {WARM_UP_MAX:?}"
            );
            self.push("keys", "keys=a", "first").await?;
            sleep(LOOK_AGAIN).await;
        }
        let seconds = begun.elapsed().as_secs_f32();
        Ok(Outcome::Said(format!("{seconds:.1} s")))
    }

    async fn keys(&self) -> anyhow::Result<Outcome> {
        let Members { tcp, roomless, .. } = &self.members;
        self.push("keys", "keys=a&keys=d&keys=ghost", "keys")
            .await?;
        self.only([tcp, roomless], "keys").await
    }

    async fn users(&self) -> anyhow::Result<Outcome> {
        let Members {
            websocket,
            elsewhere,
            ..
        } = &self.members;
        self.push("mids", "mids=2&mids=3&mids=999", "users").await?;
        self.only([websocket, elsewhere], "users").await
    }

    async fn room(&self) -> anyhow::Result<Outcome> {
        let Members { tcp, websocket, .. } = &self.members;
        self.push("room", "type=live&room=1", "room").await?;
        self.only([tcp, websocket], "room").await
    }

    async fn all(&self) -> anyhow::Result<Outcome> {
        self.push("all", "", "all").await?;
        self.only(self.members.all(), "all").await
    }

    /// Nothing may be missing; order and doubles are goim's where it is goim.
    async fn sequence(&self) -> anyhow::Result<Outcome> {
        for number in 0..SEQUENCE {
            self.push("keys", "keys=a", &format!("key {number:02}"))
                .await?;
            self.push("room", "type=live&room=1", &format!("many {number:02}"))
                .await?;
            sleep(APART).await;
        }
        let last = SEQUENCE - 1;
        let tcp = &self.members.tcp;
        for number in 0..=last {
            tcp.received(&format!("key {number:02}")).await?;
            tcp.received(&format!("many {number:02}")).await?;
        }
        let in_order = [tcp.messages("key "), tcp.messages("many ")]
            .iter()
            .all(|messages| messages.is_sorted());
        ensure!(in_order || !self.fleet.mix.is_all_halley(), "out of order");
        Ok(if in_order {
            Outcome::Good
        } else {
            Outcome::Said("disorder".to_owned())
        })
    }

    async fn upstream(&self) -> anyhow::Result<Outcome> {
        for member in self.members.all() {
            member.client.send(Op::SEND, "up").await?;
        }
        Ok(Outcome::Good)
    }

    async fn receipt(&self) -> anyhow::Result<Outcome> {
        let mut logics = self.fleet.logics.iter();
        let Some(logic) = logics.find(|logic| logic.kind == Kind::Halley) else {
            return Ok(Outcome::NotThere);
        };
        let query = "keys=a&keys=ghost&receipt=1";
        let answer = self.push_to(logic, "keys", query, "receipt").await?;
        let data = serde_json::json!({ "accepted": 1, "offline": ["ghost"] });
        ensure!(answer["data"] == data, "{answer}");
        self.only([&self.members.tcp], "receipt").await
    }

    async fn online(&self) -> anyhow::Result<Outcome> {
        self.members.tcp.counts(2).await?;
        self.members.elsewhere.counts(1).await?;
        self.eventually("online/room?type=live&rooms=1&rooms=2", |data| {
            *data == serde_json::json!({ "1": 2, "2": 1 })
        })
        .await?;
        let total = |data: &Value| data["conn_count"] == 4;
        match self.eventually("online/total", total).await {
            // goim's logic misses what discovery tells while it is not asking.
            Err(_) if self.has_goim_logic() => Ok(Outcome::Said("no total".to_owned())),
            result => result.map(|()| Outcome::Good),
        }
    }

    async fn node_list(&self) -> anyhow::Result<Outcome> {
        let mut names: Vec<_> = self.fleet.comets.iter().map(|comet| &*comet.name).collect();
        names.sort_unstable();
        let is_all = |listed: Vec<&str>| {
            let mut listed = listed;
            listed.sort_unstable();
            listed == names
        };
        self.eventually("nodes/instances", |data| {
            let listed = data.as_array().into_iter().flatten();
            is_all(
                listed
                    .filter_map(|node| node["hostname"].as_str())
                    .collect(),
            )
        })
        .await?;
        self.eventually("nodes/weighted?platform=web", |data| {
            let listed = data["nodes"].as_array().into_iter().flatten();
            is_all(listed.filter_map(Value::as_str).collect())
        })
        .await?;
        Ok(Outcome::Good)
    }

    async fn change_room(&self) -> anyhow::Result<Outcome> {
        let roomless = &self.members.roomless;
        roomless.client.change_room("live://2").await?;
        self.push("room", "type=live&room=2", "changed").await?;
        self.only([&self.members.elsewhere, roomless], "changed")
            .await
    }

    /// The route has to be there again when a client is back for a second.
    async fn same_key_again(&self) -> anyhow::Result<Outcome> {
        self.members.elsewhere.client.close().await;
        sleep(Duration::from_secs(1)).await;
        let comet = self.fleet.comets.first().context("no comet")?;
        let back = Member::start("tcp", comet.tcp, 3, "c", "live://2")?;
        back.is_connected().await?;
        sleep(Duration::from_secs(1)).await;
        self.push("keys", "keys=c", "again by key").await?;
        back.received("again by key").await?;
        self.push("mids", "mids=3", "again by user").await?;
        back.received("again by user").await?;
        Ok(Outcome::Good)
    }

    /// What was pushed while there was no job is delivered by one of the other
    /// kind, which goes on where the first one ended.
    async fn other_job(&mut self) -> anyhow::Result<Outcome> {
        self.fleet.end_job().await?;
        let Members { tcp, .. } = &self.members;
        let before = tcp.messages("").len();
        for body in ["between 1", "between 2", "between 3"] {
            self.push("room", "type=live&room=1", body).await?;
        }
        self.fleet.exchange_job()?;
        for body in ["between 1", "between 2", "between 3"] {
            self.members.tcp.received(body).await?;
        }
        let more = self.members.tcp.messages("").len() - before;
        ensure!(more == 3, "{more} messages instead of 3");
        Ok(Outcome::Good)
    }

    /// Waits until these have the message, and looks that no one else does.
    async fn only<'m>(
        &'m self,
        members: impl IntoIterator<Item = &'m Member>,
        body: &str,
    ) -> anyhow::Result<Outcome> {
        let members: Vec<_> = members.into_iter().collect();
        for member in &members {
            member.received(body).await?;
        }
        for other in self.members.all() {
            let is_meant = members.iter().any(|member| std::ptr::eq(*member, other));
            ensure!(
                is_meant || !other.has(body),
                "{body:?} came to someone else"
            );
        }
        Ok(Outcome::Good)
    }

    fn has_goim_logic(&self) -> bool {
        let mut logics = self.fleet.logics.iter();
        logics.any(|logic| logic.kind == Kind::Goim)
    }

    /// Pushes to each of the logics in turn.
    async fn push(&self, what: &str, query: &str, body: &str) -> anyhow::Result<Value> {
        let number = self.pushes.fetch_add(1, Ordering::Relaxed);
        let logics = &self.fleet.logics;
        self.push_to(&logics[number % logics.len()], what, query, body)
            .await
    }

    async fn push_to(
        &self,
        logic: &Logic,
        what: &str,
        query: &str,
        body: &str,
    ) -> anyhow::Result<Value> {
        let http = logic.http;
        let url = format!("http://{http}/goim/push/{what}?operation={OPERATION}&{query}");
        let request = reqwest::Client::new().post(url).body(body.to_owned());
        let answer = request.send().await?.text().await?;
        let answer: Value =
            serde_json::from_str(&answer).with_context(|| format!("answer {answer:?}"))?;
        ensure!(answer["code"] == 0, "push to {what}: {answer}");
        Ok(answer)
    }

    /// Asks every logic until it answers so.
    async fn eventually(
        &self,
        what: &str,
        is_right: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + COUNTS_MAX;
        for logic in &self.fleet.logics {
            let url = format!("http://{}/goim/{what}", logic.http);
            loop {
                let answer = reqwest::get(&url).await?.text().await?;
                let answer: Value = serde_json::from_str(&answer)?;
                if is_right(&answer["data"]) {
                    break;
                }
                ensure!(Instant::now() < until, "{what}: {answer}");
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }
}

impl Members {
    fn all(&self) -> [&Member; 4] {
        [&self.tcp, &self.websocket, &self.elsewhere, &self.roomless]
    }
}
