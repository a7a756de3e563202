//! What must hold for every input, as functions that panic where it does not.
//!
//! The fuzz targets look for such an input; `tests/replay.rs` runs every input of
//! the committed corpora on the stable compiler. A function reads its parameters
//! (limits, how the bytes arrive) from the first bytes of the data, so that the
//! fuzzer varies them too.

#![allow(clippy::missing_panics_doc, reason = "panicking is what they are for")]

mod arrival;
mod http_api;
mod session;
mod tcp_decoder;
mod websocket;

pub use http_api::http_api;
pub use session::session;
pub use tcp_decoder::tcp_decoder;
pub use websocket::websocket;
