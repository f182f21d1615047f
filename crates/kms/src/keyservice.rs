//! sops' gRPC key service: wraps and unwraps in another process.
//!
//! The protocol is in `proto/keyservice.proto`. It is plaintext HTTP/2, and whoever can connect can unwrap: a Unix socket
//! (mode 0600) lets in its owner alone, TCP everyone who reaches the port. The kinds of keys are those of sops; a
//! [`KeyId::Local`](bulla_core::KeyId::Local) has no form in it.

mod client;
mod listen;
mod server;
mod wire;

#[rustfmt::skip]
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; `cargo xtask generate --check` keeps it as its generator writes it"
)]
mod generated;

pub use client::Client;
pub use listen::Listen;
pub use server::{Prompt, Server, serve};

#[cfg(test)]
mod tests;
