//! The seams between Halley's roles and what lies outside of them: the
//! [`push_log`], which carries what was pushed from logic to job, and the
//! [`sessions`], which say where a client is connected.
//!
//! Both are control-plane rate. Each seam is a trait, and one suite of
//! conformance tests runs against every implementation of it.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod goim_hash;
pub mod push_log;
pub mod sessions;
