//! logic's gRPC service, and how the node starts, is limited and drains,
//! through real loopback listeners.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here is the test; clippy exempts only the test functions"
)]

mod bindings;
mod calls;
mod drain;
mod harness;
mod limits;
mod logins;
mod nodes;
