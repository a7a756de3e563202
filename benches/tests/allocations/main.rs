//! A message to a room costs its members no allocation: one comet has two
//! rooms, with TCP and WebSocket members in equal parts, of which one has a
//! hundred times as many members as the other. The same pushes to either make
//! comet's threads and the pushing thread allocate equally often.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use halley_comet::{Addresses, Comet, Config};
use halley_node::grpc::Trust;
use halley_node::{Readiness, Registry};
use halley_proto::goim::comet::BroadcastRoomReq;
use halley_proto::goim::comet::comet_server::Comet as Service;
use halley_proto::goim::protocol::Proto;
use halley_wire::{AuthBody, Op};
use tokio::runtime::{Builder, Runtime};
use tokio_util::task::TaskTracker;
use tonic::Request;

mod counting;
mod logic;
mod member;

use counting::{allocations, count_this_thread};
use logic::BelievingLogic;
use member::{Member, packets};

const FEW: usize = 10;
/// Below what makes comet start a second walker for each pass.
const MANY: usize = 1_000;
const WARM_UP: usize = 30;
const PASSES: usize = 100;
/// What the larger room may have more for each delivery that it has more: its
/// passes take longer, and comet's work of every second goes on meanwhile.
const EACH_MAX: f64 = 0.01;
/// Allocations for one push, however many members it goes to.
const PUSH_MAX: u64 = 40;

#[test]
fn a_delivery_to_a_room_allocates_nothing() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(|| count_this_thread(true))
        .build()
        .expect("a runtime");
    let node = Node::start(&runtime);

    let [few, many] = [FEW, MANY].map(|members| {
        let mut room = Room::fill(&node, members);
        (0..WARM_UP).for_each(|_| room.pass(&node, &runtime));
        let before = allocations();
        (0..PASSES).for_each(|_| room.pass(&node, &runtime));
        allocations() - before
    });

    let found = format!("{PASSES} pushes: {few} allocations for {FEW} members, {many} for {MANY}");
    let more = u32::try_from(many.saturating_sub(few)).expect("not that many");
    let deliveries = u32::try_from(PASSES * (MANY - FEW)).expect("not that many");
    assert!(
        f64::from(more) < f64::from(deliveries) * EACH_MAX,
        "{found}"
    );
    assert!(few < PUSH_MAX * PASSES as u64, "{found}");
}

struct Node {
    service: Arc<dyn Service>,
    addresses: Addresses,
}

impl Node {
    fn start(runtime: &Runtime) -> Self {
        let _context = runtime.enter();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::default();
        config.tcp.bind = vec![any];
        config.websocket.bind = vec![any];
        config.rpc.bind = any;
        let comet = Comet::build(
            config,
            Arc::new(BelievingLogic),
            &Trust::default(),
            &mut Registry::default(),
            &Readiness::default(),
        );
        let comet = comet.expect("the node is built");
        let (service, addresses) = (comet.service(), comet.addresses().clone());
        TaskTracker::new().spawn(comet.spawn().done);
        Self { service, addresses }
    }
}

struct Room {
    name: String,
    members: Vec<Member>,
}

impl Room {
    fn fill(node: &Node, members: usize) -> Self {
        let name = format!("live://{members}");
        let [tcp, websocket] = [node.addresses.tcp[0], node.addresses.websocket[0]];
        let members = (0..members).map(|number| {
            let body = AuthBody {
                key: format!("{members}-{number}"),
                room_id: name.clone(),
                ..AuthBody::default()
            };
            if number % 2 == 0 {
                Member::tcp(tcp, &body)
            } else {
                Member::websocket(websocket, &body)
            }
        });
        Self {
            members: members.collect(),
            name,
        }
    }

    /// Pushes one message and waits until everyone has it.
    fn pass(&mut self, node: &Node, runtime: &Runtime) {
        let push = BroadcastRoomReq {
            room_id: self.name.clone(),
            proto: Some(Proto {
                ver: 1,
                op: Op::RAW.0,
                seq: 0,
                body: packets().into(),
            }),
        };
        count_this_thread(true);
        let pushed = runtime.block_on(node.service.broadcast_room(Request::new(push)));
        count_this_thread(false);
        pushed.expect("the push is taken");
        for member in &mut self.members {
            member.receive();
        }
    }
}
