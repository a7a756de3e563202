//! Records on their way, and the duty to account for each of their parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halley_backend::push_log::{Ack, Delivery};
use halley_proto::goim::logic::PushMsg;
use tokio::time::Instant;

use crate::metrics::{Metrics, Outcome};

/// A record of the log, shared by its parts. It is acknowledged when the last
/// of them is gone, unless one of them ended without an outcome.
pub(crate) struct Record {
    pub(crate) msg: Arc<PushMsg>,
    pub(crate) deadline: Instant,
    published: Instant,
    ack: Option<Ack>,
    is_returned: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Record {
    pub(crate) fn new(
        delivery: Delivery,
        push_deadline: Duration,
        metrics: &Arc<Metrics>,
    ) -> Arc<Self> {
        metrics.records.inc();
        Arc::new(Self {
            msg: delivery.msg,
            deadline: delivery.published + push_deadline,
            published: delivery.published,
            ack: Some(delivery.ack),
            is_returned: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(ack) = self.ack.take()
            && !*self.is_returned.get_mut()
        {
            ack.done();
        }
    }
}

/// What of a record goes to one lane of one comet.
pub(crate) struct Part {
    pub(crate) record: Arc<Record>,
    pub(crate) target: Target,
    /// Pushes without an outcome yet. They are returned to the log with the
    /// part: whatever ends a part early cannot lose it.
    left: u32,
}

/// Whom a part is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// All keys of the record.
    AllKeys,
    /// The keys of the record at these places.
    Keys(Box<[usize]>),
    Room,
    Everyone,
}

impl Part {
    /// A part of a record, from now on counted as pending.
    pub(crate) fn new(record: &Arc<Record>, target: Target) -> Self {
        let keys = match &target {
            Target::AllKeys => record.msg.keys.len(),
            Target::Keys(places) => places.len(),
            Target::Room | Target::Everyone => 1,
        };
        let left = u32::try_from(keys).unwrap_or(u32::MAX);
        record.metrics.taken(left);
        Self {
            record: Arc::clone(record),
            target,
            left,
        }
    }

    /// A part that stands for a record nobody gets.
    pub(crate) fn of_nobody(record: &Arc<Record>) -> Self {
        Self::new(record, Target::Everyone)
    }

    /// The keys that the part is for; none for a room or everyone.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = &self.record.msg.keys;
        let (all, some) = match &self.target {
            Target::AllKeys => (keys.as_slice(), [].as_slice()),
            Target::Keys(places) => ([].as_slice(), &**places),
            Target::Room | Target::Everyone => ([].as_slice(), [].as_slice()),
        };
        let some = some.iter().map(|&place| &keys[place]);
        all.iter().chain(some).map(String::as_str)
    }

    /// Counts what became of the part.
    pub(crate) fn end(mut self, outcome: Outcome) {
        let left = std::mem::take(&mut self.left);
        self.record.metrics.ended(outcome, left);
        if outcome == Outcome::Delivered {
            let age = self.record.published.elapsed();
            self.record
                .metrics
                .delivery_seconds
                .observe(age.as_secs_f64());
        }
    }

    /// Gives the keys of the part away in parts of up to `keys_max`, each for
    /// keys of one group, which then have its duty. A part without keys, or with
    /// one, stays as it is.
    pub(crate) fn divide(
        mut self,
        group: impl Fn(&str) -> usize,
        keys_max: usize,
        mut give: impl FnMut(usize, Self),
    ) {
        let mut keys = self.keys();
        let first = keys.next().map(&group);
        let has_more = keys.next().is_some();
        drop(keys);
        if !has_more {
            return give(first.unwrap_or_default(), self);
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in self.places() {
            let group = group(&self.record.msg.keys[place]);
            groups.entry(group).or_default().push(place);
        }
        self.left = 0;
        for (group, places) in groups {
            for places in places.chunks(keys_max.max(1)) {
                let part = Self {
                    record: Arc::clone(&self.record),
                    target: Target::Keys(places.into()),
                    left: u32::try_from(places.len()).unwrap_or(u32::MAX),
                };
                give(group, part);
            }
        }
    }

    /// The part as one part for each key, which then have its duty.
    pub(crate) fn split(self) -> Vec<Self> {
        let mut parts = Vec::new();
        self.divide(|_| 0, 1, |_, part| parts.push(part));
        parts
    }

    /// The places in the record of the keys that the part is for.
    fn places(&self) -> Vec<usize> {
        match &self.target {
            Target::AllKeys => (0..self.record.msg.keys.len()).collect(),
            Target::Keys(places) => places.to_vec(),
            Target::Room | Target::Everyone => Vec::new(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.left > 0 {
            self.record.is_returned.store(true, Ordering::Release);
            self.record.metrics.ended(Outcome::Returned, self.left);
        }
    }
}
