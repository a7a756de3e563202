//! The seams between Halley's roles and what lies outside of them: the
//! [`push_log`], which carries what was pushed from logic to job, the
//! [`sessions`], which say where a client is connected, and the [`registry`],
//! which says what nodes there are. Beside them, [`dedup`] remembers the answers
//! to requests that may be repeated.
//!
//! All are control-plane rate. Each seam is a trait, and one suite of
//! conformance tests runs against every implementation of it.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod dedup;
pub mod goim_hash;
pub mod kafka;
pub mod push_log;
pub mod redis;
pub mod registry;
pub mod sessions;
