//! See [`halley_fuzz::http_api`].

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| halley_fuzz::http_api(data));

#[cfg(not(fuzzing))]
fn main() {}
