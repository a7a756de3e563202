//! Work that does not end with the connection it was begun for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that, dropped before its end, goes on as a task of its own.
pub(super) struct SeenThrough {
    rest: Option<Work>,
    tasks: TaskTracker,
}

impl SeenThrough {
    pub(super) fn new(tasks: TaskTracker, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let rest: Work = Box::pin(work);
        Self {
            rest: Some(rest),
            tasks,
        }
    }
}

impl Future for SeenThrough {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
        }
        Poll::Ready(())
    }
}

impl Drop for SeenThrough {
    fn drop(&mut self) {
        // Outside of a runtime the process ends.
        if let Some(rest) = self.rest.take()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(rest, &runtime);
        }
    }
}
