//! The bounded queue between the clients' messages and the runner.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use super::{Depth, Message};
use crate::config::{SinkKafkaConfig, SinkWebhookConfig};
use crate::metrics::ReceiveOutcome;

#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    /// Tells the runner of a first message, a full batch, or the end.
    changed: Notify,
}

/// How much waits, and how much of it goes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    messages_max: usize,
    bytes_max: usize,
    batch_messages_max: usize,
    batch_bytes_max: usize,
    linger: Duration,
}

impl From<&SinkWebhookConfig> for Limits {
    fn from(config: &SinkWebhookConfig) -> Self {
        Self {
            messages_max: config.queue_messages_max,
            bytes_max: config.queue_bytes_max,
            batch_messages_max: config.batch_messages_max,
            batch_bytes_max: config.batch_bytes_max,
            linger: config.linger,
        }
    }
}

impl From<&SinkKafkaConfig> for Limits {
    fn from(config: &SinkKafkaConfig) -> Self {
        Self {
            messages_max: config.queue_messages_max,
            bytes_max: config.queue_bytes_max,
            batch_messages_max: config.batch_messages_max,
            batch_bytes_max: config.batch_bytes_max,
            linger: Duration::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Instant, Message)>,
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn push(&self, message: Message) -> ReceiveOutcome {
        let mut state = self.state.lock();
        if state.is_closed {
            return ReceiveOutcome::Draining;
        }
        if state.waiting.len() >= self.limits.messages_max
            || message.body.len() > self.limits.bytes_max - state.bytes
        {
            return ReceiveOutcome::QueueFull;
        }
        state.bytes += message.body.len();
        state.waiting.push_back((Instant::now(), message));
        if state.waiting.len() == 1 || self.is_batch(&state) {
            self.changed.notify_one();
        }
        ReceiveOutcome::Queued
    }

    /// Takes no further message; what waits goes without lingering.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Throws away what waits and returns how many messages that was.
    pub(super) fn clear(&self) -> usize {
        let mut state = self.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.waiting).len()
    }

    pub(super) fn depth(&self) -> Depth {
        let state = self.state.lock();
        Depth {
            messages: state.waiting.len(),
            bytes: state.bytes,
        }
    }

    /// The next batch, never empty: as soon as it is full, or its first message
    /// has waited long enough. `None` when the queue is closed and empty.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped takes nothing. Only one may run at a time.
    pub(super) async fn next(&self) -> Option<Vec<Message>> {
        loop {
            let until = {
                let mut state = self.state.lock();
                match state.waiting.front() {
                    None if state.is_closed => return None,
                    None => None,
                    Some((since, _)) => {
                        let until = *since + self.limits.linger;
                        if state.is_closed || self.is_batch(&state) || until <= Instant::now() {
                            return Some(self.take(&mut state));
                        }
                        Some(until)
                    }
                }
            };
            match until {
                None => self.changed.notified().await,
                Some(until) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(until) => {}
                },
            }
        }
    }

    fn is_batch(&self, state: &State) -> bool {
        state.waiting.len() >= self.limits.batch_messages_max
            || state.bytes >= self.limits.batch_bytes_max
    }

    fn take(&self, state: &mut State) -> Vec<Message> {
        let mut bytes = 0;
        let mut count = 0;
        for (_, message) in state.waiting.iter().take(self.limits.batch_messages_max) {
            bytes += message.body.len();
            if count > 0 && bytes > self.limits.batch_bytes_max {
                bytes -= message.body.len();
                break;
            }
            count += 1;
        }
        state.bytes -= bytes;
        state
            .waiting
            .drain(..count)
            .map(|(_, message)| message)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(change: impl FnOnce(&mut SinkWebhookConfig)) -> Queue {
        let mut config = SinkWebhookConfig {
            batch_messages_max: 3,
            batch_bytes_max: 10,
            queue_messages_max: 5,
            queue_bytes_max: 40,
            ..SinkWebhookConfig::default()
        };
        change(&mut config);
        Queue::new((&config).into())
    }

    fn message(seq: i32, bytes: usize) -> Message {
        Message {
            mid: 1,
            op: 4,
            seq,
            ver: 1,
            body: vec![0; bytes].into(),
        }
    }

    async fn next_seqs(queue: &Queue) -> Vec<i32> {
        let batch = queue.next().await.unwrap();
        batch.iter().map(|message| message.seq).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_when_it_is_full() {
        let queue = queue(|_| {});
        let start = Instant::now();
        for seq in 0..5 {
            assert_eq!(queue.push(message(seq, 1)), ReceiveOutcome::Queued);
        }

        assert_eq!(next_seqs(&queue).await, [0, 1, 2]);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(next_seqs(&queue).await, [3, 4]);
        assert!(start.elapsed() >= queue.limits.linger);
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_bounded_in_bytes() {
        let queue = queue(|_| {});
        for (seq, bytes) in [(0, 6), (1, 6), (2, 20), (3, 1)] {
            queue.push(message(seq, bytes));
        }

        assert_eq!(next_seqs(&queue).await, [0]);
        assert_eq!(next_seqs(&queue).await, [1]);
        assert_eq!(next_seqs(&queue).await, [2]);
        assert_eq!(next_seqs(&queue).await, [3]);
        assert_eq!(queue.depth(), Depth::default());
    }

    #[test]
    fn a_full_queue_takes_no_more() {
        let by_count = queue(|_| {});
        for seq in 0..5 {
            by_count.push(message(seq, 0));
        }
        assert_eq!(by_count.push(message(5, 0)), ReceiveOutcome::QueueFull);

        let by_bytes = queue(|_| {});
        by_bytes.push(message(0, 40));
        assert_eq!(by_bytes.push(message(1, 1)), ReceiveOutcome::QueueFull);
        assert_eq!(by_bytes.push(message(1, 0)), ReceiveOutcome::Queued);
    }

    #[tokio::test(start_paused = true)]
    async fn closed_it_gives_out_the_rest_at_once() {
        let queue = queue(|_| {});
        queue.push(message(0, 1));
        let start = Instant::now();
        queue.close();

        assert_eq!(queue.push(message(1, 1)), ReceiveOutcome::Draining);
        assert_eq!(next_seqs(&queue).await, [0]);
        assert!(queue.next().await.is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_wakes_who_waits_for_it() {
        let queue = queue(|_| {});

        let (batch, _) = tokio::join!(next_seqs(&queue), async {
            tokio::task::yield_now().await;
            queue.push(message(7, 1))
        });

        assert_eq!(batch, [7]);
    }
}
