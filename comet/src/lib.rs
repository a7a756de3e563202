//! Comet holds the clients' connections and brings them what is pushed.
//!
//! It owns the sockets, the rooms and who is in them. It never decides who a
//! client is or where a push goes, and it never waits for a client: what one
//! does not take waits in bounded places and is counted when it is given up.
//!
//! The way of a push: `delivery` or `rpc` → a room's [`ring`] or a connection's outbox →
//! the room's `walker` or the connection's `event_loop` → the socket.

#![forbid(unsafe_code)]

mod accept;
mod admission;
mod broadcast;
pub mod bucket;
mod calls;
pub mod clock;
mod config;
#[cfg(feature = "conformance-echo")]
pub mod conformance;
pub mod connection;
mod delivery;
mod drain;
mod event_loop;
pub mod frame;
mod handshake;
mod heat;
mod hub;
mod metrics;
mod online;
mod renewals;
pub mod ring;
pub mod room;
mod rpc;
mod serve;
pub mod session;
mod sweep;
pub mod tally;
mod task;
mod transport;
mod turns;
mod wake;
mod walker;
mod watch;

pub use config::{Config, ConfigError};
pub use connection::SlowConsumer;
pub use serve::{Addresses, Comet};
