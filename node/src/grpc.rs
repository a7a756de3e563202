//! gRPC between nodes: who may speak to whom, how connections are kept, and
//! which of several nodes is asked.
//!
//! A server wraps what it accepts with [`Trust::accept`], adds
//! [`Trust::layer`] and [`health::service`] to its tonic server, and refuses to
//! start where [`Trust::check_bind`] does. A client makes [`Connection`]s with
//! [`Client`], or a [`Balanced`] one over a list of nodes that changes; both fit
//! into every generated client.

mod accepted;
mod admit;
mod balanced;
mod client;
pub mod health;
#[cfg(test)]
mod testing;
mod trust;

pub use accepted::Accepted;
pub use admit::{Admit, Admitted};
pub use balanced::{Balanced, BalancedConfig, Target, Tried};
pub use client::{AddressError, Client, ClientConfig, Connection};
pub use trust::{Config, Error, Trust};
