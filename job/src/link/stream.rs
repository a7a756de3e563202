//! A stream to a comet: opened, greeted, closed.

use std::sync::Arc;
use std::time::Duration;

use halley_proto::halley::delivery::delivery_client::DeliveryClient;
use halley_proto::halley::delivery::{CometHello, JobHello, Pushes, Refusal, Reports};
use halley_proto::remote::MESSAGE_BYTES_MAX;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::comets::Connection;

/// Messages that wait to be encoded: what is not sent yet is merged further.
const MESSAGES_WAITING: usize = 1;

pub(super) struct Stream {
    pub(super) pushes: mpsc::Sender<Pushes>,
    pub(super) reports: Streaming<Reports>,
    hello: CometHello,
    /// The last item that the comet has done in earlier streams of the session.
    done: u64,
    /// Which of those it refused, as far as it remembers.
    refused: Vec<Refusal>,
}

/// Why a stream was not opened.
pub(super) enum OpenError {
    /// The comet does not know the stream, and is to be called.
    Unknown,
    /// May pass.
    Failed(Status),
}

/// Opens streams of one session.
pub(super) struct Opener {
    pub(super) connection: Connection,
    pub(super) session: String,
    pub(super) server: Arc<str>,
    pub(super) timeout: Duration,
}

impl Opener {
    /// A stream on which both sides have greeted each other.
    pub(super) async fn open(&self) -> Result<Stream, OpenError> {
        let session = self.session.clone();
        let greeting = greet(self.connection.clone(), session, &self.server);
        match tokio::time::timeout(self.timeout, greeting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(status)) if status.code() == Code::Unimplemented => Err(OpenError::Unknown),
            Ok(Err(status)) => Err(OpenError::Failed(status)),
            Err(_) => Err(OpenError::Failed(Status::deadline_exceeded("no greeting"))),
        }
    }
}

impl Stream {
    pub(super) fn hello(&self) -> &CometHello {
        &self.hello
    }

    pub(super) fn done(&self) -> u64 {
        self.done
    }

    pub(super) fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// Ends the stream in order, so that the comet need not wonder whether we
    /// still rely on it.
    pub(super) async fn close(self, timeout: Duration) {
        let Self {
            pushes,
            mut reports,
            ..
        } = self;
        drop(pushes);
        let ended = async { while let Ok(Some(_)) = reports.message().await {} };
        // In vain or not, it is over.
        let _ = tokio::time::timeout(timeout, ended).await;
    }
}

async fn greet(connection: Connection, session: String, server: &str) -> Result<Stream, Status> {
    let mut client = DeliveryClient::new(connection)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (pushes, sent) = mpsc::channel(MESSAGES_WAITING);
    let hello = Pushes {
        hello: Some(JobHello { session }),
        ..Pushes::default()
    };
    pushes
        .try_send(hello)
        .map_err(|_| Status::internal("a new stream takes no message"))?;
    let mut reports = client
        .deliver(ReceiverStream::new(sent))
        .await?
        .into_inner();
    let greeting = reports.message().await?;
    let greeting = greeting.ok_or_else(|| Status::unavailable("the comet ended the stream"))?;
    let hello = greeting
        .hello
        .ok_or_else(|| Status::internal("the comet did not greet"))?;
    if hello.server != server {
        // Its address belongs to another one now: the registry is behind.
        let text = format!("the comet there is {}", hello.server);
        return Err(Status::failed_precondition(text));
    }
    Ok(Stream {
        pushes,
        reports,
        hello,
        done: greeting.done,
        refused: greeting.refused,
    })
}
