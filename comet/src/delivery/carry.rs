//! Carrying out one item after the other.

use std::sync::Arc;
use std::task::Poll;

use halley_proto::halley::delivery::{Item, item::Target};

use super::Service;
use super::waiting::Waiting;
use crate::broadcast::{Broadcast, Full};
use crate::frame::{Frame, MalformedRaw};
use crate::hub::Hub;
use crate::metrics::{ItemOutcome, PushKind};
use crate::tally::Tally;

/// Why an item was not carried out; the text is for the job.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The job sent something else than complete packets.
    #[error(transparent)]
    Malformed(#[from] MalformedRaw),
    /// It is for nobody.
    #[error("no target")]
    NoTarget,
    /// There was no place for it for too long.
    #[error(transparent)]
    Full(#[from] Full),
}

/// See the [module](self).
pub(super) struct Carrier {
    hub: Arc<Hub>,
    waiting: Waiting,
    tally: Tally,
    items: [u64; 3],
}

impl Carrier {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            hub: Arc::clone(&service.hub),
            waiting: Waiting::new(service),
            tally: Tally::default(),
            items: [0; 3],
        }
    }

    /// Carries out an item that is new; while the result is pending, it is one of
    /// those that wait.
    pub(super) fn carry_out(&mut self, item: Item) -> Poll<Result<(), Refused>> {
        let result = self.try_carry_out(item);
        if let Poll::Ready(result) = &result {
            self.note(outcome(result));
        }
        result
    }

    /// Notes an item that was taken on before.
    pub(super) fn repeated(&mut self) {
        self.note(ItemOutcome::Repeated);
    }

    /// What became of one of those that wait. Pending while there are none.
    pub(super) async fn waited(&mut self) -> (u64, Result<(), Refused>) {
        let (id, result) = self.waiting.next().await;
        let result = result.map_err(Refused::from);
        self.note(outcome(&result));
        (id, result)
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Refuses those that wait.
    pub(super) fn give_up(&mut self) -> Vec<(u64, Refused)> {
        let waiting = self.waiting.give_up();
        for _ in &waiting {
            self.note(ItemOutcome::Refused);
        }
        let refused = waiting.into_iter().map(|id| (id, Refused::from(Full)));
        refused.collect()
    }

    /// Adds what was carried out to the metrics.
    pub(super) fn count(&mut self) {
        self.tally.report(&self.hub.metrics);
        self.hub.metrics.items(std::mem::take(&mut self.items));
    }

    fn note(&mut self, outcome: ItemOutcome) {
        self.items[outcome as usize] += 1;
    }

    fn try_carry_out(&mut self, item: Item) -> Poll<Result<(), Refused>> {
        let id = item.id;
        let target = item.target.filter(is_someone).ok_or(Refused::NoTarget)?;
        let kind = match &target {
            Target::Keys(_) => PushKind::Keys,
            Target::Room(_) => PushKind::Room,
            Target::All(_) => PushKind::All,
        };
        let frame = Frame::raw(item.packets).inspect_err(|_| self.hub.malformed(kind))?;
        match target {
            Target::Keys(to) => {
                for key in &to.keys {
                    self.hub
                        .push_key(key, to.operation, &frame, &mut self.tally);
                }
            }
            Target::Room(room) => self.hub.push_room(&room, &frame, &mut self.tally),
            Target::All(to) => {
                let broadcast = Broadcast {
                    op: to.operation,
                    frame,
                    speed: u32::try_from(to.speed).unwrap_or(0),
                };
                return self.waiting.submit(id, broadcast).map_err(Refused::from);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn outcome(result: &Result<(), Refused>) -> ItemOutcome {
    match result {
        Ok(()) => ItemOutcome::CarriedOut,
        Err(_) => ItemOutcome::Refused,
    }
}

fn is_someone(target: &Target) -> bool {
    match target {
        Target::Keys(to) => !to.keys.is_empty(),
        Target::Room(room) => !room.is_empty(),
        Target::All(_) => true,
    }
}
