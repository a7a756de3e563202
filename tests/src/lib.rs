//! Tests of the whole system; see the folder `tests` of this package.
//!
//! The embedded ones start every role in one process. For those that need
//! many processes, real Kafka and real Redis, [`cluster`] starts them and
//! [`load`] keeps them busy and accounts for every push; [`goim`] starts fleets
//! that goim's nodes are part of. [`browser`] is for pages that people look at.

#![forbid(unsafe_code)]

pub mod browser;
pub mod cluster;
pub mod goim;
pub mod load;
pub mod metrics;
mod unconfigured;

pub use unconfigured::unconfigured;
