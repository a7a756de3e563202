//! One job's stream, from its hello to its end.

use std::sync::Arc;

use halley_proto::halley::delivery::{CometHello, Item, Pushes, Refusal, Reports};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Service;
use super::carry::Carrier;
use super::feed::Feed;
use super::sessions::Opened;

/// Bytes of a session's name.
const SESSION_BYTES_MAX: usize = 256;
/// Items after which others get their turn.
const ITEMS_PER_TURN: usize = 128;

/// See the [module](self).
pub(super) struct PushStream {
    service: Service,
    carrier: Carrier,
    opened: Opened,
    /// The highest item carried out or refused, in all streams of the session.
    done: OwnedMutexGuard<u64>,
    feed: Feed,
    /// The last beat that is not answered, and the room changes up to it.
    beat: Option<(u64, u64)>,
    /// What is still to be reported.
    report: Reports,
}

impl PushStream {
    /// Carries out `pushes` and reports, until the job or the node ends it.
    pub(super) async fn run(
        service: Service,
        mut pushes: Streaming<Pushes>,
        reports: &mpsc::Sender<Result<Reports, Status>>,
    ) -> Result<(), Status> {
        let patience = service.hub.config.rpc.keepalive_timeout;
        let first = tokio::select! {
            first = timeout(patience, pushes.message()) => first,
            () = service.hub.streams_end.cancelled() => return Ok(()),
        };
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let hello = first.and_then(|first| first.hello);
        let session = hello
            .map(|hello| hello.session)
            .filter(|session| (1..=SESSION_BYTES_MAX).contains(&session.len()))
            .ok_or_else(|| {
                Status::invalid_argument("a stream begins with a hello and a session")
            })?;
        let opened = service
            .sessions
            .open(session)
            .map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let done = tokio::select! {
            done = opened.done() => done,
            () = opened.closing.cancelled() => return Err(superseded()),
        };
        let hub = &service.hub;
        let feed = hub.held.open(&hub.rooms, opened.closing.clone());
        let mut stream = Self {
            carrier: Carrier::new(&service),
            report: Reports {
                hello: Some(hello_of(&service)),
                done: *done,
                ..Reports::default()
            },
            service,
            opened,
            done,
            feed,
            beat: None,
        };
        stream.serve(pushes, reports).await
    }

    async fn serve(
        &mut self,
        mut pushes: Streaming<Pushes>,
        reports: &mpsc::Sender<Result<Reports, Status>>,
    ) -> Result<(), Status> {
        let hub = Arc::clone(&self.service.hub);
        let items_max = hub.config.delivery.items_max;
        loop {
            let has_report = self.complete_report();
            tokio::select! {
                place = reports.reserve(), if has_report => {
                    // The job is gone.
                    let Ok(place) = place else { return Ok(()) };
                    place.send(Ok(std::mem::take(&mut self.report)));
                }
                // What was refused is bounded by not taking more before it is reported.
                message = pushes.message(), if self.report.refused.len() < items_max => {
                    let Some(message) = message? else { break };
                    self.take(message).await?;
                }
                () = self.feed.changed() => {}
                () = self.opened.closing.cancelled() => return Err(superseded()),
                () = hub.streams_end.cancelled() => break,
            }
        }
        if self.complete_report() {
            tokio::select! {
                _ = reports.send(Ok(std::mem::take(&mut self.report))) => {}
                () = hub.serving.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Adds what there is to tell besides items; `false` if there is nothing to report.
    fn complete_report(&mut self) -> bool {
        // A greeting has nothing else.
        if self.report.hello.is_some() {
            return true;
        }
        if self.report.rooms.is_none() {
            self.report.rooms = self.feed.next();
        }
        if let Some((beat, changes)) = self.beat
            && self.feed.has_sent(changes)
        {
            self.report.beat = beat;
            self.beat = None;
        }
        self.report != Reports::default()
    }

    async fn take(&mut self, pushes: Pushes) -> Result<(), Status> {
        if pushes.rooms_version > 0 {
            self.feed.acknowledge(pushes.rooms_version);
        }
        if pushes.beat > 0 {
            self.beat = Some((pushes.beat, self.feed.changes()));
        }
        if pushes.items.len() > self.service.hub.config.delivery.items_max {
            return Err(Status::invalid_argument("too many items in one message"));
        }
        for (number, item) in (1..).zip(pushes.items) {
            self.carry_out(item).await?;
            if number % ITEMS_PER_TURN == 0 {
                self.carrier.count();
                tokio::task::yield_now().await;
            }
        }
        self.carrier.count();
        Ok(())
    }

    async fn carry_out(&mut self, item: Item) -> Result<(), Status> {
        let id = item.id;
        let carried_out = if id <= *self.done {
            self.carrier.repeat(&item)
        } else {
            tokio::select! {
                // First, as nearly every item is carried out at once.
                biased;
                carried_out = self.carrier.carry_out(item) => carried_out,
                () = self.opened.closing.cancelled() => return Err(superseded()),
            }
        };
        if let Err(refused) = carried_out {
            self.report.refused.push(Refusal {
                id,
                reason: refused.to_string(),
            });
        }
        *self.done = id.max(*self.done);
        self.report.done = *self.done;
        Ok(())
    }
}

impl Drop for PushStream {
    fn drop(&mut self) {
        self.carrier.count();
    }
}

fn hello_of(service: &Service) -> CometHello {
    let hub = &service.hub;
    let config = &hub.config.delivery;
    CometHello {
        server: hub.server.clone(),
        incarnation: u64::try_from(hub.started_ms).unwrap_or(0),
        window_bytes: config.window_bytes as u64,
        reports_rooms: true,
        rooms_lease_ms: u64::try_from(hub.held.lease().as_millis()).unwrap_or(u64::MAX),
        items_max: u32::try_from(config.items_max).unwrap_or(u32::MAX),
    }
}

fn superseded() -> Status {
    Status::aborted("the session has a newer stream, or did not keep up with the rooms")
}
