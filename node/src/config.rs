//! Configuration: one value of a program's own type, out of a TOML file, the
//! environment and the command line.
//!
//! The later source wins, key by key; what none of them sets keeps its default.
//! A key that does not exist is an error that names the nearest one that does.

mod secret;

pub use secret::Secret;
