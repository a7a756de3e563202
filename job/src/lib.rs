//! Carries what was pushed from the push log to the comets.
//!
//! A record of the log becomes *parts*: one for each comet that must get it,
//! and, for a push to many keys, one for each lane. Every comet has a fixed
//! number of *lanes*, queues that each are worked off by one task in order; the
//! key or the room decides the lane. So messages of one key and of one room
//! arrive in the order of the log, also when a call is repeated, and a slow
//! lane keeps none of the others waiting.
//!
//! Each part ends in exactly one counted outcome: delivered,
//! expired, dropped with a reason, or returned to the log. The record is
//! acknowledged when all of its parts have ended.

#![forbid(unsafe_code)]

mod config;
mod consume;
mod deliver;
mod job;
mod lane;
mod merge;
mod metrics;
mod record;

pub use config::Config;
pub use job::{BuildError, Job, Peer};
