//! Which push is next and when, and how each one ended.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::lane::Answer;
use super::{Load, Outcomes};
use crate::account::{Ledger, Outcome, StreamSummary};
use crate::clock::{Alarm, moment_ns, now_ns};
use crate::latency::Latency;
use crate::messages::add_counts;
use crate::payload::Stamp;
use crate::zipf::{Purpose, Zipf, draw};

/// A closed loop without success would spin: it rests this long.
const REST: Duration = Duration::from_millis(10);

/// When pushes are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// `total` pushes, `per_second`, whatever the answers do. Pushes that are not even begun `patience_ns` after the
    /// last one was due are given up.
    Open {
        per_second: f64,
        total: u64,
        patience_ns: u64,
    },
    /// Each lane pushes as soon as its last push is accepted, for `duration_ns`.
    Closed { duration_ns: u64 },
}

/// Which stream a push goes to.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
    /// One after the other.
    InTurn,
    /// Some far more often than others.
    Drawn(Zipf),
}

pub(super) struct Course {
    load: Load,
    stopped: CancellationToken,
    started_ns: u64,
    /// Lanes queue here for their turn; the first waits for the next push to be due.
    gate: tokio::sync::Mutex<Gate>,
    books: Mutex<Books>,
}

struct Gate {
    next: u64,
    alarm: Alarm,
}

struct Books {
    ledgers: Vec<Ledger>,
    outcomes: Outcomes,
    answer: Latency,
    lag: Latency,
    last_sent_ns: u64,
}

/// A push that is due.
pub(super) struct Turn {
    stream: usize,
    intended_ns: u64,
}

/// A push on its way.
pub(super) struct Started {
    pub(super) seq: u32,
    pub(super) at_ns: u64,
    pub(super) path: String,
    pub(super) body: Bytes,
}

/// All there is to say about the pushes of a run.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// Pushes of the schedule; the same as `sent` in a closed loop.
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) outcomes: Outcomes,
    /// From sending to the answer.
    pub(crate) answer: Latency,
    /// From when a push was due to when it was sent: the pusher's own lateness.
    pub(crate) lag: Latency,
    pub(crate) streams: BTreeMap<u32, StreamSummary>,
    pub(crate) started_ns: u64,
    pub(crate) last_sent_ns: u64,
}

impl Pushed {
    /// Adds what was pushed at the same time to other streams.
    pub(crate) fn merge(&mut self, other: Self) {
        self.planned += other.planned;
        self.sent += other.sent;
        self.outcomes.accepted += other.outcomes.accepted;
        add_counts(&mut self.outcomes.refused, &other.outcomes.refused);
        add_counts(&mut self.outcomes.errors, &other.outcomes.errors);
        self.answer.merge(&other.answer);
        self.lag.merge(&other.lag);
        self.streams.extend(other.streams);
        self.started_ns = self.started_ns.min(other.started_ns);
        self.last_sent_ns = self.last_sent_ns.max(other.last_sent_ns);
    }
}

impl Course {
    pub(super) fn new(load: Load, stopped: CancellationToken) -> io::Result<Self> {
        let started_ns = now_ns();
        let gate = Gate {
            next: 0,
            alarm: Alarm::new()?,
        };
        let books = Books {
            ledgers: vec![Ledger::default(); load.paths.len()],
            outcomes: Outcomes::default(),
            answer: Latency::default(),
            lag: Latency::default(),
            last_sent_ns: started_ns,
        };
        Ok(Self {
            load,
            stopped,
            started_ns,
            gate: tokio::sync::Mutex::new(gate),
            books: Mutex::new(books),
        })
    }

    /// Waits until so many pushes are due, or there are no more; `None` when there is none.
    pub(super) async fn next_turns(&self, count: usize) -> Option<Vec<Turn>> {
        // One guard for all of them: lanes that took turns would each hold a part of a batch until the pushes of all
        // the others are due.
        let mut gate = self.stopped.run_until_cancelled(self.gate.lock()).await?;
        let mut turns = Vec::with_capacity(count);
        while turns.len() < count
            && let Some(Some(turn)) = self.stopped.run_until_cancelled(self.due(&mut gate)).await
        {
            turns.push(turn);
        }
        (!turns.is_empty()).then_some(turns)
    }

    async fn due(&self, gate: &mut Gate) -> Option<Turn> {
        let now = now_ns();
        let intended_ns = match self.load.pace {
            Pace::Open {
                per_second,
                total,
                patience_ns,
            } => {
                let given_up_ns = self.started_ns + moment_ns(total, per_second) + patience_ns;
                if gate.next >= total || now > given_up_ns {
                    return None;
                }
                let intended_ns = self.started_ns + moment_ns(gate.next, per_second);
                // A timer that cannot be set is set again for the next push; the lateness is measured.
                let _ = gate.alarm.wait_until(intended_ns).await;
                intended_ns
            }
            Pace::Closed { duration_ns } => {
                if now >= self.started_ns + duration_ns {
                    return None;
                }
                now
            }
        };
        let stream = self.stream(gate.next);
        gate.next += 1;
        Some(Turn {
            stream,
            intended_ns,
        })
    }

    fn stream(&self, push: u64) -> usize {
        let streams = self.load.paths.len();
        match &self.load.pick {
            Pick::InTurn => usize::try_from(push % streams as u64).unwrap_or(0),
            Pick::Drawn(zipf) => zipf.room(draw(Purpose::Push, push)) as usize % streams,
        }
    }

    /// Takes the push's number, at the moment of sending.
    pub(super) fn start(&self, turn: &Turn) -> Started {
        let mut books = self.books.lock();
        // Read behind the lock, so that the moments of a stream are in the order of its numbers.
        let at_ns = now_ns();
        let ledger = &mut books.ledgers[turn.stream];
        let (seq, settled) = if self.load.timed {
            ledger.start_at(at_ns)
        } else {
            ledger.start()
        };
        books.lag.record_ns(at_ns.saturating_sub(turn.intended_ns));
        books.last_sent_ns = at_ns;
        let stamp = Stamp {
            run: self.load.run,
            intended_ns: turn.intended_ns,
            stream: self.number(turn.stream),
            seq,
            settled,
        };
        Started {
            seq,
            at_ns,
            path: self.load.paths[turn.stream].clone(),
            body: stamp.encode(self.load.size_bytes),
        }
    }

    fn number(&self, stream: usize) -> u32 {
        let stream = u32::try_from(stream).unwrap_or(u32::MAX);
        self.load.first_stream.saturating_add(stream)
    }

    /// Notes how a push ended; returns how long its lane shall rest.
    pub(super) fn finish(
        &self,
        turn: &Turn,
        seq: u32,
        at_ns: u64,
        answer: Answer,
    ) -> Option<Duration> {
        let mut books = self.books.lock();
        books.answer.record_ns(now_ns().saturating_sub(at_ns));
        let outcome = match answer {
            Answer::Accepted => {
                books.outcomes.accepted += 1;
                Outcome::Accepted
            }
            Answer::Refused(status) => {
                *books
                    .outcomes
                    .refused
                    .entry(status.as_str().to_owned())
                    .or_default() += 1;
                Outcome::Refused
            }
            Answer::Unknown(cause) => {
                *books.outcomes.errors.entry(cause).or_default() += 1;
                Outcome::Unknown
            }
        };
        books.ledgers[turn.stream].finish(seq, outcome);
        let closed_loop = matches!(self.load.pace, Pace::Closed { .. });
        (closed_loop && outcome != Outcome::Accepted).then_some(REST)
    }

    pub(super) fn finished(&self) -> Pushed {
        let books = self.books.lock();
        let streams: BTreeMap<u32, StreamSummary> = (self.load.first_stream..)
            .zip(books.ledgers.iter().map(Ledger::summary))
            .collect();
        let sent = streams.values().map(|stream| u64::from(stream.sent)).sum();
        Pushed {
            planned: match self.load.pace {
                Pace::Open { total, .. } => total,
                Pace::Closed { .. } => sent,
            },
            sent,
            outcomes: books.outcomes.clone(),
            answer: books.answer.clone(),
            lag: books.lag.clone(),
            streams,
            started_ns: self.started_ns,
            last_sent_ns: books.last_sent_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_waits_for_its_own_pushes_only() {
        const GAP_NS: u64 = 1_000_000;
        const BATCH: usize = 5;
        let load = Load {
            run: 1,
            size_bytes: 28,
            paths: vec![String::new()],
            first_stream: 0,
            pick: Pick::InTurn,
            timed: false,
            pace: Pace::Open {
                per_second: 1000.0,
                total: 3 * BATCH as u64,
                patience_ns: 10_000_000_000,
            },
            lanes: 3,
            batch: None,
        };
        let course = Course::new(load, CancellationToken::new()).unwrap();
        let lane = || course.next_turns(BATCH);
        let (one, two, three) = tokio::join!(lane(), lane(), lane());
        for turns in [one, two, three].map(Option::unwrap) {
            let due = |place: usize| turns[place].intended_ns;
            assert_eq!(turns.len(), BATCH);
            assert_eq!(due(BATCH - 1) - due(0), (BATCH as u64 - 1) * GAP_NS);
        }
        assert!(lane().await.is_none());
    }
}
