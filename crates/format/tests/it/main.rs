//! Files exchanged with the real sops, in both directions.
#![allow(
    clippy::disallowed_methods,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests: files of their own, texts put together for reading"
)]

mod config;
mod edit;
mod exchange;
mod files;
mod identity;
mod layout;
mod peers;
mod tamper;
mod together;
mod vectors;
