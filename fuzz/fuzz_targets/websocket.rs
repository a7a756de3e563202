//! See [`halley_fuzz::websocket`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_fuzz::websocket(data));

#[cfg(not(fuzzing))]
fn main() {}
