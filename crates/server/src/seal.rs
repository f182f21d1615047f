//! What protects the root key while the server is stopped.
//!
//! A seal wraps the root key when the server is initialized and unwraps it at each start. With [`shamir`] people hold the shares of a key and
//! bring them at each start; the others implement [`AutoSeal`] and need nobody: [`fixed`] is a key in the configuration, [`service`] any key
//! service. Several can be configured: the root key is wrapped by each, and the first that answers opens. A server that leaves its seal for another
//! has both in its configuration until that is done: see [`Seals`].
//!
//! ```text
//! wrapped by a key of 32 bytes = base64 of `bulla_kms::gcm`, associated data "bulla seal 1 " and the seal's name
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, KeyError, SecretBytes};
use bulla_kms::gcm;
use serde::{Deserialize, Serialize};

pub mod fixed;
pub mod service;
pub mod shamir;

/// A seal that opens by itself.
#[async_trait]
pub trait AutoSeal: Send + Sync {
    /// The kind, as `type` of the seal's status has it: `static`, `transit`, `awskms`, …
    fn kind(&self) -> &'static str;

    /// Which key it is, so that what it wrapped is found again. Not secret.
    fn name(&self) -> String;

    /// Wraps the root key.
    async fn wrap(&self, root_key: &DataKey) -> Result<String, SealError>;

    /// Unwraps what [`wrap`](Self::wrap) made.
    async fn unwrap(&self, wrapped: &str) -> Result<DataKey, SealError>;

    /// Whether it made this, by a key that it has.
    fn made(&self, one: &Wrapped) -> bool {
        one.seal == self.name()
    }

    /// Whether it made this by the key that it uses today.
    fn is_current(&self, one: &Wrapped) -> bool {
        self.made(one)
    }
}

/// The seals of a server's configuration.
#[derive(Clone, Default)]
pub struct Seals {
    /// Those that open it. None: people's shares do.
    pub current: Vec<Arc<dyn AutoSeal>>,
    /// Those that it leaves: what they wrapped is opened once more, to be wrapped anew.
    pub old: Vec<Arc<dyn AutoSeal>>,
}

impl From<Vec<Arc<dyn AutoSeal>>> for Seals {
    fn from(current: Vec<Arc<dyn AutoSeal>>) -> Self {
        Self { current, old: Vec::new() }
    }
}

/// Why a seal did not wrap or unwrap.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key service's answer.
    #[error(transparent)]
    Service(#[from] KeyError),
    /// The key is not the one that wrapped the root key, or what was wrapped has changed.
    #[error("the key of the seal {0} does not open the root key")]
    WrongKey(String),
    /// The shares do not go together.
    #[error(transparent)]
    Shares(#[from] bulla_kms::shamir::Error),
    /// The configuration cannot be used.
    #[error("the seal cannot be used: {0}")]
    Config(String),
    /// The system has no randomness to give.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// What is kept, unencrypted, of how the root key is protected.
#[derive(Clone, Serialize, Deserialize)]
pub struct Stored {
    /// The form of this record.
    pub version: u32,
    /// The root key, wrapped by each seal.
    pub root_key: Vec<Wrapped>,
    /// How the unseal key is shared; with a seal that opens by itself, how the recovery key is.
    pub shares: Shares,
    /// The cluster's name.
    pub cluster_name: String,
    /// The cluster's id.
    pub cluster_id: String,
}

/// The root key as one seal wrapped it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// The seal's name.
    pub seal: String,
    /// What it made.
    pub wrapped: String,
}

impl Wrapped {
    /// Which seal it was, with the id of a static key, for people.
    pub fn by(&self) -> String {
        match fixed::key_id(self) {
            Some(id) => format!("{} (key {id:?})", self.seal),
            None => self.seal.clone(),
        }
    }
}

/// Into how many shares a key is divided, and how many give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// How many there are; 0 if there is no such key.
    pub shares: usize,
    /// How many are needed.
    pub threshold: usize,
}

impl Stored {
    /// The form that is written.
    pub const VERSION: u32 = 1;
    /// Where it is kept.
    pub const PATH: &'static str = "core/seal";

    /// What the seal called `name` wrapped.
    pub fn wrapped_by(&self, name: &str) -> Option<&str> {
        self.root_key.iter().find(|one| one.seal == name).map(|one| one.wrapped.as_str())
    }

    /// What `seal` made, by a key that it has.
    pub fn made_by(&self, seal: &dyn AutoSeal) -> Option<&Wrapped> {
        self.root_key.iter().find(|one| seal.made(one))
    }

    /// Whether people's shares open it.
    pub fn is_shamir(&self) -> bool {
        self.wrapped_by(shamir::NAME).is_some()
    }
}

/// Wraps the root key by a key that is at hand.
fn wrap_by(key: &DataKey, name: &str, root_key: &DataKey) -> Result<String, SealError> {
    let sealed = gcm::seal(key.expose(), &associated_data(name), root_key.as_secret());
    let sealed = sealed.map_err(|error| SealError::Config(error.to_string()))?;
    Ok(STANDARD.encode(sealed))
}

/// Unwraps what [`wrap_by`] made.
fn unwrap_by(key: &DataKey, name: &str, wrapped: &str) -> Result<DataKey, SealError> {
    let wrong = || SealError::WrongKey(name.to_owned());
    let sealed = STANDARD.decode(wrapped).map_err(|_| wrong())?;
    let plain: SecretBytes = gcm::open(key.expose(), &associated_data(name), &sealed).map_err(|_| wrong())?;
    DataKey::from_bytes(plain).map_err(|_| wrong())
}

fn associated_data(name: &str) -> Vec<u8> {
    [b"bulla seal 1 ", name.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
