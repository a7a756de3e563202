//! One job's stream, from its hello to its end.

use std::sync::Arc;
use std::task::Poll;

use halley_proto::halley::delivery::item::Target;
use halley_proto::halley::delivery::{CometHello, Item, Pushes, Reports};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::Service;
use super::carry::{Carrier, Refused};
use super::feed::Feed;
use super::progress::Progress;
use super::sessions::Opened;
use crate::turns::WRITES_PER_LOOK;

/// Bytes of a session's name.
const SESSION_BYTES_MAX: usize = 256;

/// See the [module](self).
pub(super) struct PushStream {
    service: Service,
    carrier: Carrier,
    opened: Opened,
    /// Of all streams of the session.
    progress: OwnedMutexGuard<Progress>,
    /// What the job was told on this stream to be done.
    reported: u64,
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
        let progress = tokio::select! {
            progress = opened.progress() => progress,
            () = opened.closing.cancelled() => return Err(superseded()),
        };
        let hub = &service.hub;
        let feed = hub.held.open(&hub.rooms, opened.closing.clone());
        let mut stream = Self {
            carrier: Carrier::new(&service),
            report: Reports {
                hello: Some(hello_of(&service)),
                done: progress.done(),
                // The job may have lost the reports that told of them.
                refused: progress.refused(0),
                ..Reports::default()
            },
            service,
            opened,
            reported: progress.done(),
            progress,
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
        loop {
            let has_report = self.complete_report();
            tokio::select! {
                place = reports.reserve(), if has_report => {
                    // The job is gone.
                    let Ok(place) = place else { return Ok(()) };
                    place.send(Ok(self.take_report()));
                }
                message = pushes.message() => {
                    let Some(message) = message? else { break };
                    self.take(message).await?;
                }
                (id, result) = self.carrier.waited() => {
                    self.settle(id, result);
                    self.carrier.count();
                }
                () = self.feed.changed() => {}
                () = self.opened.closing.cancelled() => return Err(superseded()),
                () = hub.streams_end.cancelled() => break,
            }
        }
        // The last report tells of everything.
        let closing = self.opened.closing.clone();
        tokio::select! {
            biased;
            () = self.settle_all() => {}
            () = closing.cancelled() => return Err(superseded()),
            () = hub.serving.cancelled() => {}
        }
        if self.complete_report() {
            let report = self.take_report();
            tokio::select! {
                _ = reports.send(Ok(report)) => {}
                () = hub.serving.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Adds what there is to tell; `false` if there is nothing to report.
    fn complete_report(&mut self) -> bool {
        // A greeting has nothing else.
        if self.report.hello.is_some() {
            return true;
        }
        if self.progress.done() > self.reported {
            self.report.done = self.progress.done();
            self.report.refused = self.progress.refused(self.reported);
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

    /// What is to be reported, and from now on is.
    fn take_report(&mut self) -> Reports {
        self.reported = self.reported.max(self.report.done);
        std::mem::take(&mut self.report)
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
        let hub = Arc::clone(&self.service.hub);
        let mut turn = hub.turns.begin();
        let mut work = 0;
        for item in pushes.items {
            work += writes_of(&item);
            self.carry_out(item);
            if work >= WRITES_PER_LOOK {
                work = 0;
                self.carrier.count();
                turn.pass().await;
            }
        }
        self.carrier.count();
        Ok(())
    }

    fn carry_out(&mut self, item: Item) {
        let id = item.id;
        if self.progress.has_taken(id) {
            self.carrier.repeated();
            return;
        }
        match self.carrier.carry_out(item) {
            Poll::Ready(result) => self.settle(id, result),
            Poll::Pending => self.progress.wait(id),
        }
    }

    fn settle(&mut self, id: u64, result: Result<(), Refused>) {
        let refused = result.err().map(|refused| refused.to_string());
        self.progress.settle(id, refused);
    }

    /// Waits until nothing waits any more.
    async fn settle_all(&mut self) {
        while self.carrier.is_waiting() {
            let (id, result) = self.carrier.waited().await;
            self.settle(id, result);
        }
    }
}

impl Drop for PushStream {
    fn drop(&mut self) {
        // The job learns of it on its next stream.
        for (id, refused) in self.carrier.give_up() {
            self.settle(id, Err(refused));
        }
        self.carrier.count();
    }
}

/// Writes that an item comes to here and now, at the most.
fn writes_of(item: &Item) -> usize {
    match &item.target {
        Some(Target::Keys(keys)) => keys.keys.len(),
        Some(Target::Room(_) | Target::All(_)) | None => 1,
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
