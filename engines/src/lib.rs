//! The engines that a distributed Halley runs on, started on this machine: for
//! tests against the real thing and for local clusters.
//!
//! Each listens on loopback, on ports that were free, and is stopped by its
//! process id when dropped. An engine in a `static` is never dropped: it ends
//! with the process that started it, however that ends.
//!
//! What is not on this machine is fetched once, into `HALLEY_ENGINES_DIR` or
//! else `~/.cache/halley/engines`: Kafka from Maven Central, Redis from Debian,
//! and so is valgrind, which counts instructions. [`chromium()`], in which tests
//! open pages, is installed where it may be. A [`Watcher`] is for other
//! processes that are to end with the one that started them.
//! Everything here blocks the calling thread.

#![forbid(unsafe_code)]

mod apt;
mod cache;
mod chromium;
mod kafka;
mod port;
mod process;
mod redis;
mod run;
mod valgrind;
mod wait;
mod watcher;

pub use chromium::chromium;
pub use kafka::{Kafka, KafkaCertificate, KafkaOptions, KafkaVersion};
pub use redis::{Redis, RedisCluster};
pub use valgrind::valgrind;
pub use watcher::Watcher;
