//! Looks at the run and at the server's processes again and again, on a thread of its own: what it reads from the
//! kernel must not hold up a push.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::now_ns;
use crate::messages::Progress;
use crate::series::{Sample, Series};
use crate::server::Server;

/// Fills a series until it is dropped.
pub(crate) struct Sampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Takes a sample at once, then one after every `period`.
    pub(crate) fn start(
        period: Duration,
        series: Arc<Mutex<Series>>,
        server: Server,
        progress: impl Fn() -> Progress + Send + 'static,
        pushes: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let work = move || {
            loop {
                let sample = Sample {
                    at_ns: now_ns(),
                    open: progress().open,
                    pushes: pushes.load(Ordering::Relaxed),
                    usage: server.glance(),
                };
                series.lock().sample(sample);
                match stopped.recv_timeout(period) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("sample".to_owned())
            .spawn(work)?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
