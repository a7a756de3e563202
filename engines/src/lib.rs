//! The engines that a distributed Halley runs on, started on this machine: for
//! tests against the real thing and for local clusters. Each takes free ports
//! and is stopped by its process id.

#![forbid(unsafe_code)]
