//! Puts the parts that wait for a comet together into calls, or into items of a
//! stream, which are the same in another form.

use std::hash::BuildHasher as _;

use bytes::Bytes;
use foldhash::HashMap;
use halley_proto::goim::comet::{BroadcastReq, BroadcastRoomReq, PushMsgReq};
use halley_proto::goim::protocol::Proto;
use halley_proto::halley::delivery::item::Target as ItemTarget;
use halley_proto::halley::delivery::{All, Item, Keys};
use halley_wire::{HEADER_BYTES, Op, raw};
use tokio::time::Instant;

use crate::Config;
use crate::metrics::Outcome;
use crate::record::{Part, Target};

mod alone;

pub use alone::MergeForBenches;

/// What a key adds to an encoded item at most, besides itself: a tag and a length.
const KEY_OVERHEAD_BYTES: usize = 6;

/// Limits of one call or item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

impl Limits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            messages_max: config.merge_messages_max,
            bytes_max: config.merge_bytes_max,
        }
    }
}

/// Parts for the same target, to be sent as one call or item.
pub(crate) struct Call {
    pub(crate) parts: Vec<Part>,
    bytes: usize,
}

/// What a comet is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Keys(PushMsgReq),
    Room(BroadcastRoomReq),
    Everyone(BroadcastReq),
}

/// The calls for `parts`, which keep the order of parts for one room and for
/// one key.
pub(crate) fn calls(parts: impl IntoIterator<Item = Part>, limits: Limits) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut newest = Newest::default();
    for part in parts {
        if let Some(index) = newest.of(&part)
            && calls[index].takes(&part, limits)
        {
            calls[index].add(part);
        } else {
            newest.set(&part, calls.len());
            calls.push(Call::new(part));
        }
    }
    calls
}

/// The newest call for each room and each key: only that may take more without
/// changing the order.
#[derive(Default)]
struct Newest {
    rooms: HashMap<String, usize>,
    /// By hash: two keys that share one only keep each other from joining an
    /// older call.
    keys: HashMap<u64, usize>,
}

impl Newest {
    /// The call that is the newest one for all targets of `part`.
    fn of(&self, part: &Part) -> Option<usize> {
        match part.target {
            Target::Room => self.rooms.get(&part.record.msg.room).copied(),
            Target::AllKeys | Target::Keys(_) => {
                let mut newest = part.keys().map(|key| self.keys.get(&self.hash(key)));
                let first = newest.next()??;
                newest.all(|other| other == Some(first)).then_some(*first)
            }
            Target::Everyone => None,
        }
    }

    fn set(&mut self, part: &Part, index: usize) {
        match part.target {
            Target::Room => {
                self.rooms.insert(part.record.msg.room.clone(), index);
            }
            Target::AllKeys | Target::Keys(_) => {
                for key in part.keys() {
                    self.keys.insert(self.hash(key), index);
                }
            }
            Target::Everyone => {}
        }
    }

    fn hash(&self, key: &str) -> u64 {
        self.keys.hasher().hash_one(key)
    }
}

impl Call {
    pub(crate) fn new(part: Part) -> Self {
        Self {
            bytes: packet_bytes(&part),
            parts: vec![part],
        }
    }

    fn takes(&self, part: &Part, limits: Limits) -> bool {
        let has_room = self.parts.len() < limits.messages_max && self.bytes < limits.bytes_max;
        has_room && self.has_target_of(part)
    }

    fn has_target_of(&self, part: &Part) -> bool {
        let Some(first) = self.parts.first() else {
            return false;
        };
        match (&first.target, &part.target) {
            (Target::Room, Target::Room) => first.record.msg.room == part.record.msg.room,
            // The operation that the connections must accept is the call's.
            (Target::AllKeys | Target::Keys(_), Target::AllKeys | Target::Keys(_)) => {
                first.record.msg.operation == part.record.msg.operation
                    && first.keys().eq(part.keys())
            }
            _ => false,
        }
    }

    fn add(&mut self, part: Part) {
        self.bytes += packet_bytes(&part);
        self.parts.push(part);
    }

    pub(crate) fn is_for_room(&self) -> bool {
        matches!(self.parts.first(), Some(part) if part.target == Target::Room)
    }

    /// The call as calls for less, in their order; itself if it is for one
    /// message to one target.
    pub(crate) fn split(self) -> Vec<Self> {
        let parts = self.parts.into_iter();
        if parts.len() == 1 {
            parts.flat_map(Part::split).map(Self::new).collect()
        } else {
            parts.map(Self::new).collect()
        }
    }

    pub(crate) fn can_split(&self) -> bool {
        match self.parts.as_slice() {
            [part] => part.keys().nth(1).is_some(),
            parts => parts.len() > 1,
        }
    }

    /// The request to one of `comets` comets; `None` for a call without parts.
    pub(crate) fn request(&self, comets: usize) -> Option<Request> {
        let first = self.parts.first()?;
        let msg = &first.record.msg;
        let proto = Some(self.proto());
        Some(match first.target {
            Target::AllKeys | Target::Keys(_) => Request::Keys(PushMsgReq {
                keys: first.keys().map(str::to_owned).collect(),
                proto_op: msg.operation,
                proto,
            }),
            Target::Room => Request::Room(BroadcastRoomReq {
                room_id: msg.room.clone(),
                proto,
            }),
            Target::Everyone => Request::Everyone(BroadcastReq {
                proto_op: msg.operation,
                proto,
                speed: speed_of_each(msg.speed, comets),
            }),
        })
    }

    /// The same as an item of a stream.
    pub(crate) fn item(&self, id: u64, comets: usize) -> Option<Item> {
        let first = self.parts.first()?;
        let msg = &first.record.msg;
        let target = match first.target {
            Target::AllKeys | Target::Keys(_) => ItemTarget::Keys(Keys {
                keys: first.keys().map(str::to_owned).collect(),
                operation: msg.operation,
            }),
            Target::Room => ItemTarget::Room(msg.room.clone()),
            Target::Everyone => ItemTarget::All(All {
                operation: msg.operation,
                speed: speed_of_each(msg.speed, comets),
            }),
        };
        Some(Item {
            id,
            packets: self.packets(),
            target: Some(target),
        })
    }

    /// Bytes of an item, as good as exactly.
    pub(crate) fn item_bytes(&self) -> usize {
        let key_bytes = |part: &Part| part.keys().map(|key| key.len() + KEY_OVERHEAD_BYTES).sum();
        self.bytes + self.parts.first().map_or(0, key_bytes)
    }

    fn proto(&self) -> Proto {
        Proto {
            ver: 1,
            op: Op::RAW.0,
            seq: 0,
            body: self.packets(),
        }
    }

    /// All messages as the packets that clients get.
    fn packets(&self) -> Bytes {
        let bytes = self.parts.iter().map(packet_bytes).sum();
        let mut packets = Vec::with_capacity(bytes);
        for part in &self.parts {
            let msg = &part.record.msg;
            raw::push(&mut packets, Op(msg.operation), &msg.msg);
        }
        packets.into()
    }

    /// Ends the parts whose deadline has passed, and counts them.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let is_due = |part: &mut Part| part.record.deadline <= now;
        let expired: Vec<_> = self.parts.extract_if(.., is_due).collect();
        let count = expired.len();
        for part in expired {
            self.bytes -= packet_bytes(&part);
            part.end(Outcome::Expired);
        }
        count
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.bytes = 0;
        for part in self.parts.drain(..) {
            part.end(outcome);
        }
    }

    /// When the first of the parts is due.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.parts.iter().map(|part| part.record.deadline).min()
    }

    /// When the last of them is.
    pub(crate) fn latest(&self) -> Option<Instant> {
        self.parts.iter().map(|part| part.record.deadline).max()
    }

    /// The number of messages, for a histogram.
    pub(crate) fn messages(&self) -> f64 {
        u32::try_from(self.parts.len()).map_or(f64::INFINITY, f64::from)
    }
}

fn packet_bytes(part: &Part) -> usize {
    HEADER_BYTES + part.record.msg.msg.len()
}

/// One comet's share of a broadcast's pace; 0, which is no pace, stays so, and
/// a pace never becomes that.
fn speed_of_each(speed: i32, comets: usize) -> i32 {
    let comets = i32::try_from(comets.max(1)).unwrap_or(i32::MAX);
    match speed {
        ..=0 => 0,
        1.. => (speed / comets).max(1),
    }
}

#[cfg(test)]
mod tests;
