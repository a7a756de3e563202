//! A login at logic, which binds the connection there whether or not anybody waits
//! for the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::runtime::Handle;
use tonic::Status;

use crate::bucket::Identity;
use crate::calls::Login;
use crate::hub::Hub;

type Answer = Pin<Box<dyn Future<Output = Result<Login, Status>> + Send>>;

/// Dropped before its answer, it is seen through, and the binding removed.
pub(super) struct Connecting {
    hub: Arc<Hub>,
    number: u64,
    answer: Option<Answer>,
}

impl Connecting {
    pub(super) fn new(hub: &Arc<Hub>, number: u64, token: Bytes, cookie: String) -> Self {
        let calling = Arc::clone(hub);
        let answer = async move { calling.calls.connect(number, token, cookie, false).await };
        Self {
            hub: Arc::clone(hub),
            number,
            answer: Some(Box::pin(answer)),
        }
    }
}

impl Future for Connecting {
    type Output = Result<Login, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = self
            .answer
            .as_mut()
            .expect("invariant: polled to its end once");
        let answer = ready!(answer.as_mut().poll(cx));
        self.answer = None;
        Poll::Ready(answer)
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        // Outside of a runtime the process ends.
        let (Some(answer), Ok(runtime)) = (self.answer.take(), Handle::try_current()) else {
            return;
        };
        let (hub, number) = (Arc::clone(&self.hub), self.number);
        let unbind = async move {
            if let Ok(login) = answer.await {
                let identity = Identity {
                    mid: login.reply.mid,
                    key: login.reply.key.into_boxed_str(),
                };
                hub.calls.disconnect(number, identity).await;
            }
        };
        self.hub.tasks.spawn_on(unbind, &runtime);
    }
}
