//! The part of a run that one worker is given.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::zipf::{Purpose, Zipf, chance, draw};

/// Loopback addresses to connect from: 127.101.0.0 to 127.200.255.255.
const SOURCES: u64 = 100 << 16;

/// The members of one worker: which, where and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) run: u64,
    /// Number of the first member.
    pub(crate) first: u32,
    pub(crate) members: u32,
    pub(crate) transport: TransportMix,
    pub(crate) tcp: Vec<Target>,
    pub(crate) websocket: Vec<Target>,
    /// File with the certificate authorities to trust instead of the system's.
    pub(crate) ca: Option<PathBuf>,
    /// Members that connect to the same address before it is the turn of the next.
    pub(crate) turn: u32,
    /// Connections opened per second.
    pub(crate) connect_rate: f64,
    /// Connections that each thread may be opening at the same time.
    pub(crate) opening: u32,
    /// Deadline from connect to the first heartbeat's answer, milliseconds.
    pub(crate) connect_timeout_ms: u64,
    pub(crate) heartbeat_ms: u64,
    /// Loopback addresses to connect from; 0 leaves the choice to the kernel.
    pub(crate) sources: u32,
    /// Receiving threads.
    pub(crate) threads: u32,
    /// The operation of the pushes, which every member accepts.
    pub(crate) operation: i32,
    /// Length of every pushed body, bytes.
    pub(crate) size_bytes: usize,
    pub(crate) layout: Layout,
    /// The share of the members that a storm drops.
    pub(crate) dropped_share: f64,
    /// What members do by themselves, if anything.
    pub(crate) day: Option<Day>,
    /// Where the intervals of the run are counted from, on the machine's clock.
    pub(crate) epoch_ns: u64,
    pub(crate) interval_ms: u64,
}

/// Which room each member logs in to, and which streams of messages there are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Layout {
    /// Rooms of so many members; nobody pushes to them.
    Groups(u32),
    /// One room, whose messages are stream 0.
    Room,
    /// One room, to which nobody pushes; each member has a stream with its number.
    Users,
    /// Rooms of very different sizes; stream *r* is room *r*.
    Rooms(Crowd),
    /// The same; the stream behind those of the rooms is for everyone.
    RoomsAndEveryone(Crowd),
    /// The same; behind the streams of the rooms each member has one.
    RoomsAndUsers(Crowd),
}

/// Many rooms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Crowd {
    pub(crate) rooms: u32,
    /// Of the Zipf distribution of members and pushes.
    pub(crate) exponent: f64,
}

/// What members do by themselves. Rates are those of all members of the plan together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Day {
    /// The share of the members that are connected at the start.
    pub(crate) online_share: f64,
    /// Members that disconnect per second; as many connect.
    pub(crate) turnover_per_second: f64,
    /// Members that change their room per second.
    pub(crate) changes_per_second: f64,
    /// The share of the members that read late.
    pub(crate) slow_share: f64,
    /// How long they do not read at a time, milliseconds.
    pub(crate) slow_pause_ms: u64,
    /// How long before it leaves a member need not receive what was pushed, milliseconds; longer if messages are.
    pub(crate) grace_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TransportMix {
    /// Raw TCP.
    Tcp,
    /// WebSocket.
    Ws,
    /// Both in turns.
    Mixed,
}

/// Where members connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// The name that its certificate carries, if it speaks TLS.
    pub(crate) tls_name: Option<String>,
    /// How to ask for a WebSocket, if it is one.
    pub(crate) upgrade: Option<Upgrade>,
}

/// The request for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upgrade {
    /// For the Host header.
    pub(crate) authority: String,
    pub(crate) path: String,
}

/// goim's convention for room ids is `type://id`; this is the tool's type.
pub(crate) const ROOM_TYPE: &str = "stress";

impl Plan {
    /// The name of a member's connection.
    pub(crate) fn key(run: u64, member: u32) -> String {
        format!("{run:016x}-{member}")
    }

    /// The user id of a member: positive, and not that of another run.
    pub(crate) fn mid(run: u64, member: u32) -> i64 {
        let run = i64::try_from(run >> 33).unwrap_or(0);
        (run << 32) + i64::from(member) + 1
    }

    /// The name of a room, without its type.
    pub(crate) fn room(run: u64, room: u32) -> String {
        format!("{run:016x}-{room}")
    }

    pub(crate) fn uses_websocket(&self, member: u32) -> bool {
        match self.transport {
            TransportMix::Tcp => false,
            TransportMix::Ws => true,
            TransportMix::Mixed => member % 2 == 1,
        }
    }

    /// Where a member connects to.
    pub(crate) fn target(&self, member: u32) -> Option<&Target> {
        let targets = if self.uses_websocket(member) {
            &self.websocket
        } else {
            &self.tcp
        };
        let transports = match self.transport {
            TransportMix::Tcp | TransportMix::Ws => 1,
            TransportMix::Mixed => 2,
        };
        let place = (member / transports / self.turn.max(1)) as usize;
        targets.get(place.checked_rem(targets.len())?)
    }

    /// The address a member connects from. A source address has some 28,000 ports per destination.
    pub(crate) fn source(&self, member: u32) -> Option<Ipv4Addr> {
        let place = u64::from(member.checked_rem(self.sources)?);
        // Each run starts elsewhere: ports of the one before are not free for a minute.
        let place = self.run.wrapping_add(place) % SOURCES;
        let [.., high, middle, low] = place.to_be_bytes();
        // 127.0.0.1 itself stays free for everything else on the machine.
        Some(Ipv4Addr::new(127, 101 + high, middle, low))
    }

    /// Whether a member stays connected in a storm. Those that do are spread evenly over all.
    pub(crate) fn stays(&self, member: u32) -> bool {
        let dropped = |up_to: u32| (f64::from(up_to) * self.dropped_share).floor();
        dropped(member.saturating_add(1)) <= dropped(member)
    }

    /// Whether a member is connected from the start.
    pub(crate) fn starts_online(&self, member: u32) -> bool {
        self.day
            .is_none_or(|day| chance(Purpose::Online, member.into(), day.online_share))
    }

    /// Whether a member reads late.
    pub(crate) fn is_slow(&self, member: u32) -> bool {
        self.day
            .is_some_and(|day| chance(Purpose::Slow, member.into(), day.slow_share))
    }

    /// The streams that this worker's members can receive.
    pub(crate) fn streams(&self) -> [Range<u32>; 2] {
        let own = self.first..self.first.saturating_add(self.members);
        match self.layout {
            Layout::Groups(_) => [0..0, 0..0],
            Layout::Room => [0..1, 0..0],
            Layout::Users => [own, 0..0],
            Layout::Rooms(crowd) => [0..crowd.rooms, 0..0],
            Layout::RoomsAndEveryone(crowd) => [0..crowd.rooms.saturating_add(1), 0..0],
            Layout::RoomsAndUsers(crowd) => [
                0..crowd.rooms,
                crowd.rooms + own.start..crowd.rooms.saturating_add(own.end),
            ],
        }
    }
}

impl Layout {
    pub(crate) fn crowd(&self) -> Option<Crowd> {
        match self {
            Self::Rooms(crowd) | Self::RoomsAndEveryone(crowd) | Self::RoomsAndUsers(crowd) => {
                Some(*crowd)
            }
            Self::Groups(_) | Self::Room | Self::Users => None,
        }
    }

    /// The number of the room that a member logs in to; `zipf` is the one of the layout's crowd.
    pub(crate) fn home(&self, member: u32, zipf: Option<&Zipf>) -> u32 {
        let drawn = |zipf: &Zipf| zipf.room(draw(Purpose::Home, member.into()));
        match self {
            Self::Groups(members) => member.checked_div(*members).unwrap_or(0),
            Self::Room | Self::Users => 0,
            Self::Rooms(_) | Self::RoomsAndEveryone(_) | Self::RoomsAndUsers(_) => {
                zipf.map_or(0, drawn)
            }
        }
    }

    /// The stream of which everyone gets every message, if there is one.
    pub(crate) fn everyone(&self) -> Option<u32> {
        match self {
            Self::RoomsAndEveryone(crowd) => Some(crowd.rooms),
            Self::Groups(_)
            | Self::Room
            | Self::Users
            | Self::Rooms(_)
            | Self::RoomsAndUsers(_) => None,
        }
    }

    /// The stream of which a member gets every message.
    pub(crate) fn stream(&self, member: u32, home: u32) -> u32 {
        match self {
            Self::Groups(_) | Self::Room => 0,
            Self::Users => member,
            Self::Rooms(_) | Self::RoomsAndEveryone(_) => home,
            Self::RoomsAndUsers(crowd) => crowd.rooms.saturating_add(member),
        }
    }
}

impl Crowd {
    pub(crate) fn zipf(self) -> Zipf {
        Zipf::new(self.rooms, self.exponent)
    }
}
