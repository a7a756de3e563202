//! A job's end of the delivery stream.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use halley_proto::halley::delivery::delivery_client::DeliveryClient;
use halley_proto::halley::delivery::{
    All, CometHello, Item, JobHello, Keys, Pushes, Refusal, Reports, RoomChanges, item::Target,
};
use halley_wire::{Op, raw};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::soon;

/// See the [module](self).
pub(crate) struct TestJob {
    pub(crate) hello: CometHello,
    /// What had been done when the stream opened.
    pub(crate) resumed: u64,
    pub(crate) pushes: mpsc::Sender<Pushes>,
    reports: Streaming<Reports>,
    /// What was reported.
    pub(crate) done: u64,
    pub(crate) refused: Vec<Refusal>,
    pub(crate) beat: u64,
    /// Room changes that came and were not asked for yet.
    changes: VecDeque<RoomChanges>,
    /// Room changes are returned at once.
    pub(crate) acknowledges: bool,
}

impl TestJob {
    pub(crate) async fn open(address: SocketAddr, session: &str) -> Self {
        let opened = Self::try_open(address, session).await;
        soon("a hello", async { opened.expect("the stream is open") }).await
    }

    pub(crate) async fn try_open(address: SocketAddr, session: &str) -> Result<Self, Status> {
        let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel: Channel = channel.connect_lazy();
        let (pushes, sent) = mpsc::channel(1024);
        let hello = Pushes {
            hello: Some(JobHello {
                session: session.to_owned(),
            }),
            ..Pushes::default()
        };
        pushes.try_send(hello).expect("there is room");
        let mut client = DeliveryClient::new(channel);
        let stream = client.deliver(ReceiverStream::new(sent)).await?;
        let mut reports = stream.into_inner();
        let first = reports.message().await?.expect("a hello");
        let greeting = Reports {
            hello: first.hello.clone(),
            done: first.done,
            refused: first.refused.clone(),
            ..Reports::default()
        };
        assert_eq!(first, greeting, "a job looks for nothing else in it");
        Ok(Self {
            hello: first.hello.expect("a hello"),
            resumed: first.done,
            pushes,
            reports,
            done: first.done,
            refused: first.refused,
            beat: 0,
            changes: VecDeque::new(),
            acknowledges: true,
        })
    }

    /// Sends items, in one message.
    pub(crate) async fn push(&self, items: Vec<Item>) {
        let pushes = Pushes {
            items,
            ..Pushes::default()
        };
        // A test whose stream is closed finds that out from the reports.
        let _ = self.pushes.send(pushes).await;
    }

    /// The next report, or `None` when the stream has ended in order.
    pub(crate) async fn report(&mut self) -> Result<Option<Reports>, Status> {
        let report = soon("a report", self.reports.message()).await?;
        if let Some(report) = &report {
            self.take(report).await;
        }
        Ok(report)
    }

    async fn take(&mut self, report: &Reports) {
        self.done = self.done.max(report.done);
        self.refused.extend(report.refused.iter().cloned());
        self.beat = self.beat.max(report.beat);
        if let Some(rooms) = report.rooms.clone() {
            if self.acknowledges {
                self.acknowledge(rooms.version).await;
            }
            self.changes.push_back(rooms);
        }
    }

    pub(crate) async fn acknowledge(&self, rooms_version: u64) {
        let pushes = Pushes {
            rooms_version,
            ..Pushes::default()
        };
        let _ = self.pushes.send(pushes).await;
    }

    /// Waits until everything up to `id` is reported.
    pub(crate) async fn done(&mut self, id: u64) {
        while self.done < id {
            self.report()
                .await
                .expect("the stream goes on")
                .expect("a report");
        }
    }

    /// The next room changes.
    pub(crate) async fn rooms(&mut self) -> RoomChanges {
        loop {
            if let Some(rooms) = self.changes.pop_front() {
                return rooms;
            }
            let report = self.report().await.expect("the stream goes on");
            report.expect("a report");
        }
    }

    /// Reads until the stream ends.
    pub(crate) async fn end(&mut self) -> Result<(), Status> {
        while self.report().await?.is_some() {}
        Ok(())
    }

    /// Reads, as a job does, until something else has happened.
    pub(crate) async fn while_reading<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        loop {
            tokio::select! {
                value = &mut other => return value,
                report = self.reports.message() => {
                    let report = report.expect("the stream goes on").expect("a report");
                    self.take(&report).await;
                }
                () = tokio::time::sleep(Duration::from_secs(20)) => panic!("nothing happens"),
            }
        }
    }
}

/// One message of operation 1000.
pub(crate) fn packets(body: &[u8]) -> bytes::Bytes {
    let mut packets = Vec::new();
    raw::push(&mut packets, Op(1000), body);
    packets.into()
}

pub(crate) fn to_key(id: u64, key: &str, body: &[u8]) -> Item {
    let keys = Keys {
        keys: vec![key.to_owned()],
        operation: 1000,
    };
    item(id, body, Target::Keys(keys))
}

pub(crate) fn to_room(id: u64, room: &str, body: &[u8]) -> Item {
    item(id, body, Target::Room(room.to_owned()))
}

pub(crate) fn to_all(id: u64, body: &[u8]) -> Item {
    let all = All {
        operation: 1000,
        speed: 0,
    };
    item(id, body, Target::All(all))
}

/// Takes a second for each connection, none of which accepts it.
pub(crate) fn to_all_slowly(id: u64) -> Item {
    let all = All {
        operation: 2000,
        speed: 1,
    };
    item(id, b"slow", Target::All(all))
}

fn item(id: u64, body: &[u8], target: Target) -> Item {
    Item {
        id,
        packets: packets(body),
        target: Some(target),
    }
}
