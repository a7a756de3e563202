//! A name server that lives in this process, and what is particular to nodes
//! found through it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use halley_backend::backoff::Backoff;
use halley_backend::registry::{DnsConfig, DnsRegistry, Registry, Role};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record};
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Known, names, until};

const GRACE: Duration = Duration::from_millis(700);

/// The name server.
pub(crate) struct FakeDns {
    address: SocketAddr,
    zone: Arc<Zone>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Zone {
    mood: Mutex<Mood>,
    questions: watch::Sender<usize>,
}

#[derive(Clone, Debug)]
enum Mood {
    Answers(Vec<RData>),
    NoSuchName,
    Fails,
    Silent,
}

impl FakeDns {
    pub(crate) async fn start(records: Vec<RData>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Zone {
            mood: Mutex::new(Mood::Answers(records)),
            questions: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (end, served) = (stop.clone(), Arc::clone(&zone));
        TaskTracker::new().spawn(async move {
            let mut packet = [0; 1500];
            loop {
                tokio::select! {
                    received = socket.recv_from(&mut packet) => {
                        let (length, peer) = received.unwrap();
                        if let Some(answer) = served.answer(&packet[..length]) {
                            socket.send_to(&answer, peer).await.unwrap();
                        }
                    }
                    () = end.cancelled() => return,
                }
            }
        });
        Self {
            address,
            zone,
            _stop: stop.drop_guard(),
        }
    }

    fn set(&self, mood: Mood) {
        *self.zone.mood.lock() = mood;
    }

    /// Waits for questions that come after now.
    async fn asked(&self, times: usize) {
        let mut questions = self.zone.questions.subscribe();
        let so_far = *questions.borrow();
        let wait = questions.wait_for(|asked| *asked >= so_far + times);
        tokio::time::timeout(super::PATIENCE, wait)
            .await
            .expect("questions come")
            .unwrap();
    }

    fn config(&self, comets: &str) -> DnsConfig {
        DnsConfig {
            comets: comets.to_owned(),
            logics: "logic.test.".to_owned(),
            servers: vec![self.address],
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(200),
            grace: GRACE,
            ..DnsConfig::default()
        }
    }

    fn registry(&self, comets: &str) -> DnsRegistry {
        let backoff = Backoff {
            min: Duration::from_millis(10),
            max: Duration::from_millis(20),
        };
        DnsRegistry::new(&self.config(comets), backoff).unwrap()
    }
}

impl Zone {
    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(packet).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        let mood = self.mood.lock().clone();
        self.questions.send_modify(|asked| *asked += 1);
        match mood {
            Mood::Silent => return None,
            Mood::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
            Mood::Fails => answer.metadata.response_code = ResponseCode::ServFail,
            Mood::Answers(records) => {
                answer.add_answers(
                    records
                        .into_iter()
                        .filter(|record| record.record_type() == query.query_type)
                        .map(|record| Record::from_rdata(query.name().clone(), 60, record)),
                );
            }
        }
        Some(answer.to_vec().unwrap())
    }
}

fn srv(target: &str, port: u16) -> RData {
    RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()))
}

fn address(ip: &str) -> RData {
    RData::from(ip.parse::<IpAddr>().unwrap())
}

/// Comets `a` and `b` by SRV.
pub(crate) async fn known() -> Known {
    let (dns, registry) = services().await;
    Known {
        registry,
        _server: Some(dns),
    }
}

async fn services() -> (FakeDns, Arc<dyn Registry>) {
    let dns = FakeDns::start(vec![srv("b.comet.test.", 3109), srv("a.comet.test.", 3110)]).await;
    let registry = Arc::new(dns.registry("_grpc._tcp.comet.test."));
    (dns, registry)
}

#[tokio::test]
async fn targets_are_nodes_by_their_first_label() {
    let (_dns, registry) = services().await;

    let mut watch = registry.watch(Role::Comet);
    let nodes = until(&mut watch, |nodes| nodes.len() == 2).await;

    let nodes: Vec<_> = nodes.iter().map(|n| (&*n.hostname, &*n.grpc)).collect();
    assert_eq!(
        nodes,
        [
            ("a", "grpc://a.comet.test:3110"),
            ("b", "grpc://b.comet.test:3109")
        ]
    );
}

#[tokio::test]
async fn addresses_are_nodes_by_themselves() {
    let dns = FakeDns::start(vec![address("192.0.2.1"), address("2001:db8::1")]).await;
    let registry = dns.registry("comet.test.");

    let mut watch = registry.watch(Role::Comet);
    let nodes = until(&mut watch, |nodes| nodes.len() == 2).await;

    let nodes: Vec<_> = nodes.iter().map(|n| (&*n.hostname, &*n.grpc)).collect();
    assert_eq!(
        nodes,
        [
            ("192.0.2.1", "grpc://192.0.2.1:3109"),
            ("2001:db8::1", "grpc://[2001:db8::1]:3109")
        ]
    );
}

#[tokio::test]
async fn an_answer_without_a_node_takes_it_out_at_once() {
    let (dns, registry) = services().await;
    let mut watch = registry.watch(Role::Comet);
    until(&mut watch, |nodes| nodes.len() == 2).await;

    dns.set(Mood::Answers(vec![
        srv("b.comet.test.", 3109),
        srv("c.comet.test.", 1),
    ]));

    until(&mut watch, |nodes| names(nodes) == ["b", "c"]).await;
}

#[tokio::test]
async fn a_name_without_records_ends_its_nodes_after_the_grace() {
    let (dns, registry) = services().await;
    let mut watch = registry.watch(Role::Comet);
    until(&mut watch, |nodes| nodes.len() == 2).await;

    let since = tokio::time::Instant::now();
    dns.set(Mood::NoSuchName);
    until(&mut watch, <[_]>::is_empty).await;
    assert!(since.elapsed() >= GRACE);

    dns.set(Mood::Answers(vec![srv("a.comet.test.", 1)]));
    until(&mut watch, |nodes| names(nodes) == ["a"]).await;
}

#[tokio::test]
async fn nodes_stay_while_no_server_answers() {
    let (dns, registry) = services().await;
    let mut watch = registry.watch(Role::Comet);
    until(&mut watch, |nodes| nodes.len() == 2).await;
    watch.mark_unchanged();

    for mood in [Mood::Fails, Mood::Silent] {
        dns.set(mood);
        let lost = tokio::time::timeout(GRACE * 2, watch.changed()).await;
        assert!(lost.is_err(), "a node was lost");
    }

    dns.set(Mood::Answers(vec![srv("b.comet.test.", 3109)]));
    until(&mut watch, |nodes| names(nodes) == ["b"]).await;
}

#[tokio::test]
async fn watchers_of_a_role_share_the_questions() {
    let (dns, registry) = services().await;
    let mut watches: Vec<_> = (0..50).map(|_| registry.watch(Role::Comet)).collect();
    for watch in &mut watches {
        until(watch, |nodes| nodes.len() == 2).await;
    }

    let since = tokio::time::Instant::now();
    dns.asked(10).await;

    // One question at a time, 20 ms after the answer to the one before.
    assert!(since.elapsed() >= Duration::from_millis(20) * 8);
}
