//! What every Halley process shares: how it is configured, how it starts,
//! says that it is ready, is watched, and how it drains and ends.
//!
//! A process builds its roles (which binds their sockets), hands their
//! [`Stage`]s to [`run`] in the order in which they are to drain, and ends when
//! `run` returns. Nothing here knows what a role does.

#![forbid(unsafe_code)]

pub mod admin;
pub mod breaker;
pub mod budget;
pub mod config;
pub mod grpc;
pub mod limits;
pub mod listen;
pub mod telemetry;
pub mod tls;

mod drains;
mod metrics;
mod readiness;
mod run;
mod signals;
mod stage;

pub use drains::Drains;
pub use metrics::{Registry, SharedRegistry, encode};
pub use readiness::{Latch, Readiness};
pub use run::{DRAIN_MIN, FORCED_END_MAX, run};
pub use signals::{Signal, SignalSender, Signals};
pub use stage::{DrainOutcome, Stage};
