//! Any bytes as Json.
#![no_main]

include!("../src_shared.rs");

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise(Syntax::Json, data));
