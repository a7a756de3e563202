//! Broadcasts of one stream that have no place yet.
//!
//! They wait beside the stream: neither what comes behind them nor what the job
//! returns is held up.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::Service;
use crate::broadcast::{Broadcast, Broadcaster, Full};
use crate::hub::Hub;

/// See the [module](self).
pub(super) struct Waiting {
    hub: Arc<Hub>,
    broadcaster: Arc<Broadcaster>,
    /// Those without a speed, and those with one: each kind has places of its
    /// own, and gets them in its order.
    kinds: [VecDeque<Submission>; 2],
}

struct Submission {
    id: u64,
    /// Polled only while it is the first of its kind.
    outcome: BoxFuture<'static, Result<(), Full>>,
}

impl Waiting {
    pub(super) fn new(service: &Service) -> Self {
        Self {
            hub: Arc::clone(&service.hub),
            broadcaster: Arc::clone(&service.broadcaster),
            kinds: [VecDeque::new(), VecDeque::new()],
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.iter().all(VecDeque::is_empty)
    }

    /// Submits a broadcast; while the result is pending, it waits here.
    pub(super) fn submit(&mut self, id: u64, broadcast: Broadcast) -> Poll<Result<(), Full>> {
        let kind = &mut self.kinds[usize::from(broadcast.speed > 0)];
        let (hub, broadcaster) = (Arc::clone(&self.hub), Arc::clone(&self.broadcaster));
        let mut outcome = in_time(hub, broadcaster, broadcast);
        if kind.is_empty()
            && let Some(result) = outcome.as_mut().now_or_never()
        {
            return Poll::Ready(result);
        }
        // As many as one message may bring.
        if kind.len() >= self.hub.config.delivery.items_max {
            return Poll::Ready(Err(Full));
        }
        kind.push_back(Submission { id, outcome });
        Poll::Pending
    }

    /// The next that has got its place, or has waited for too long. Pending while
    /// nothing waits.
    pub(super) async fn next(&mut self) -> (u64, Result<(), Full>) {
        poll_fn(|context| {
            for kind in &mut self.kinds {
                let Some(first) = kind.front_mut() else {
                    continue;
                };
                if let Poll::Ready(result) = first.outcome.as_mut().poll(context) {
                    let id = first.id;
                    kind.pop_front();
                    return Poll::Ready((id, result));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes back everything that waits.
    pub(super) fn give_up(&mut self) -> Vec<u64> {
        let waiting = self.kinds.iter_mut().flat_map(std::mem::take);
        waiting.map(|submission| submission.id).collect()
    }
}

/// Submits a broadcast, whose patience begins now, however many are before it.
fn in_time(
    hub: Arc<Hub>,
    broadcaster: Arc<Broadcaster>,
    broadcast: Broadcast,
) -> BoxFuture<'static, Result<(), Full>> {
    let patience = sleep(hub.config.broadcast.wait);
    async move {
        let submitted = broadcaster.submit_in_time(broadcast);
        tokio::pin!(submitted, patience);
        tokio::select! {
            biased;
            result = &mut submitted => return result,
            () = &mut patience => {}
        }
        if hub.accepting.is_cancelled() {
            // A draining node may have sent it to some already.
            return submitted.await;
        }
        Err(Full)
    }
    .boxed()
}
