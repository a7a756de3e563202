//! The real binary, started, used and ended as its users do.

mod failures;
mod first_message;
mod roles;
mod signals;
mod stress;
mod stress_tls;
mod support;
