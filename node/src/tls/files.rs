use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::task;
use tracing::{info, warn};

use super::Error;

type Make<T> = Box<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// What is made from files, and made anew when they change.
pub(crate) struct FromFiles<T> {
    files: Vec<PathBuf>,
    make: Make<T>,
    current: ArcSwap<T>,
    /// What the files looked like just before they were read for the first time.
    stamp: Stamp,
}

impl<T: Send + Sync + 'static> FromFiles<T> {
    /// Makes it for the first time.
    pub(crate) fn load(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, Error> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        let stamp = Stamp::of(&files);
        let current = ArcSwap::from_pointee(make()?);
        Ok(Arc::new(Self {
            files,
            make: Box::new(make),
            current,
            stamp,
        }))
    }

    pub(crate) fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files every `interval`, until it is dropped. Files that cannot
    /// be used are logged once and tried again, while what they were before stays
    /// in force.
    pub(crate) async fn watch(self: &Arc<Self>, interval: Duration) -> Infallible {
        let mut in_force = self.stamp.clone();
        let mut refused = None;
        loop {
            tokio::time::sleep(interval).await;
            let this = Arc::clone(self);
            let known = in_force.clone();
            let read = task::spawn_blocking(move || {
                let stamp = Stamp::of(&this.files);
                (stamp != known).then(|| (stamp, (this.make)()))
            });
            match read.await {
                Ok(None) => refused = None,
                Ok(Some((stamp, Ok(made)))) => {
                    self.current.store(Arc::new(made));
                    in_force = stamp;
                    refused = None;
                    info!(files = ?self.files, "certificates reloaded");
                }
                Ok(Some((stamp, Err(error)))) => {
                    if refused.as_ref() != Some(&stamp) {
                        warn!(%error, "changed certificates not usable, keeping the old ones");
                        refused = Some(stamp);
                    }
                }
                Err(error) => warn!(%error, "look at certificate files"),
            }
        }
    }
}

impl<T> fmt::Debug for FromFiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFiles")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// What tells that a file may have changed, for each of them. Symbolic links are
/// followed: that is how mounted secrets are exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp(Vec<Option<(SystemTime, u64)>>);

impl Stamp {
    fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|path| look(path).ok()).collect())
    }
}

fn look(path: &Path) -> io::Result<(SystemTime, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.modified()?, metadata.len()))
}
