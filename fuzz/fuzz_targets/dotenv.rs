//! Any bytes as Dotenv.
#![no_main]

include!("../src_shared.rs");

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise(Syntax::Dotenv, data));
