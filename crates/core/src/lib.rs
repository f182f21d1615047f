//! What every part of bulla stands on: secret values in memory, the identity of keys, the trait that
//! key services implement, and files that are replaced whole or not at all.
//!
//! This crate knows no provider, no format and no network. Everything else depends on it; it depends on nothing of ours.

pub mod backoff;
pub mod env;
pub mod file;
pub mod go_regex;
pub mod hcl;
pub mod json;
pub mod key;
mod key_parse;
pub mod memory;
pub mod secret;
pub mod socket;
pub mod text;
pub mod yaml;

pub use env::Env;
pub use key::{KeyError, KeyErrorKind, KeyId, KeyService, Operation, WrappedKey};
pub use key_parse::{KeyParseError, is_private_key};
pub use secret::{DataKey, SecretBytes, SecretString};
pub use text::Shown;
