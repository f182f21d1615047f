//! Any bytes as Ini.
#![no_main]

include!("../src_shared.rs");

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise(Syntax::Ini, data));
