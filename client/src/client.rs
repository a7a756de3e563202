//! The handle of a client that stays online.

use std::sync::Arc;

use bytes::Bytes;
use halley_wire::Op;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::driver::Driver;
use crate::error::RequestError;
use crate::event::Events;
use crate::options::Options;

/// A user that stays online: see the [crate's documentation](crate).
///
/// Clones share the connection; it is closed when the last one is dropped, when its [`Events`] are dropped, or by
/// [`close`](Self::close).
#[derive(Clone, Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    closed: CancellationToken,
    tracker: TaskTracker,
    _last: Arc<DropGuard>,
}

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<(), RequestError>>,
}

#[derive(Debug)]
pub(crate) enum Request {
    ChangeRoom(String),
    Subscribe(Vec<i32>),
    Unsubscribe(Vec<i32>),
    RefreshToken(String),
    Send { op: Op, body: Bytes },
}

impl Client {
    /// Starts to connect in the background, on the current tokio runtime.
    pub fn start(options: Options) -> (Self, Events) {
        let (commands, inbox) = mpsc::channel(options.requests_max.max(1));
        let (events, receiver) = mpsc::channel(options.events_max.max(1));
        let closed = CancellationToken::new();
        let tracker = TaskTracker::new();
        tracker.spawn(Driver::new(options, inbox, events, closed.clone()).run());
        tracker.close();
        let client = Self {
            commands,
            closed: closed.clone(),
            tracker,
            _last: Arc::new(closed.drop_guard()),
        };
        (client, Events { receiver })
    }

    /// Leaves the current room for another; an empty room means none. Reconnects come back to the new room.
    ///
    /// While there is no connection this only notes the room: the next one has it from its login on, or as the first
    /// thing after it.
    pub async fn change_room(&self, room: impl Into<String>) -> Result<(), RequestError> {
        self.request(Request::ChangeRoom(room.into())).await
    }

    /// Also receives pushes of these operations. While there is no connection this only notes them,
    /// see [`change_room`](Self::change_room).
    pub async fn subscribe(&self, operations: impl Into<Vec<i32>>) -> Result<(), RequestError> {
        self.request(Request::Subscribe(operations.into())).await
    }

    /// Does not receive pushes of these operations any longer, see [`subscribe`](Self::subscribe).
    pub async fn unsubscribe(&self, operations: impl Into<Vec<i32>>) -> Result<(), RequestError> {
        self.request(Request::Unsubscribe(operations.into())).await
    }

    /// Replaces an expiring token, on this connection and for later ones. Only Halley knows this; goim takes it as a message.
    pub async fn refresh_token(&self, token: impl Into<String>) -> Result<(), RequestError> {
        self.request(Request::RefreshToken(token.into())).await
    }

    /// Sends a message to the backend and waits for the gateway's echo, which is no acknowledgement by the backend.
    pub async fn send(&self, op: Op, body: impl Into<Bytes>) -> Result<(), RequestError> {
        let body = body.into();
        self.request(Request::Send { op, body }).await
    }

    /// Says goodbye and waits until the connection is closed.
    pub async fn close(&self) {
        self.closed.cancel();
        self.tracker.wait().await;
    }

    async fn request(&self, request: Request) -> Result<(), RequestError> {
        let (answer, answered) = oneshot::channel();
        let command = Command { request, answer };
        self.commands
            .send(command)
            .await
            .map_err(|_| RequestError::Closed)?;
        // The driver drops unanswered commands only when it ends.
        answered.await.unwrap_or(Err(RequestError::Closed))
    }
}
