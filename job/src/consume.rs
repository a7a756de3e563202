//! Reads the log and deals its records to the comets.

use std::collections::VecDeque;
use std::sync::Arc;

use halley_backend::push_log::Subscription;
use halley_proto::goim::logic::push_msg::Type;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::Config;
use crate::metrics::{Metrics, Outcome};
use crate::record::{Part, Record, Target};
use crate::routes::{Dealt, Routes};

pub(crate) struct Consumer {
    config: Config,
    routes: Routes,
    /// The registry had news while something else was waited for.
    has_news: bool,
    /// For servers that are not known, and until when they wait.
    parked: VecDeque<(Instant, Part)>,
    /// Empty between records; kept for its memory.
    dealt: Vec<Dealt>,
    metrics: Arc<Metrics>,
    drain: CancellationToken,
    now: CancellationToken,
}

impl Consumer {
    pub(crate) fn new(
        config: Config,
        routes: Routes,
        metrics: Arc<Metrics>,
        drain: CancellationToken,
        now: CancellationToken,
    ) -> Self {
        Self {
            config,
            routes,
            has_news: false,
            parked: VecDeque::new(),
            dealt: Vec::new(),
            metrics,
            drain,
            now,
        }
    }

    /// Ends when nothing is left to read or to deal after `drain`, or with `now`.
    pub(crate) async fn run(mut self, subscription: &mut dyn Subscription) -> Routes {
        let mut is_draining = false;
        let mut has_ended = false;
        // A log that was closed is not the end of the process yet.
        while !(is_draining && has_ended && self.parked.is_empty()) {
            if std::mem::take(&mut self.has_news) {
                self.take_in_news().await;
            }
            let due = self.due();
            // Without knowing the comets records are better kept in the log.
            let is_reading = !has_ended && (is_draining || self.routes.are_known());
            // The order only decides what is noticed first.
            let delivery = tokio::select! {
                biased;
                () = self.now.cancelled() => break,
                () = self.drain.cancelled(), if !is_draining => {
                    subscription.drain();
                    is_draining = true;
                    continue;
                }
                () = self.routes.changed() => {
                    self.has_news = true;
                    continue;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.settle(Instant::now());
                    continue;
                }
                delivery = subscription.next(), if is_reading => delivery,
            };
            match delivery {
                Some(delivery) => {
                    let deadline = self.config.push_deadline;
                    self.deal(&Record::new(delivery, deadline, &self.metrics))
                        .await;
                }
                None => has_ended = true,
            }
        }
        self.routes
    }

    async fn deal(&mut self, record: &Arc<Record>) {
        let msg = &record.msg;
        let mut dealt = std::mem::take(&mut self.dealt);
        match Type::try_from(msg.r#type) {
            Ok(Type::Push) if !msg.keys.is_empty() => {
                let part = Part::new(record, Target::AllKeys);
                if let Err(part) = self.routes.deal_keys(part, &mut dealt) {
                    self.park(part);
                }
            }
            Ok(Type::Room) if !msg.room.is_empty() => {
                self.routes.deal_to_all(record, &Target::Room, &mut dealt);
            }
            Ok(Type::Broadcast) => {
                self.routes
                    .deal_to_all(record, &Target::Everyone, &mut dealt);
            }
            Ok(Type::Push | Type::Room) | Err(_) => {
                debug!(r#type = msg.r#type, "record without a target");
                Part::of_nobody(record).end(Outcome::Malformed);
            }
        }
        self.put(&mut dealt).await;
        self.dealt = dealt;
    }

    /// Puts parts where they were dealt to, which may take as long as each of
    /// them may wait for.
    async fn put(&mut self, dealt: &mut Vec<Dealt>) {
        for Dealt {
            queue,
            part,
            patience,
        } in dealt.drain(..)
        {
            let put = queue.put(part, patience);
            tokio::pin!(put);
            loop {
                tokio::select! {
                    // Nothing else is looked at unless the queue is full.
                    biased;
                    is_alive = &mut put => {
                        if !is_alive {
                            // Its task ends after us, or with all: it has panicked.
                            self.now.cancel();
                        }
                        break;
                    }
                    // The part goes back to the log.
                    () = self.now.cancelled() => break,
                    () = self.routes.changed() => {
                        self.routes.aim();
                        self.has_news = true;
                        // Other comets are a reason not to wait for this one.
                        if self.routes.has_newcomer() {
                            queue.hurry();
                        }
                    }
                }
            }
        }
    }

    /// Keeps a part whose server is not known, for as long as that may change.
    fn park(&mut self, part: Part) {
        let deadline = part.record.deadline;
        let is_full = self.parked.len() >= self.config.unknown_server_parts_max;
        if is_full || !self.routes.may_grow() {
            debug!(server = part.record.msg.server, "push to unknown server");
            return part.end(Outcome::UnknownServer);
        }
        let until = Instant::now() + self.config.unknown_server_grace;
        self.parked.push_back((until.min(deadline), part));
    }

    async fn take_in_news(&mut self) {
        self.routes.refresh();
        let mut dealt = std::mem::take(&mut self.dealt);
        for (until, part) in std::mem::take(&mut self.parked) {
            match self.routes.deal_keys(part, &mut dealt) {
                Ok(()) => self.put(&mut dealt).await,
                Err(part) => self.parked.push_back((until, part)),
            }
        }
        self.dealt = dealt;
    }

    /// When [`settle`](Self::settle) has something to do.
    fn due(&self) -> Option<Instant> {
        let parked = self.parked.front().map(|(until, _)| *until);
        let due = [parked, self.routes.unsettled_until()];
        due.into_iter().flatten().min()
    }

    /// Gives up what has been waited for in vain.
    fn settle(&mut self, now: Instant) {
        self.routes.settle(now);
        while let Some((_, part)) = self.parked.pop_front_if(|(until, _)| *until <= now) {
            let is_expired = part.record.deadline <= now;
            debug!(server = part.record.msg.server, "push to unknown server");
            part.end(if is_expired {
                Outcome::Expired
            } else {
                Outcome::UnknownServer
            });
        }
    }
}
