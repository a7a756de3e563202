//! Whatever happens to comets, network and registry: every push has one outcome,
//! and what a comet got by the stream is in order and not doubled.

use std::sync::Arc;
use std::time::Duration;

use halley_job::Config;
use halley_proto::goim::comet::comet_server::CometServer;
use proptest::prelude::*;
use tonic::transport::Server;

use super::stream_comet::{Nature, StreamComet};
use super::support::{FakeComet, Fleet, node, to_everyone, to_keys, to_keys_of, to_room, until};

const SERVERS: [&str; 4] = ["comet-1", "comet-2", "goim-1", "nobody"];
const STREAMING: usize = 2;

#[derive(Clone, Debug)]
enum Event {
    /// So many pushes to each target.
    Publish(usize),
    Sleep(u64),
    Cut(usize),
    Silence(usize, bool),
    Hang(usize, bool),
    Mute(usize, bool),
    TakeDown(usize),
    /// A new run, which knows nothing, at its own or another address.
    Start(usize, bool),
    /// The registry lists these of the servers.
    List([bool; 3]),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1_usize..50).prop_map(Event::Publish),
        4 => (0_u64..3000).prop_map(Event::Sleep),
        1 => Just(Event::Sleep(40_000)),
        2 => (0_usize..3).prop_map(Event::Cut),
        1 => (0_usize..3, any::<bool>()).prop_map(|(node, on)| Event::Silence(node, on)),
        1 => (0..STREAMING, any::<bool>()).prop_map(|(node, on)| Event::Hang(node, on)),
        1 => (0..STREAMING, any::<bool>()).prop_map(|(node, on)| Event::Mute(node, on)),
        1 => (0_usize..3).prop_map(Event::TakeDown),
        2 => (0..STREAMING, any::<bool>()).prop_map(|(node, on)| Event::Start(node, on)),
        1 => any::<[bool; 3]>().prop_map(Event::List),
    ]
}

struct World {
    fleet: Fleet,
    goim: Arc<FakeComet>,
    /// All runs of the comets that know the stream.
    runs: [Vec<StreamComet>; STREAMING],
    addresses: [String; 3],
    started_ms: [i64; 3],
    is_listed: [bool; 3],
    published: usize,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            fleet: Fleet::unknown(),
            goim: FakeComet::willing(),
            runs: [Vec::new(), Vec::new()],
            addresses: [0, 1, 2].map(|node| SERVERS[node].to_owned()),
            started_ms: [1; 3],
            is_listed: [true; 3],
            published: 0,
        };
        world.start_all();
        world
    }

    fn start_all(&mut self) {
        for node in 0..STREAMING {
            self.start(node, false);
        }
        let goim = CometServer::from_arc(Arc::clone(&self.goim));
        let services = Server::builder().add_service(goim);
        self.fleet.network.serve(&self.addresses[2], services);
        self.is_listed = [true; 3];
        self.list();
    }

    fn start(&mut self, number: usize, elsewhere: bool) {
        let server = SERVERS[number];
        let run = StreamComet::new(Nature::of(server).paced(Duration::from_millis(1)));
        self.fleet.network.take_down(&self.addresses[number]);
        self.started_ms[number] += 1;
        if elsewhere {
            self.addresses[number] = format!("{server}-{}", self.started_ms[number]);
        }
        self.fleet
            .network
            .serve(&self.addresses[number], run.services());
        self.runs[number].push(run);
        self.list();
    }

    fn list(&self) {
        let listed = (0..3).filter(|node| self.is_listed[*node]);
        self.fleet.list(listed.map(|number| {
            node(
                SERVERS[number],
                &self.addresses[number],
                self.started_ms[number],
            )
        }));
    }

    fn apply(&mut self, event: &Event) {
        let network = &self.fleet.network;
        match *event {
            Event::Publish(_) | Event::Sleep(_) => {}
            Event::Cut(node) => network.cut(&self.addresses[node]),
            Event::Silence(node, on) => network.silence(&self.addresses[node], on),
            Event::Hang(node, on) => self.runs[node][self.runs[node].len() - 1].hang(on),
            Event::Mute(node, on) => self.runs[node][self.runs[node].len() - 1].mute(on),
            Event::TakeDown(node) => network.take_down(&self.addresses[node]),
            Event::Start(node, elsewhere) => self.start(node, elsewhere),
            Event::List(listed) => {
                self.is_listed = listed;
                self.list();
            }
        }
    }

    async fn go_through(mut self, events: &[Event]) {
        let config = Config {
            link_parts_max: 200,
            lane_parts_max: 50,
            in_flight_parts_max: 20,
            ..Config::default()
        };
        let job = self.fleet.start(config);
        for event in events {
            match *event {
                Event::Publish(count) => {
                    for number in self.published..self.published + count {
                        let keys = ["a", "b", "c"];
                        let records = SERVERS.map(|server| to_keys_of(server, &keys, number));
                        job.publish(records).await;
                        job.publish([to_room("live://1", number), to_everyone(0, number)])
                            .await;
                    }
                    self.published += count;
                }
                Event::Sleep(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Event::Cut(_)
                | Event::Silence(..)
                | Event::Hang(..)
                | Event::Mute(..)
                | Event::TakeDown(_)
                | Event::Start(..)
                | Event::List(_) => self.apply(event),
            }
        }
        self.start_all();
        job.acknowledged().await;
        // Its end checks that the counts add up.
        job.drained().await;

        for run in self.runs.iter().flatten() {
            for target in ["a", "b", "c", "live://1", "everyone"] {
                let bodies = run.bodies(target).into_iter();
                let numbers: Vec<usize> = bodies.map(|body| body.parse().unwrap()).collect();
                assert!(
                    numbers.is_sorted_by(|one, next| one < next),
                    "{target} got {numbers:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_report_was_lost_is_no_delivery() {
    let nature = Nature {
        refused: Some("bad"),
        ..Nature::of("comet-1")
    };
    let comet = StreamComet::new(nature);
    comet.mute(true);
    let fleet = Fleet::of(&[("comet-1", &comet)]);
    let job = fleet.start(Config::default());

    job.publish(["0", "bad", "1"].map(|body| to_keys(&[body], body)))
        .await;
    until(|| comet.carried().len() == 2).await;
    assert_eq!(job.counts().in_flight, 3);
    comet.mute(false);
    fleet.network.cut("comet-1");
    job.acknowledged().await;

    let (_, counts) = job.drained().await;
    assert_eq!((counts.delivered, counts.refused), (2, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_push_has_one_outcome(events in proptest::collection::vec(event(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async { World::new().go_through(&events).await });
    }
}
