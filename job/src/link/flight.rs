//! What is under way to a comet: numbered items, in the order in which they are
//! sent and reported. Does no I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use halley_proto::halley::delivery::{Item, Refusal};
use halley_proto::remote::MESSAGE_BYTES_MAX;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tracing::debug;

use crate::merge::Call;
use crate::metrics::{Metrics, Outcome};
use crate::record::Part;

/// Bytes of items after which a message takes no further one. A larger message
/// would only delay the reports on its first items.
const MESSAGE_BYTES: usize = 256 << 10;
/// The largest item that a message can hold.
const ITEM_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (64 << 10);

/// The most that may be under way, and the items that one message may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) parts: usize,
    pub(crate) bytes: usize,
    pub(crate) message_items: usize,
}

pub(crate) struct Flight {
    /// By id; the first `sent` were sent on the stream that is open.
    items: VecDeque<Carried>,
    sent: usize,
    sent_parts: usize,
    sent_bytes: usize,
    last_id: u64,
    /// The last id that the comet can know of.
    last_sent_id: u64,
    metrics: Arc<Metrics>,
    gauge: Gauge,
}

struct Carried {
    id: u64,
    call: Call,
    bytes: usize,
    sent_at: Option<Instant>,
}

impl Flight {
    pub(crate) fn new(metrics: &Arc<Metrics>, server: &str) -> Self {
        Self {
            items: VecDeque::new(),
            sent: 0,
            sent_parts: 0,
            sent_bytes: 0,
            last_id: 0,
            last_sent_id: 0,
            metrics: Arc::clone(metrics),
            gauge: metrics.in_flight(server),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.items.len()
    }

    /// Whether the next item may be sent.
    pub(crate) fn has_room(&self, bounds: Bounds) -> bool {
        let next_bytes = self.items.get(self.sent).map_or(0, |item| item.bytes);
        let fits = self.sent_bytes.saturating_add(next_bytes) <= bounds.bytes;
        self.sent == 0 || (self.sent_parts < bounds.parts && fits)
    }

    /// How many parts more may be sent, and bytes.
    pub(crate) fn left(&self, bounds: Bounds) -> (usize, usize) {
        let parts = bounds.parts.saturating_sub(self.sent_parts).max(1);
        (parts, bounds.bytes.saturating_sub(self.sent_bytes))
    }

    /// When the first of the items that the comet has not reported was sent.
    pub(crate) fn oldest_sent_at(&self) -> Option<Instant> {
        self.items
            .front()
            .filter(|_| self.sent > 0)
            .and_then(|item| item.sent_at)
    }

    /// Puts calls at the end, to be sent. What no message could hold is refused.
    pub(crate) fn add(&mut self, calls: impl IntoIterator<Item = Call>) {
        for call in calls {
            if call.item_bytes() <= ITEM_BYTES_MAX {
                self.add_one(call);
                continue;
            }
            for mut call in call.split() {
                if call.item_bytes() <= ITEM_BYTES_MAX {
                    self.add_one(call);
                } else {
                    debug!("push too large for a comet");
                    call.end(Outcome::Refused);
                }
            }
        }
    }

    fn add_one(&mut self, call: Call) {
        self.last_id += 1;
        self.gauge.inc_by(as_gauge(call.parts.len()));
        self.items.push_back(Carried {
            id: self.last_id,
            bytes: call.item_bytes(),
            call,
            sent_at: None,
        });
    }

    /// The items of the next message, from now on sent.
    pub(crate) fn send(&mut self, bounds: Bounds, comets: usize, now: Instant) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while self.has_unsent()
            && self.has_room(bounds)
            && items.len() < bounds.message_items
            && bytes < MESSAGE_BYTES
        {
            let item = &mut self.items[self.sent];
            if !items.is_empty() && bytes + item.bytes > ITEM_BYTES_MAX {
                break;
            }
            items.extend(item.call.item(item.id, comets));
            item.sent_at = Some(now);
            bytes += item.bytes;
            self.sent += 1;
            self.sent_parts += item.call.parts.len();
            self.sent_bytes += item.bytes;
            self.last_sent_id = self.last_sent_id.max(item.id);
        }
        items
    }

    /// Ends the items up to `done`; true if there were any.
    pub(crate) fn reported(&mut self, done: u64, refused: &[Refusal], now: Instant) -> bool {
        let done = done.min(self.last_sent_id);
        let reasons = refused
            .iter()
            .map(|refusal| (refusal.id, refusal.reason.as_str()));
        let reasons: HashMap<_, _> = reasons.collect();
        let before = self.items.len();
        while let Some(mut item) = self.items.pop_front_if(|item| item.id <= done) {
            if self.sent > 0 {
                self.sent -= 1;
                self.sent_parts -= item.call.parts.len();
                self.sent_bytes -= item.bytes;
            }
            self.gauge.dec_by(as_gauge(item.call.parts.len()));
            if let Some(reason) = reasons.get(&item.id) {
                debug!(reason, "push refused");
                self.metrics.calls_refused.inc();
                item.call.end(Outcome::Refused);
                continue;
            }
            if let Some(sent_at) = item.sent_at {
                let elapsed = now.saturating_duration_since(sent_at);
                self.metrics.call_seconds.observe(elapsed.as_secs_f64());
            }
            self.metrics.merged_messages.observe(item.call.messages());
            item.call.end(Outcome::Delivered);
        }
        self.items.len() < before
    }

    /// The stream is gone: everything is to be sent again, or may expire.
    pub(crate) fn ground(&mut self) {
        self.sent = 0;
        self.sent_parts = 0;
        self.sent_bytes = 0;
    }

    /// Ends what is not sent and whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.earliest().is_none_or(|earliest| now < earliest) {
            return;
        }
        let unsent = self.items.split_off(self.sent);
        for mut item in unsent {
            let expired = item.call.expire(now);
            self.gauge.dec_by(as_gauge(expired));
            if expired > 0 {
                item.bytes = item.call.item_bytes();
            }
            if !item.call.parts.is_empty() {
                self.items.push_back(item);
            }
        }
    }

    /// When the first of what is not sent is due.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        let unsent = self.items.iter().skip(self.sent);
        unsent.filter_map(|item| item.call.earliest()).min()
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        for part in self.take() {
            part.end(outcome);
        }
    }

    /// Everything, to be delivered in another way.
    pub(crate) fn take(&mut self) -> VecDeque<Part> {
        self.ground();
        let items = std::mem::take(&mut self.items);
        let parts: VecDeque<_> = items.into_iter().flat_map(|item| item.call.parts).collect();
        self.gauge.dec_by(as_gauge(parts.len()));
        parts
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        drop(self.take());
    }
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
