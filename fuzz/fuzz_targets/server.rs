//! Any requests, one after the other, to a whole server in memory: see `src_server/script.rs` for how they are written and
//! `src_server/watch.rs` for what must hold. Everything goes through what a listener calls for each request.
#![no_main]

#[path = "../src_server/play.rs"]
mod play;
#[path = "../src_server/script.rs"]
mod script;
#[path = "../src_server/watch.rs"]
mod watch;
#[path = "../src_server/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|text: &str| drop(play::play(text)));
