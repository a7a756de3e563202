//! Pushes to everyone, at once or paced.
//!
//! Broadcasts without a speed keep their order: one worker takes them from a
//! bounded queue. A paced one may take minutes, so it runs beside them, and only
//! so many at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::frame::Frame;
use crate::hub::Hub;
use crate::metrics::PushKind;
use crate::tally::Tally;

/// Slots whose connections are brought into the order of their logins together.
const WINDOW_SLOTS: usize = 1024;
/// Connections after which others may have their turn.
const CHUNK: usize = 64;

/// One push to everyone.
#[derive(Debug)]
pub(crate) struct Broadcast {
    pub(crate) op: i32,
    pub(crate) frame: Frame,
    /// Connections per second; 0: at once.
    pub(crate) speed: u32,
}

/// Takes broadcasts; see the [module](self).
#[derive(Debug)]
pub(crate) struct Broadcaster {
    hub: Arc<Hub>,
    queue: mpsc::Sender<Broadcast>,
    paced: Arc<Semaphore>,
}

/// There is no place for the broadcast now.
#[derive(Debug, thiserror::Error)]
#[error("too many broadcasts wait")]
pub(crate) struct Full;

impl Broadcaster {
    /// Starts the worker.
    pub(crate) fn start(hub: &Arc<Hub>) -> Self {
        let config = &hub.config.broadcast;
        let (queue, mut broadcasts) = mpsc::channel::<Broadcast>(config.queue_max.max(1));
        let worker = Arc::clone(hub);
        hub.broadcasts.spawn(async move {
            let mut closing = false;
            loop {
                let broadcast = tokio::select! {
                    broadcast = broadcasts.recv() => broadcast,
                    // What was taken until then is sent.
                    () = worker.accepting.cancelled(), if !closing => {
                        broadcasts.close();
                        closing = true;
                        continue;
                    }
                };
                let Some(broadcast) = broadcast else {
                    return;
                };
                worker.metrics.broadcasts_waiting.dec();
                send(&worker, broadcast).await;
            }
        });
        Self {
            hub: Arc::clone(hub),
            queue,
            paced: Arc::new(Semaphore::new(config.paced_max)),
        }
    }

    /// Takes a broadcast, or says at once that it cannot.
    pub(crate) fn submit(&self, broadcast: Broadcast) -> Result<(), Full> {
        if broadcast.speed == 0 {
            let place = self.queue.try_reserve().map_err(|_| Full)?;
            self.enqueue(place, broadcast);
        } else {
            let permit = Arc::clone(&self.paced).try_acquire_owned();
            self.begin(permit.map_err(|_| Full)?, broadcast);
        }
        Ok(())
    }

    /// Takes a broadcast, and waits for its place as long as may be.
    ///
    /// A draining node, whose worker is gone, sends it at once to whom is left.
    pub(crate) async fn submit_in_time(&self, broadcast: Broadcast) -> Result<(), Full> {
        if self.queue.is_closed() {
            send(&self.hub, broadcast).await;
            return Ok(());
        }
        let patience = self.hub.config.broadcast.wait;
        if broadcast.speed == 0 {
            match timeout(patience, self.queue.reserve()).await {
                Ok(Ok(place)) => self.enqueue(place, broadcast),
                Ok(Err(_)) => send(&self.hub, broadcast).await,
                Err(_) => return Err(Full),
            }
        } else {
            let permit = timeout(patience, Arc::clone(&self.paced).acquire_owned()).await;
            let permit = permit.ok().and_then(Result::ok).ok_or(Full)?;
            self.begin(permit, broadcast);
        }
        Ok(())
    }

    fn enqueue(&self, place: mpsc::Permit<'_, Broadcast>, broadcast: Broadcast) {
        self.hub.metrics.broadcasts_waiting.inc();
        place.send(broadcast);
    }

    /// Starts a paced broadcast.
    fn begin(&self, permit: OwnedSemaphorePermit, broadcast: Broadcast) {
        let hub = Arc::clone(&self.hub);
        self.hub.broadcasts.spawn(async move {
            let _permit = permit;
            send(&hub, broadcast).await;
        });
    }
}

async fn send(hub: &Hub, broadcast: Broadcast) {
    let started = Instant::now();
    let mut sent = 0u64;
    let mut addressed = 0u64;
    let slots = slots_at_once(broadcast.speed);
    let mut connections = Vec::with_capacity(slots);
    let mut turn = (broadcast.speed == 0).then(|| hub.turns.begin());
    let mut from = 0;
    while hub.buckets.copy_connections(from, slots, &mut connections) {
        from += slots;
        // A long row of empty slots lets others go first, too.
        tokio::task::coop::consume_budget().await;
        for chunk in connections.chunks(CHUNK) {
            addressed += push(hub, &broadcast, chunk);
            sent += chunk.len() as u64;
            if let Some(turn) = &mut turn {
                turn.pass().await;
            } else {
                tokio::select! {
                    () = sleep_until(started + pace(sent, broadcast.speed)) => {}
                    // A draining node has no time to lose.
                    () = hub.accepting.cancelled() => tokio::task::yield_now().await,
                }
            }
        }
    }
    if addressed == 0 {
        let messages = u64::from(broadcast.frame.messages());
        hub.metrics.pushed(PushKind::All, messages);
        let offline = Tally {
            offline: messages,
            ..Tally::default()
        };
        hub.metrics.count(&offline);
    }
}

/// Returns how many of the connections accept it.
fn push(
    hub: &Hub,
    broadcast: &Broadcast,
    connections: &[Arc<crate::connection::Connection>],
) -> u64 {
    let mut tally = Tally::default();
    let messages = u64::from(broadcast.frame.messages());
    let addressed = connections
        .iter()
        .filter(|connection| hub.push_to(connection, broadcast.op, &broadcast.frame, &mut tally))
        .count() as u64;
    hub.metrics.pushed(PushKind::All, messages * addressed);
    tally.report(&hub.metrics);
    addressed
}

/// With a speed no more than a tenth of a second's worth.
fn slots_at_once(speed: u32) -> usize {
    match speed {
        0 => WINDOW_SLOTS,
        _ => (speed as usize / 10).clamp(1, CHUNK),
    }
}

/// When so many are done, at so many a second.
pub(crate) fn pace(sent: u64, speed: u32) -> Duration {
    Duration::from_millis(sent.saturating_mul(1000) / u64::from(speed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_over_the_whole_broadcast() {
        assert_eq!(pace(100, 50), Duration::from_secs(2));
        assert_eq!(pace(1, 1000), Duration::from_millis(1));
        assert_eq!(slots_at_once(1), 1);
        assert_eq!(slots_at_once(100_000), CHUNK);
    }
}
