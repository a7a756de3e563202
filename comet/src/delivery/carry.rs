//! Carrying out one item after the other.

use std::sync::Arc;

use halley_proto::halley::delivery::{Item, item::Target};

use super::Service;
use crate::broadcast::{Broadcast, Broadcaster, Full};
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
#[derive(Debug)]
pub(super) struct Carrier {
    hub: Arc<Hub>,
    broadcaster: Arc<Broadcaster>,
    tally: Tally,
    items: [u64; 3],
}

impl Carrier {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            hub: Arc::clone(&service.hub),
            broadcaster: Arc::clone(&service.broadcaster),
            tally: Tally::default(),
            items: [0; 3],
        }
    }

    /// Carries out an item that is new; waits only for a place in the queue of broadcasts.
    pub(super) async fn carry_out(&mut self, item: Item) -> Result<(), Refused> {
        let result = self.try_carry_out(item).await;
        self.note(match result {
            Ok(()) => ItemOutcome::CarriedOut,
            Err(_) => ItemOutcome::Refused,
        });
        result
    }

    /// Says of an item that was carried out before what was said then, as far as that can be told.
    pub(super) fn repeat(&mut self, item: &Item) -> Result<(), Refused> {
        self.note(ItemOutcome::Repeated);
        if !item.target.as_ref().is_some_and(is_someone) {
            return Err(Refused::NoTarget);
        }
        Frame::raw(item.packets.clone())?;
        Ok(())
    }

    /// Adds what was carried out to the metrics.
    pub(super) fn count(&mut self) {
        self.tally.report(&self.hub.metrics);
        self.hub.metrics.items(std::mem::take(&mut self.items));
    }

    fn note(&mut self, outcome: ItemOutcome) {
        self.items[outcome as usize] += 1;
    }

    async fn try_carry_out(&mut self, item: Item) -> Result<(), Refused> {
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
                self.broadcaster.submit_in_time(broadcast).await?;
            }
        }
        Ok(())
    }
}

fn is_someone(target: &Target) -> bool {
    match target {
        Target::Keys(to) => !to.keys.is_empty(),
        Target::Room(room) => !room.is_empty(),
        Target::All(_) => true,
    }
}
