//! Waiting for descriptors that tokio has no type for.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Tells when a descriptor is ready.
///
/// It is no socket of that kind. tokio's type for any descriptor takes unsafe
/// code to make; this one takes none, and nothing else is done with it than
/// that would be for.
pub(crate) type Watched = tokio::net::UnixStream;

/// Has tokio wait for `descriptor`, by a duplicate of its own.
pub(crate) fn watch(descriptor: impl AsFd) -> io::Result<Watched> {
    let watched = UnixStream::from(descriptor.as_fd().try_clone_to_owned()?);
    watched.set_nonblocking(true)?;
    Watched::from_std(watched)
}
