//! Logic: decides who a client is and where a push goes.
//!
//! Owns authentication, the routing of pushes to the comets that hold their
//! targets, the online counts and the node list, and serves them over goim's
//! gRPC service and its HTTP API. It holds no client connection and delivers
//! nothing itself: an accepted push is in the push log, from where job carries
//! it on.

#![forbid(unsafe_code)]

mod auth;
pub mod config;
mod core;
mod heat;
mod http;
mod limit;
mod metrics;
mod nodes;
mod online;
mod outbound;
mod push;
mod rpc;
mod secret;
mod serve;
mod sink;
mod status;
#[cfg(test)]
mod testing;

pub use self::config::Config;
#[doc(hidden)]
pub use self::http::HttpForTests;
pub use self::nodes::{Network, NetworkError};
pub use self::serve::{Addresses, Deps, Logic, Stages};
