//! logic's HTTP API through a real loopback listener.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here is the test; clippy exempts only the test functions"
)]

mod api;
mod batch;
mod comets;
mod harness;
mod idempotency;
mod limits;
