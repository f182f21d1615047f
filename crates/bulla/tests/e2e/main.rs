//! The whole program, from outside.
//!
//! **Exchange** (`formats`, `rules`, `keys`, `groups`, `metadata`): files exchanged with the real sops, both ways, every format, rule and
//! kind of key. What real sops prints for a file is the judge: it prints the same for what bulla encrypted as for what it
//! encrypted itself, and what bulla decrypts is, printed by real sops, the same again.
//!
//! **Faults** (`faults`): whatever goes wrong, there is a clear error, nothing is printed that should not be, and nothing is lost.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests: a failure is a panic")]

mod exchange;
mod faults;
mod formats;
mod groups;
mod keys;
mod metadata;
mod rules;
mod world;
