//! How far each job has come, across the streams that it opens one after another.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;

/// Bounds of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Streams at a time.
    pub(super) streams_max: usize,
    /// Sessions without a stream that are remembered.
    pub(super) sessions_max: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sessions {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<String, Session>,
    /// Streams ever opened.
    opened: u64,
    /// Times that a session was left without a stream.
    idled: u64,
}

#[derive(Debug)]
struct Session {
    progress: Arc<AsyncMutex<Progress>>,
    /// The newest stream, and how to end it.
    stream: Option<CancellationToken>,
    /// Number of the newest stream.
    number: u64,
    /// Which of the times it was when this one was last left without a stream.
    idle_since: u64,
}

/// As many streams as may be are open.
#[derive(Debug, thiserror::Error)]
#[error("too many streams")]
pub(super) struct TooMany;

/// A session's newest stream, until it is dropped.
#[derive(Debug)]
pub(super) struct Opened {
    sessions: Arc<Sessions>,
    name: String,
    number: u64,
    progress: Arc<AsyncMutex<Progress>>,
    /// Cancelled when the stream has to end.
    pub(super) closing: CancellationToken,
}

impl Sessions {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::default(),
        })
    }

    /// Opens a stream of the session `name` and tells its last one to end.
    pub(super) fn open(self: &Arc<Self>, name: String) -> Result<Opened, TooMany> {
        let mut state = self.state.lock();
        let State {
            sessions, opened, ..
        } = &mut *state;
        let streams = sessions
            .iter()
            .filter(|(other, session)| session.stream.is_some() && **other != name);
        if streams.count() >= self.limits.streams_max {
            return Err(TooMany);
        }
        *opened += 1;
        let session = sessions.entry(name.clone()).or_insert_with(|| Session {
            progress: Arc::default(),
            stream: None,
            number: 0,
            idle_since: 0,
        });
        let closing = CancellationToken::new();
        if let Some(last) = session.stream.replace(closing.clone()) {
            last.cancel();
        }
        session.number = *opened;
        Ok(Opened {
            number: session.number,
            progress: Arc::clone(&session.progress),
            sessions: Arc::clone(self),
            name,
            closing,
        })
    }

    fn close(&self, name: &str, number: u64) {
        let mut state = self.state.lock();
        let State {
            sessions, idled, ..
        } = &mut *state;
        if let Some(session) = sessions.get_mut(name)
            && session.number == number
        {
            session.stream = None;
            *idled += 1;
            session.idle_since = *idled;
        }
        let idle = || {
            sessions
                .iter()
                .filter(|(_, session)| session.stream.is_none())
        };
        if idle().count() > self.limits.sessions_max {
            let oldest = idle().min_by_key(|(_, session)| session.idle_since);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                sessions.remove(&oldest);
            }
        }
    }
}

impl Opened {
    /// Waits until the session's other streams have ended, and takes what they
    /// have come to; to be kept as long as items are carried out.
    pub(super) async fn progress(&self) -> OwnedMutexGuard<Progress> {
        Arc::clone(&self.progress).lock_owned().await
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.sessions.close(&self.name, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(streams_max: usize, sessions_max: usize) -> Arc<Sessions> {
        Sessions::new(Limits {
            streams_max,
            sessions_max,
        })
    }

    fn open(sessions: &Arc<Sessions>, name: &str) -> Opened {
        sessions.open(name.to_owned()).expect("there is room")
    }

    async fn done(sessions: &Arc<Sessions>, name: &str) -> u64 {
        open(sessions, name).progress().await.done()
    }

    async fn carry_out(stream: &Opened, id: u64) {
        stream.progress().await.settle(id, None);
    }

    #[tokio::test]
    async fn a_new_stream_ends_the_last_one_and_goes_on_where_it_was() {
        let sessions = sessions(1, 1);
        let old = open(&sessions, "job");
        let mut progress = old.progress().await;

        let new = open(&sessions, "job");

        assert!(old.closing.is_cancelled() && !new.closing.is_cancelled());
        assert!(
            new.progress.try_lock().is_err(),
            "the old one has not ended"
        );
        progress.settle(7, None);
        drop((progress, old));
        assert_eq!(new.progress().await.done(), 7);
        assert!(sessions.open("other".to_owned()).is_err());
    }

    #[tokio::test]
    async fn sessions_that_were_idle_the_longest_are_forgotten_first() {
        let sessions = sessions(4, 2);
        for (number, name) in [(1, "a"), (2, "b")] {
            carry_out(&open(&sessions, name), number).await;
        }

        assert_eq!(done(&sessions, "a").await, 1);
        assert_eq!(done(&sessions, "c").await, 0);

        assert_eq!(done(&sessions, "a").await, 1);
        assert_eq!(done(&sessions, "b").await, 0);
    }

    #[tokio::test]
    async fn a_session_is_idle_from_when_its_stream_ends() {
        let sessions = sessions(4, 2);
        let steady = open(&sessions, "steady");
        carry_out(&steady, 1).await;
        for (number, name) in [(2, "b"), (3, "c")] {
            carry_out(&open(&sessions, name), number).await;
        }

        drop(steady);

        assert_eq!(done(&sessions, "steady").await, 1);
        assert_eq!(done(&sessions, "c").await, 3);
        assert_eq!(done(&sessions, "b").await, 0);
    }

    #[tokio::test]
    async fn a_stream_beyond_the_limit_is_refused() {
        let sessions = sessions(1, 1);
        let stream = open(&sessions, "a");

        assert!(sessions.open("b".to_owned()).is_err());

        drop(stream);
        assert!(sessions.open("b".to_owned()).is_ok());
    }
}
