//! Keeps a client online: find a server, connect, log in, run the link, wait, again.

use std::collections::BTreeSet;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use halley_wire::AuthBody;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client::{Command, Request};
use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::error::RequestError;
use crate::event::{Disconnect, Event};
use crate::finder::Finder;
use crate::link::{End, Link, login};
use crate::options::Options;

/// A link that lived this long starts the delays over.
const STABLE_AFTER: Duration = Duration::from_secs(30);

pub(crate) struct Driver {
    options: Options,
    inbox: Inbox,
    events: mpsc::Sender<Event>,
    closed: CancellationToken,
    finder: Finder,
    /// Attempts since the last stable link.
    attempts: u32,
    /// Attempts since the last login.
    failures: u32,
}

/// Requests, and what the next login has to restore.
pub(crate) struct Inbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) wanted: Wanted,
}

#[derive(Clone)]
pub(crate) struct Wanted {
    auth: AuthBody,
    accepts: BTreeSet<i32>,
}

/// How to wait for the next attempt.
#[derive(Clone, Copy)]
pub(crate) enum Pause {
    /// Until the moment that the link chose within the server's advice.
    Until(Instant),
    /// Somewhere within the base delay, so that not all clients of a leaving server come at once.
    Spread,
    /// Longer with each attempt.
    Backoff,
}

/// A connection with its login done.
struct Opened {
    endpoint: Endpoint,
    connection: Connection,
    /// What the login said.
    login: Wanted,
}

/// The client ends.
struct Stop;

impl Driver {
    pub(crate) fn new(
        options: Options,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        closed: CancellationToken,
    ) -> Self {
        let finder = Finder::new(&options.servers);
        let wanted = Wanted {
            accepts: options.auth.accepts.iter().copied().collect(),
            auth: options.auth.clone(),
        };
        Self {
            options,
            inbox: Inbox { commands, wanted },
            events,
            closed,
            finder,
            attempts: 0,
            failures: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        while let Ok(()) = self.turn().await {}
    }

    /// One connection from finding a server to the wait after its end.
    async fn turn(&mut self) -> Result<(), Stop> {
        let (reason, pause) = match self.open().await? {
            Ok(opened) => {
                self.failures = 0;
                self.serve(opened).await?
            }
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                (reason, Pause::Backoff)
            }
        };
        debug!(%reason, "disconnected");
        let given_up = self
            .options
            .attempts_max
            .is_some_and(|max| self.failures >= max);
        let backoff = self.finder.backoff(&self.options);
        let delay = match pause {
            Pause::Until(moment) => moment.saturating_duration_since(Instant::now()),
            Pause::Spread => backoff.spread(),
            Pause::Backoff => backoff.delay(self.attempts.saturating_sub(1)),
        };
        let retry_in = (!given_up).then_some(delay);
        self.tell(Event::Disconnected { reason, retry_in }).await?;
        let delay = retry_in.ok_or(Stop)?;
        self.inbox
            .while_away(&self.closed, tokio::time::sleep(delay))
            .await
    }

    /// Finds a server, connects and logs in.
    async fn open(&mut self) -> Result<Result<Opened, Disconnect>, Stop> {
        self.attempts = self.attempts.saturating_add(1);
        let wanted = self.inbox.wanted.clone();
        let (options, finder) = (&self.options, &mut self.finder);
        let opening = async {
            let endpoint = finder
                .find(&options.servers, options.connection.connect_timeout)
                .await
                .map_err(|error| failed(&error))?
                .ok_or_else(|| Disconnect::Failed {
                    reason: "the list of servers is empty".to_owned(),
                })?;
            let mut connection = Connection::connect(&endpoint, &options.connection)
                .await
                .map_err(|error| failed(&error))?;
            let login = login(&mut connection, wanted.login());
            tokio::time::timeout(options.auth_timeout, login)
                .await
                .unwrap_or(Err(Disconnect::LoginTimedOut))?;
            Ok(Opened {
                endpoint,
                connection,
                login: wanted,
            })
        };
        self.inbox.while_away(&self.closed, opening).await
    }

    /// Runs the link; says why it ended and how to wait for the next one.
    async fn serve(&mut self, opened: Opened) -> Result<(Disconnect, Pause), Stop> {
        let Opened {
            endpoint,
            connection,
            login,
        } = opened;
        let connected = Event::Connected {
            endpoint: endpoint.clone(),
        };
        self.tell(connected).await?;
        self.finder.settled();
        let since = Instant::now();
        let heartbeat = self.finder.heartbeat(&self.options);
        let backoff = self.finder.backoff(&self.options);
        let link = Link::new(connection, &self.options, heartbeat, backoff);
        let end = link
            .run(&login, &mut self.inbox, &self.events, &self.closed)
            .await;
        if since.elapsed() >= STABLE_AFTER {
            self.attempts = 0;
        }
        match end {
            End::Closed => {
                let reason = Disconnect::Closed;
                // The queue may be full while its owner waits in `close`.
                let _ = self.events.try_send(Event::Disconnected {
                    reason,
                    retry_in: None,
                });
                Err(Stop)
            }
            End::Goodbye { reason, pause } => {
                self.finder.avoid(endpoint);
                self.attempts = 0;
                Ok((Disconnect::Goodbye { reason }, pause))
            }
            End::Replaced => {
                let reason = Disconnect::Replaced;
                self.tell(Event::Disconnected {
                    reason,
                    retry_in: None,
                })
                .await?;
                Err(Stop)
            }
            End::Lost(reason) => Ok((reason, Pause::Backoff)),
        }
    }

    async fn tell(&mut self, event: Event) -> Result<(), Stop> {
        let events = self.events.clone();
        let sent = self
            .inbox
            .while_away(&self.closed, events.send(event))
            .await?;
        sent.map_err(|_| Stop)
    }
}

impl Inbox {
    /// Waits for `work` while answering requests as one without a connection can.
    async fn while_away<F: Future>(
        &mut self,
        closed: &CancellationToken,
        work: F,
    ) -> Result<F::Output, Stop> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                () = closed.cancelled() => return Err(Stop),
                done = &mut work => return Ok(done),
                command = self.commands.recv() => {
                    let Command { request, answer } = command.ok_or(Stop)?;
                    let kept = self.wanted.note(&request);
                    // Nobody may be waiting any longer.
                    let _ = answer.send(if kept { Ok(()) } else { Err(RequestError::NotConnected) });
                }
            }
        }
    }
}

impl Wanted {
    /// Keeps what a request changes for later logins; `false` when it changes nothing.
    pub(crate) fn note(&mut self, request: &Request) -> bool {
        match request {
            Request::ChangeRoom(room) => self.auth.room_id.clone_from(room),
            Request::Subscribe(operations) => self.accepts.extend(operations),
            Request::Unsubscribe(operations) => self
                .accepts
                .retain(|accepted| !operations.contains(accepted)),
            Request::RefreshToken(token) => self.auth.token = Some(token.clone()),
            Request::Send { .. } => return false,
        }
        true
    }

    /// What it takes to come here from what a login said.
    pub(crate) fn since(&self, login: &Self) -> Vec<Request> {
        let mut requests = Vec::new();
        if let Some(token) = &self.auth.token
            && login.auth.token.as_ref() != Some(token)
        {
            requests.push(Request::RefreshToken(token.clone()));
        }
        if self.auth.room_id != login.auth.room_id {
            requests.push(Request::ChangeRoom(self.auth.room_id.clone()));
        }
        let more: Vec<i32> = self.accepts.difference(&login.accepts).copied().collect();
        if !more.is_empty() {
            requests.push(Request::Subscribe(more));
        }
        let fewer: Vec<i32> = login.accepts.difference(&self.accepts).copied().collect();
        if !fewer.is_empty() {
            requests.push(Request::Unsubscribe(fewer));
        }
        requests
    }

    /// The body of the next login.
    pub(crate) fn login(&self) -> String {
        let auth = AuthBody {
            accepts: self.accepts.iter().copied().collect(),
            ..self.auth.clone()
        };
        auth.to_json()
    }
}

pub(crate) fn failed(error: &dyn Error) -> Disconnect {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    Disconnect::Failed { reason }
}
