//! A server of ours, started here, against what the real OpenBao does.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "test code: a failure is a panic")]

mod cli;
mod differential;
mod faults;
mod flows;
mod fuzzed;
mod generated;
mod hardening;
mod jose;
mod jwt;
mod kubernetes;
mod leases;
mod nobody;
mod ours;
mod own;
mod quorum;
mod replayed;
mod signer;
mod transit;
