//! Stores, against the real far sides.
#![allow(clippy::unwrap_used, reason = "test code: a failure is a panic")]

mod vault;
mod vault_faults;
