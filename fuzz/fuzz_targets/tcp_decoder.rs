//! See [`halley_fuzz::tcp_decoder`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_fuzz::tcp_decoder(data));

#[cfg(not(fuzzing))]
fn main() {}
