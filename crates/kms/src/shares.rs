//! A key that nobody has whole: people hold Shamir shares of it and give them to the process that needs it.
//!
//! [`create`] makes the key, splits it and forgets it. What everybody may know of it is a [`Set`]: its id, how many shares are
//! needed, and a commitment to each share. A [`Collector`] takes shares one by one and puts the key together; [`Joined`] holds
//! keys that are together, and a [`Registry`](crate::Registry) that was given it wraps and unwraps with them.
//!
//! ```text
//! id          = hex of the first 16 bytes of SHA-256("bulla shares key id 1" || key)
//! share       = y (32 bytes) || x (1 byte), see `shamir`
//! commitment  = SHA-256("bulla share commitment 1" || id || share)
//! as text     = "bulla-share-1-" id "-" hex of the share "-" hex of the first 4 bytes of SHA-256 of all before
//! ```
//!
//! A share is uniformly random for whoever has fewer than the threshold, so 256 bits of it are behind its commitment: it tells a
//! wrong share from a right one at once and says nothing about either. The same holds for the key and its id.
//!
//! Wrapped form: standard base64 of [`gcm`] with `bulla shares key 1 ` and the id as associated data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, SecretString, WrappedKey};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::registry::Context;
use crate::{gcm, shamir};

mod text;

const SHARE: usize = DataKey::LEN + 1;

/// What everybody may know of a key in shares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Set {
    /// Which key: 32 hex digits.
    pub id: String,
    /// How many shares give it back.
    pub threshold: usize,
    /// For each share, hex of the hash that tells it from a wrong one; the first is that of share 1.
    pub commitments: Vec<String>,
}

/// One person's share. Wiped when dropped.
pub struct Share {
    set: String,
    bytes: SecretBytes,
}

/// Why a share is not taken. Nothing of it is in the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The text does not look like a share.
    #[error("this is not a share: one begins with \"bulla-share-1-\" and has 122 characters")]
    NotAShare,
    /// A character is wrong, or some are missing.
    #[error("the share has a typing error: its check digits do not fit")]
    Typo,
    /// It belongs to another key.
    #[error("the share belongs to the set {given}, and the set {wanted} is needed")]
    OtherSet {
        /// The share's set.
        given: String,
        /// The set that is collected.
        wanted: String,
    },
    /// It names the right set, and was never part of it.
    #[error("the share names the right set but was not given out with it")]
    Wrong,
    /// All shares are right, and what they make is not the key: the set's public part was changed.
    #[error("the shares do not make the key of this set: its public part was changed")]
    WrongKey,
    /// The set's public part is malformed.
    #[error("the public part of the set of shares is malformed: {0}")]
    BadSet(&'static str),
}

/// How far the collecting is.
pub enum Progress {
    /// So many different shares are there; more are needed.
    More {
        /// How many are there.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// The key.
    Complete(DataKey),
}

/// Makes a key, splits it into `shares` of which `threshold` give it back, and forgets it.
///
/// # Errors
/// [`shamir::Error`] if there cannot be so many.
pub fn create(shares: usize, threshold: usize) -> Result<(Set, Vec<Share>), shamir::Error> {
    let key = DataKey::generate()?;
    let parts = shamir::split(key.as_secret(), shares, threshold)?;
    let id = id_of(&key);
    let shares: Vec<_> = parts.into_iter().map(|bytes| Share { set: id.clone(), bytes }).collect();
    let commitments = shares.iter().map(|share| hex(&share.commitment())).collect();
    Ok((Set { id, threshold, commitments }, shares))
}

impl Set {
    /// Whether it can be what [`create`] made.
    ///
    /// # Errors
    /// [`ShareError::BadSet`].
    pub fn checked(self) -> Result<Self, ShareError> {
        let is_hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        if !is_hex(&self.id, 32) {
            return Err(ShareError::BadSet("its id is not 32 hex digits"));
        }
        if self.threshold < 2 || self.threshold > self.commitments.len() || self.commitments.len() > 255 {
            return Err(ShareError::BadSet("the number of shares and how many are needed do not go together"));
        }
        if !self.commitments.iter().all(|one| is_hex(one, 64)) {
            return Err(ShareError::BadSet("a commitment is not 64 hex digits"));
        }
        Ok(self)
    }

    /// The key as a recipient.
    pub fn key_id(&self) -> KeyId {
        KeyId::Shares { set: self.id.clone() }
    }
}

impl Share {
    /// Reads a share's text; space around it does not matter.
    ///
    /// # Errors
    /// [`ShareError::NotAShare`], [`ShareError::Typo`].
    pub fn parse(text: &SecretString) -> Result<Self, ShareError> {
        text::parse(text.expose()).map(|(set, bytes)| Self { set, bytes })
    }

    /// Its text.
    pub fn to_text(&self) -> SecretString {
        text::print(&self.set, &self.bytes)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.bytes.expose().last().copied().unwrap_or_default()
    }

    /// The id of the set that it belongs to.
    pub fn set(&self) -> &str {
        &self.set
    }

    fn commitment(&self) -> [u8; 32] {
        let hash = Sha256::new().chain_update(b"bulla share commitment 1").chain_update(self.set.as_bytes());
        hash.chain_update(self.bytes.expose()).finalize().into()
    }
}

/// Takes shares until the key is together. What it has is wiped when it is dropped.
pub struct Collector {
    set: Set,
    given: BTreeMap<u8, SecretBytes>,
}

impl Collector {
    /// For the shares of `set`.
    pub const fn new(set: Set) -> Self {
        Self { set, given: BTreeMap::new() }
    }

    /// The set that is collected.
    pub const fn set(&self) -> &Set {
        &self.set
    }

    /// How many different shares are there.
    pub fn given(&self) -> usize {
        self.given.len()
    }

    /// Takes a share. The same one again changes nothing. With the last one that was needed all are forgotten.
    ///
    /// # Errors
    /// [`ShareError`]; the shares that are there stay, unless they made a wrong key.
    pub fn give(&mut self, share: Share) -> Result<Progress, ShareError> {
        if share.set != self.set.id {
            return Err(ShareError::OtherSet { given: share.set.clone(), wanted: self.set.id.clone() });
        }
        let number = share.number();
        let expected = usize::from(number).checked_sub(1).and_then(|at| self.set.commitments.get(at));
        let right = expected.is_some_and(|one| one.as_bytes().ct_eq(hex(&share.commitment()).as_bytes()).into());
        if !right {
            return Err(ShareError::Wrong);
        }
        self.given.insert(number, share.bytes);
        if self.given.len() < self.set.threshold {
            return Ok(Progress::More { given: self.given.len(), needed: self.set.threshold });
        }
        let shares: Vec<_> = std::mem::take(&mut self.given).into_values().collect();
        let key = shamir::combine(&shares).map_err(|_| ShareError::WrongKey)?;
        let key = DataKey::from_bytes(key).map_err(|_| ShareError::WrongKey)?;
        if id_of(&key) == self.set.id { Ok(Progress::Complete(key)) } else { Err(ShareError::WrongKey) }
    }
}

/// Keys that were put together, by their set. Wiped when dropped.
#[derive(Default)]
pub struct Joined(Mutex<BTreeMap<String, DataKey>>);

impl Joined {
    /// Takes the key of a set.
    pub fn insert(&self, key: DataKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id_of(&key), key);
    }

    /// Whether the key of this set is there.
    pub fn contains(&self, set: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(set)
    }

    fn key(&self, set: &str) -> Option<DataKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(set).cloned()
    }
}

/// Opens the service for `id`.
#[expect(clippy::unnecessary_wraps, reason = "the signature that all services share")]
pub(crate) fn open(id: &KeyId, context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    Ok(Arc::new(Shares { id: id.clone(), joined: Arc::clone(&context.shares) }))
}

struct Shares {
    id: KeyId,
    joined: Arc<Joined>,
}

impl Shares {
    fn key(&self) -> Result<DataKey, KeyError> {
        let KeyId::Shares { set } = &self.id else {
            return Err(KeyError::new(KeyErrorKind::BadConfig, &self.id, "not a key in shares"));
        };
        self.joined.key(set).ok_or_else(|| {
            KeyError::new(KeyErrorKind::NotFound, &self.id, "not enough people have given their share")
                .with_hint("give shares with `bulla sealing-keys unseal`")
        })
    }

    fn associated_data(&self) -> Vec<u8> {
        format!("bulla shares key 1 {}", self.id).into_bytes()
    }
}

#[async_trait]
impl KeyService for Shares {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        let sealed = gcm::seal(self.key()?.expose(), &self.associated_data(), plaintext)
            .map_err(|error| KeyError::new(KeyErrorKind::Other, &self.id, error.to_string()))?;
        Ok(WrappedKey::new(STANDARD.encode(sealed)))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let damaged = |what: String| KeyError::new(KeyErrorKind::BadCiphertext, &self.id, what);
        let sealed =
            STANDARD.decode(wrapped.as_str()).map_err(|_| damaged("the wrapped key is not base64".to_owned()))?;
        gcm::open(self.key()?.expose(), &self.associated_data(), &sealed).map_err(|error| damaged(error.to_string()))
    }
}

fn id_of(key: &DataKey) -> String {
    let hash = Sha256::new().chain_update(b"bulla shares key id 1").chain_update(key.expose()).finalize();
    hex(&hash[..16])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
