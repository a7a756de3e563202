//! A comet that is delivered to by the stream, with the memory that the protocol
//! asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use halley_proto::halley::delivery::delivery_server::{Delivery, DeliveryServer};
use halley_proto::halley::delivery::item::Target;
use halley_proto::halley::delivery::{CometHello, Item, Pushes, Refusal, Reports, RoomChanges};
use halley_wire::raw;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Response, Status, Streaming};

/// What a comet is like.
#[derive(Clone, Debug)]
pub(crate) struct Nature {
    pub(crate) hello: CometHello,
    /// Time to carry out the items of a message.
    pub(crate) pace: Duration,
    /// A message with this text is refused.
    pub(crate) refused: Option<&'static str>,
}

impl Nature {
    pub(crate) fn of(server: &str) -> Self {
        static STARTS: AtomicU64 = AtomicU64::new(1);
        Self {
            hello: CometHello {
                server: server.to_owned(),
                incarnation: STARTS.fetch_add(1, Ordering::Relaxed),
                window_bytes: 1 << 20,
                reports_rooms: false,
                rooms_lease_ms: 0,
                items_max: 0,
            },
            pace: Duration::ZERO,
            refused: None,
        }
    }

    pub(crate) fn paced(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    pub(crate) fn with_rooms(mut self, lease: Duration) -> Self {
        self.hello.reports_rooms = true;
        self.hello.rooms_lease_ms = u64::try_from(lease.as_millis()).unwrap();
        self
    }
}

/// An item that was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) at: Instant,
    pub(crate) item: Item,
}

impl Carried {
    pub(crate) fn bodies(&self) -> Vec<String> {
        let packets = raw::iter(&self.item.packets).map(|packet| packet.unwrap());
        packets
            .map(|packet| String::from_utf8(packet.body.to_vec()).unwrap())
            .collect()
    }

    fn is_for(&self, target: &str) -> bool {
        match self.item.target.as_ref().unwrap() {
            Target::Keys(keys) => keys.keys.iter().any(|key| key == target),
            Target::Room(room) => room == target,
            Target::All(_) => target == "everyone",
        }
    }
}

/// A run of a comet. Clones are the same.
#[derive(Clone)]
pub(crate) struct StreamComet(Arc<Inner>);

struct Inner {
    nature: Nature,
    /// It does nothing while it is.
    is_hung: watch::Sender<bool>,
    /// It does everything but report items while it is.
    is_mute: watch::Sender<bool>,
    leaving: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    carried: Vec<Carried>,
    messages: usize,
    opened: usize,
    ended_in_order: usize,
    rooms: Option<mpsc::Sender<RoomChanges>>,
    rooms_version: u64,
    returned: u64,
    beats: u64,
}

/// What is remembered of a session.
#[derive(Clone, Default)]
struct Session {
    /// The last item.
    last: u64,
    refused: Vec<Refusal>,
}

impl StreamComet {
    pub(crate) fn new(nature: Nature) -> Self {
        Self(Arc::new(Inner {
            nature,
            is_hung: watch::Sender::new(false),
            is_mute: watch::Sender::new(false),
            leaving: CancellationToken::new(),
            state: Mutex::default(),
        }))
    }

    pub(crate) fn services(&self) -> Router {
        Server::builder().add_service(DeliveryServer::new(self.clone()))
    }

    pub(crate) fn hang(&self, is_hung: bool) {
        self.0.is_hung.send_replace(is_hung);
    }

    pub(crate) fn mute(&self, is_mute: bool) {
        self.0.is_mute.send_replace(is_mute);
    }

    /// Ends its stream in order, and takes none any more.
    pub(crate) fn leave(&self) {
        self.0.leaving.cancel();
    }

    pub(crate) fn carried(&self) -> Vec<Carried> {
        self.0.state.lock().carried.clone()
    }

    /// Messages with items.
    pub(crate) fn messages(&self) -> usize {
        self.0.state.lock().messages
    }

    /// Streams so far.
    pub(crate) fn opened(&self) -> usize {
        self.0.state.lock().opened
    }

    pub(crate) fn sessions(&self) -> usize {
        self.0.state.lock().sessions.len()
    }

    pub(crate) fn ended_in_order(&self) -> usize {
        self.0.state.lock().ended_in_order
    }

    /// The last room change that the job returned.
    pub(crate) fn returned(&self) -> u64 {
        self.0.state.lock().returned
    }

    pub(crate) fn beats(&self) -> u64 {
        self.0.state.lock().beats
    }

    /// All messages for a key, a room or everyone.
    pub(crate) fn bodies(&self, target: &str) -> Vec<String> {
        let state = self.0.state.lock();
        let carried = state
            .carried
            .iter()
            .filter(|carried| carried.is_for(target));
        carried.flat_map(Carried::bodies).collect()
    }

    pub(crate) fn assert_got(&self, target: &str, numbers: std::ops::Range<usize>) {
        let expected: Vec<_> = numbers.map(|number| number.to_string()).collect();
        assert_eq!(self.bodies(target), expected, "{target}");
    }

    /// Says something about rooms on the open stream; returns its version.
    pub(crate) async fn say(&self, held: &[&str], released: &[&str], complete: bool) -> u64 {
        let owned = |rooms: &[&str]| rooms.iter().map(|room| (*room).to_owned()).collect();
        let (rooms, version) = {
            let mut state = self.0.state.lock();
            state.rooms_version += 1;
            (state.rooms.clone().unwrap(), state.rooms_version)
        };
        let changes = RoomChanges {
            version,
            held: owned(held),
            released: owned(released),
            complete,
        };
        rooms.send(changes).await.unwrap();
        version
    }

    async fn serve(
        &self,
        mut pushes: Streaming<Pushes>,
        reports: mpsc::Sender<Result<Reports, Status>>,
    ) -> Option<()> {
        let nature = &self.0.nature;
        let mut is_hung = self.0.is_hung.subscribe();
        is_hung.wait_for(|is_hung| !is_hung).await.ok()?;
        let session = pushes.message().await.ok()??.hello.unwrap().session;
        let (rooms, mut said) = mpsc::channel(16);
        let known = {
            let mut state = self.0.state.lock();
            state.opened += 1;
            state.rooms = Some(rooms);
            state.sessions.entry(session.clone()).or_default().clone()
        };
        let greeting = Reports {
            hello: Some(nature.hello.clone()),
            done: known.last,
            refused: known.refused,
            ..Reports::default()
        };
        reports.send(Ok(greeting)).await.ok()?;
        loop {
            tokio::select! {
                message = pushes.message() => {
                    is_hung.wait_for(|is_hung| !is_hung).await.ok()?;
                    let Some(message) = message.ok()? else {
                        self.0.state.lock().ended_in_order += 1;
                        return None;
                    };
                    if !message.items.is_empty() {
                        tokio::time::sleep(nature.pace).await;
                    }
                    reports.send(Ok(self.carry(&session, message))).await.ok()?;
                }
                Some(changes) = said.recv() => {
                    let rooms = Some(changes);
                    let report = Reports { rooms, ..Reports::default() };
                    reports.send(Ok(report)).await.ok()?;
                }
                () = self.0.leaving.cancelled() => return None,
                () = reports.closed() => return None,
            }
        }
    }

    fn carry(&self, session: &str, pushed: Pushes) -> Reports {
        let mut state = self.0.state.lock();
        let state = &mut *state;
        state.returned = state.returned.max(pushed.rooms_version);
        state.beats = state.beats.max(pushed.beat);
        state.messages += usize::from(!pushed.items.is_empty());
        let session = state.sessions.entry(session.to_owned()).or_default();
        let mut refused = Vec::new();
        for item in pushed.items {
            if item.id <= session.last {
                continue;
            }
            session.last = item.id;
            let (id, at) = (item.id, Instant::now());
            let carried = Carried { at, item };
            if carried
                .bodies()
                .iter()
                .any(|body| self.0.nature.refused == Some(body))
            {
                let reason = "not wanted".to_owned();
                refused.push(Refusal { id, reason });
            } else {
                state.carried.push(carried);
            }
        }
        session.refused.extend(refused.iter().cloned());
        let is_mute = *self.0.is_mute.borrow();
        if is_mute {
            refused.clear();
        }
        Reports {
            done: if is_mute { 0 } else { session.last },
            refused,
            beat: pushed.beat,
            ..Reports::default()
        }
    }
}

#[tonic::async_trait]
impl Delivery for StreamComet {
    type DeliverStream = ReceiverStream<Result<Reports, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<Pushes>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        if self.0.leaving.is_cancelled() {
            return Err(Status::unavailable("drained"));
        }
        let (reports, sent) = mpsc::channel(1);
        let comet = self.clone();
        TaskTracker::new().spawn(async move {
            comet.serve(request.into_inner(), reports).await;
        });
        Ok(Response::new(ReceiverStream::new(sent)))
    }
}
