//! Empties the queue of a sink.

use std::sync::Arc;

use halley_node::DrainOutcome;
use tokio_util::sync::CancellationToken;

use super::Message;
use super::kafka::Topic;
use super::queue::Queue;
use super::webhook::Webhook;
use crate::metrics::{Metrics, SinkOutcome};

/// A queue and where it is emptied to.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(super) queue: Queue,
    upstream: Upstream,
    metrics: Arc<Metrics>,
}

/// Who takes batches.
#[derive(Debug)]
pub(super) enum Upstream {
    Webhook(Box<Webhook>),
    Kafka(Box<Topic>),
}

impl Upstream {
    async fn send(&self, messages: Vec<Message>) -> SinkOutcome {
        match self {
            Self::Webhook(webhook) => webhook.send(messages).await,
            Self::Kafka(topic) => topic.send(messages).await,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Kafka(_) => "kafka",
        }
    }
}

impl Runner {
    pub(super) fn new(queue: Queue, upstream: Upstream, metrics: Arc<Metrics>) -> Self {
        Self {
            queue,
            upstream,
            metrics,
        }
    }

    pub(super) async fn run(
        &self,
        drain: &CancellationToken,
        now: &CancellationToken,
    ) -> DrainOutcome {
        let mut outcome = DrainOutcome::default();
        loop {
            let messages = tokio::select! {
                messages = self.queue.next() => messages,
                () = drain.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
                () = now.cancelled() => break,
            };
            let Some(messages) = messages else {
                break;
            };
            let count = messages.len();
            let sent = tokio::select! {
                sent = self.upstream.send(messages) => sent,
                () = now.cancelled() => SinkOutcome::Shutdown,
            };
            self.account(sent, count);
            if drain.is_cancelled() {
                match sent {
                    SinkOutcome::Sent => outcome.clean += count as u64,
                    SinkOutcome::Refused | SinkOutcome::Failed | SinkOutcome::Shutdown => {
                        outcome.forced += count as u64;
                    }
                }
            }
        }
        self.queue.close();
        let left = self.queue.clear();
        self.account(SinkOutcome::Shutdown, left);
        outcome.forced += left as u64;
        outcome
    }

    fn account(&self, outcome: SinkOutcome, messages: usize) {
        if messages == 0 {
            return;
        }
        self.metrics.sink(outcome, messages);
        if outcome != SinkOutcome::Sent {
            tracing::warn!(
                messages,
                upstream = self.upstream.name(),
                outcome = outcome.as_str(),
                "messages from clients did not get there"
            );
        }
    }
}
