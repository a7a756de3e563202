//! Carries what was pushed from the push log to the comets.
//!
//! A record of the log becomes *parts*: one for each comet that must get it.
//! To a comet in another process a *link* carries them over one long-lived
//! stream, numbered, in the order of the log, and sends again what was not
//! reported when the stream broke. A comet in this process, and one that does
//! not know the stream, is called: by a fixed number of *lanes*, queues that each
//! are worked off by one task in order; the key or the room decides the lane. So
//! messages of one key and of one room arrive in the order of the log, and a
//! comet that hangs keeps none of the others waiting.
//!
//! Messages for a room go only to the comets that hold it, as far as they say
//! so. Which comets there are may change at any time.
//!
//! Each part ends in exactly one counted outcome: delivered, offline,
//! expired, dropped with a reason, or returned to the log. The record is
//! acknowledged when all of its parts have ended.

#![forbid(unsafe_code)]

mod comets;
mod config;
mod consume;
mod deliver;
mod job;
mod lane;
mod link;
mod merge;
mod metrics;
mod queue;
mod record;
mod rooms;
mod routes;
#[cfg(test)]
mod testing;

pub use comets::{Comets, Peer, Remote};
pub use config::{Config, ConfigError};
pub use job::{BuildError, Job};
#[doc(hidden)]
pub use merge::MergeForBenches;
