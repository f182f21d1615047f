//! Key services against the real thing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    // The files of a test are its own.
    clippy::disallowed_methods,
    // Short texts, built once.
    clippy::format_push_string,
    clippy::format_collect
)]

mod age;
#[cfg(feature = "aws")]
mod aws;
mod bao;
mod groups;
mod keyservice;
mod pgp;
mod sops;
mod vault;
mod vault_login;
