//! A job between a push log in memory and comets that only pretend.
//!
//! The clock stands still while there is work, so times are exact.

// The helpers are tests, though their functions are not marked as such.
#![allow(clippy::unwrap_used)]

mod job {
    mod accounting;
    mod calls;
    mod drain;
    mod failure;
    mod fleet;
    mod golden;
    mod merge;
    mod network;
    mod order;
    mod rooms;
    mod stream;
    mod stream_comet;
    mod support;
}
