//! Key services: what wraps and unwraps data keys.
//!
//! One file a service behind the one trait [`KeyService`](bulla_core::KeyService); [`Registry`] opens one by its
//! [`KeyId`](bulla_core::KeyId); [`groups`] wraps a data key for all keys of a file and unwraps it with the first that answers.

pub mod dns;
pub mod gcm;
pub mod groups;
pub mod keygen;
pub mod shamir;
pub mod shares;

mod age;
mod ask;
mod aws;
mod cache;
mod command;
mod failure;
mod limit;
mod local;
mod pgp;
mod registry;
mod vault;

pub mod keyservice;

pub use ask::ask_secret;
pub use local::create as create_local_key;
pub use registry::{Kind, Options, Registry};
pub use vault::{client as vault_client, http as vault_http, trust as vault_trust, variable as vault_variable};
