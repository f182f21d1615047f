//! A server that speaks Vault's HTTP API.
//!
//! Layers, each of which sees the one below: [`storage`] keeps bytes, the [`barrier`] encrypts them, the [`core`] has mounts, tokens, policies,
//! leases and audit, [`engine`] and [`auth`] are what can be mounted, [`http`] is what clients speak. [`logical`] is what engines are written
//! against, [`seal`] what protects the keys of a server that is stopped. One engine, auth method, storage or seal is one folder (or file) behind one trait.

pub use bulla_core::json;

#[macro_use(object)]
extern crate bulla_core;

pub mod auth;
pub mod barrier;
pub mod config;
pub mod core;
pub mod dev;
pub mod engine;
mod help;
pub mod http;
pub mod initialize;
pub mod logical;
pub mod seal;
pub mod storage;

/// Everything that this server can mount.
#[must_use]
pub fn catalog() -> core::mount::Catalog {
    auth::add(engine::add(core::mount::Catalog::default()))
}
