//! A job's end of the delivery stream: the way on which comet gets its pushes
//! where job is another process.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use halley_proto::halley::delivery::delivery_client::DeliveryClient;
use halley_proto::halley::delivery::item::Target;
use halley_proto::halley::delivery::{Item, JobHello, Pushes};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::transport::Endpoint;

use crate::protocol::packets;

/// Messages on their way to comet.
const UNDER_WAY_MAX: usize = 16;

/// An open stream. Comet is told at once that its rooms are known.
#[derive(Debug)]
pub(crate) struct Job {
    pushes: mpsc::Sender<Pushes>,
    last_id: u64,
    _reports: AbortOnDropHandle<()>,
}

impl Job {
    pub(crate) async fn open(comet: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{comet}"))?;
        let channel = endpoint.connect().await.context("reach comet")?;
        let (pushes, sent) = mpsc::channel(UNDER_WAY_MAX);
        let hello = Pushes {
            hello: Some(JobHello {
                session: "bench".to_owned(),
            }),
            ..Pushes::default()
        };
        pushes.send(hello).await?;
        let mut client = DeliveryClient::new(channel);
        let stream = client.deliver(ReceiverStream::new(sent)).await?;
        let mut reports = stream.into_inner();
        let answers = pushes.clone();
        let reports = TaskTracker::new().spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let Some(rooms) = report.rooms else { continue };
                let answer = Pushes {
                    rooms_version: rooms.version,
                    ..Pushes::default()
                };
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            pushes,
            last_id: 0,
            _reports: AbortOnDropHandle::new(reports),
        })
    }

    /// Sends `items` items of `messages` messages each, in one message of the stream.
    pub(crate) async fn push(
        &mut self,
        target: &Target,
        items: usize,
        messages: usize,
    ) -> anyhow::Result<()> {
        let items = (0..items).map(|_| {
            self.last_id += 1;
            Item {
                id: self.last_id,
                packets: packets(messages),
                target: Some(target.clone()),
            }
        });
        let pushes = Pushes {
            items: items.collect(),
            ..Pushes::default()
        };
        let sent = self.pushes.send(pushes).await;
        ensure!(sent.is_ok(), "comet has ended the stream");
        Ok(())
    }
}
