//! The only place that encrypts. Above it is plaintext, below it nothing but ciphertext under names that say little.
//!
//! ```text
//! record = version (1 byte, 1) || term (4 bytes, big endian) || nonce (12 bytes) || ciphertext || tag (16 bytes)
//! ```
//!
//! AES-256-GCM with the key of the term. Associated data is `bulla barrier 1`, a zero byte, version and term, and the path in storage: a record
//! that was moved to another path does not open. Nonces are random, so a term is good for 2³² records (NIST SP 800-38D, 8.3); the keyring
//! is rotated long before. What is not detected: a whole storage, or one record, put back to an older state of the same path.
//!
//! A [`Barrier`] is open. Sealing is dropping it, and its keys are wiped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{Aes256Gcm, KeyInit};
use bulla_core::DataKey;
use zeroize::Zeroizing;

use crate::seal::Shares;
use crate::storage::{Batch, Storage, StorageError, commit_surely};

mod keyring;
mod names;
mod transaction;
mod view;

pub use keyring::{KeyStatus, Keyring};
pub use transaction::Transaction;
pub use view::View;

use names::Names;

const VERSION: u8 = 1;
const HEADER: usize = 5;
const NONCE: usize = 12;
const TAG: usize = 16;
/// How much longer a record is than its plaintext.
pub const OVERHEAD: usize = HEADER + NONCE + TAG;
/// Where the keyring is, encrypted by the root key.
pub(crate) const KEYRING: &str = "core/keyring";
/// After so many records the term ends: a tenth of a percent of the bound of random nonces has been used up by then.
pub const RECORDS_PER_TERM: u64 = 1 << 31;

/// So many records may have been encrypted without the keyring saying so.
const NOTED_RECORDS: u64 = 1 << 20;

/// Plaintext that is wiped when it is dropped.
pub type Plain = Zeroizing<Vec<u8>>;

/// Why the barrier did not give or take an entry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// The storage below failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The root key does not open the keyring, or there is none.
    #[error("cannot open the keyring: {0}")]
    Keyring(&'static str),
    /// A record was changed, cut, moved to another path, or made by a key that is not in the keyring.
    #[error("the entry at {path} does not open: {what}")]
    Damaged {
        /// The path in storage.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An entry that opens and is not what is expected there.
    #[error("the entry at {path} cannot be read: {reason}")]
    Format {
        /// The path in storage.
        path: String,
        /// What is wrong with it, and nothing of its contents.
        reason: String,
    },
    /// The system has no randomness to give.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl BarrierError {
    /// Whether reading and deciding again may help.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Conflict))
    }
}

/// Open storage.
pub struct Barrier {
    storage: Arc<dyn Storage>,
    keyring: RwLock<Arc<Keyring>>,
    /// The record that the keyring came from, or became. Changes of the keyring happen one at a time, and each follows the one before it.
    record: tokio::sync::Mutex<Vec<u8>>,
    names: Names,
    /// Records encrypted in this term since the keyring was written.
    fresh: AtomicU64,
}

impl Barrier {
    /// Makes a keyring and keeps it under `root_key`.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if there is one already.
    pub async fn initialize(storage: Arc<dyn Storage>, root_key: DataKey) -> Result<Self, BarrierError> {
        Self::make(storage, Keyring::generate(root_key)?, Batch::default()).await
    }

    /// The same, says how the key that people hold is shared, and writes `with` in the same step.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if there is a keyring already.
    pub async fn initialize_with(
        storage: Arc<dyn Storage>,
        root_key: DataKey,
        shares: Shares,
        with: Batch,
    ) -> Result<Self, BarrierError> {
        Self::make(storage, Keyring::generate(root_key)?.with_shares(shares), with).await
    }

    async fn make(storage: Arc<dyn Storage>, keyring: Keyring, with: Batch) -> Result<Self, BarrierError> {
        let record = keyring.seal()?;
        let mut batch = with;
        batch.conditions.push((KEYRING.to_owned(), None));
        batch.writes.push((KEYRING.to_owned(), Some(record.clone())));
        storage.commit(batch).await?;
        Self::with(storage, keyring, record)
    }

    /// Opens storage with the root key.
    ///
    /// # Errors
    /// [`BarrierError::Keyring`] if it is not the key.
    pub async fn open(storage: Arc<dyn Storage>, root_key: DataKey) -> Result<Self, BarrierError> {
        let record = storage.get(KEYRING).await?.ok_or(BarrierError::Keyring("there is none"))?;
        let keyring = Keyring::open(&record, root_key)?;
        Self::with(storage, keyring, record)
    }

    /// Whether a keyring was made.
    pub async fn is_initialized(storage: &dyn Storage) -> Result<bool, BarrierError> {
        Ok(storage.get(KEYRING).await?.is_some())
    }

    fn with(storage: Arc<dyn Storage>, keyring: Keyring, record: Vec<u8>) -> Result<Self, BarrierError> {
        let names = Names::new(keyring.name_key())?;
        Ok(Self {
            storage,
            keyring: RwLock::new(Arc::new(keyring)),
            record: tokio::sync::Mutex::new(record),
            names,
            fresh: AtomicU64::new(0),
        })
    }

    /// The storage below.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest term, when it began, and how many records it has.
    pub fn key_status(&self) -> KeyStatus {
        let mut status = self.keyring().status();
        status.encryptions += self.fresh.load(Ordering::Relaxed);
        status
    }

    /// Whether the term has had as many records as it should.
    pub fn wants_rotation(&self) -> bool {
        self.key_status().encryptions >= RECORDS_PER_TERM
    }

    /// Begins a new term. What older terms encrypted still opens.
    pub async fn rotate(&self) -> Result<(), BarrierError> {
        self.change(Keyring::rotated).await
    }

    /// Keeps the keyring, with a new term, under another root key, and writes `with` in the same step: the seal's record, that opens with the other key
    /// alone, and has the same shares.
    ///
    /// # Errors
    /// [`StorageError::Unknown`] if it may have been done; any other: nothing has changed.
    pub async fn replace_root_key(&self, root_key: &DataKey, shares: Shares, with: Batch) -> Result<(), BarrierError> {
        let change = |keyring: &Keyring| Ok(keyring.rotated()?.under(root_key.clone()).with_shares(shares));
        self.change_with(change, with).await
    }

    /// Keeps how the key that people hold is shared, and writes `with` in the same step: the seal's record, that says the same.
    ///
    /// # Errors
    /// [`StorageError::Unknown`] if it may have been done; any other: nothing has changed.
    pub async fn replace_shares(&self, shares: Shares, with: Batch) -> Result<(), BarrierError> {
        self.change_with(|keyring| Ok(keyring.with_shares(shares)), with).await
    }

    /// How the key that people hold is shared, as the root key vouches for; `None` if the keyring is older than that.
    pub fn shares(&self) -> Option<Shares> {
        self.keyring().shares()
    }

    /// Whether `root_key` is the one.
    pub fn is_root_key(&self, root_key: &DataKey) -> bool {
        self.keyring().root_key() == root_key
    }

    /// The key by which the cluster's snapshots are known.
    pub fn snapshot_key(&self) -> aws_lc_rs::hmac::Key {
        crate::storage::snapshot::key(self.keyring().name_key())
    }

    /// A copy of the root key, to be wrapped by another seal.
    pub fn root_key(&self) -> DataKey {
        self.keyring().root_key().clone()
    }

    /// Whether so many records are new that they should be written down: a process that is killed forgets them.
    pub fn wants_note(&self) -> bool {
        self.fresh.load(Ordering::Relaxed) > NOTED_RECORDS
    }

    /// Writes down how many records the term has had, so that it is known after the end of the process.
    pub async fn note_encryptions(&self) -> Result<(), BarrierError> {
        if self.fresh.load(Ordering::Relaxed) == 0 { Ok(()) } else { self.change(|keyring| Ok(keyring.clone())).await }
    }

    async fn change(&self, change: impl FnOnce(&Keyring) -> Result<Keyring, BarrierError>) -> Result<(), BarrierError> {
        self.change_with(change, Batch::default()).await
    }

    async fn change_with(
        &self,
        change: impl FnOnce(&Keyring) -> Result<Keyring, BarrierError>,
        with: Batch,
    ) -> Result<(), BarrierError> {
        let mut current = self.record.lock().await;
        let fresh = self.fresh.load(Ordering::Relaxed);
        let changed = change(&self.keyring().with_encryptions(fresh))?;
        let record = changed.seal()?;
        let mut batch = with;
        // What is replaced is what this one was made of: a term that another wrote meanwhile is not lost.
        batch.conditions.push((KEYRING.to_owned(), Some(current.clone())));
        batch.writes.insert(0, (KEYRING.to_owned(), Some(record.clone())));
        commit_surely(self.storage.as_ref(), batch).await?;
        *current = record;
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(changed);
        self.fresh.fetch_sub(fresh, Ordering::Relaxed);
        Ok(())
    }

    /// Encrypts what is to be found at `path`.
    pub fn encrypt(&self, path: &str, plaintext: &[u8]) -> Result<Vec<u8>, BarrierError> {
        let keyring = self.keyring();
        let (term, key) = keyring.newest();
        self.fresh.fetch_add(1, Ordering::Relaxed);
        // With room for the tag from the start: growing would leave a copy of the plaintext behind.
        let mut record = Vec::with_capacity(plaintext.len() + OVERHEAD);
        record.push(VERSION);
        record.extend_from_slice(&term.to_be_bytes());
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        record.extend_from_slice(&nonce);
        record.extend_from_slice(plaintext);
        let data = associated_data(&record[..HEADER], path);
        let tag = Aes256Gcm::new(key.expose().into())
            .encrypt_inout_detached(&Nonce::<Aes256Gcm>::from(nonce), &data, (&mut record[HEADER + NONCE..]).into())
            .map_err(|_| StorageError::TooLarge { what: "value", limit: crate::storage::MAX_VALUE })?;
        record.extend_from_slice(&tag);
        Ok(record)
    }

    /// Opens a record that was found at `path`.
    pub fn decrypt(&self, path: &str, mut record: Vec<u8>) -> Result<Plain, BarrierError> {
        let damaged = |what| BarrierError::Damaged { path: path.to_owned(), what };
        if record.len() < OVERHEAD {
            return Err(damaged("it is too short"));
        }
        if record[0] != VERSION {
            return Err(damaged("its version is not known"));
        }
        let term = u32::from_be_bytes([record[1], record[2], record[3], record[4]]);
        let keyring = self.keyring();
        let key = keyring.key(term).ok_or_else(|| damaged("the key that made it is not in the keyring"))?;
        let data = associated_data(&record[..HEADER], path);
        let nonce = Nonce::<Aes256Gcm>::try_from(&record[HEADER..HEADER + NONCE]).map_err(|_| damaged("no nonce"))?;
        let tag_at = record.len() - TAG;
        let tag = Tag::<Aes256Gcm>::try_from(&record[tag_at..]).map_err(|_| damaged("no tag"))?;
        record.truncate(tag_at);
        Aes256Gcm::new(key.expose().into())
            .decrypt_inout_detached(&nonce, &data, (&mut record[HEADER + NONCE..]).into(), &tag)
            .map_err(|_| damaged("it was changed, or belongs elsewhere"))?;
        let mut plain = Zeroizing::new(record);
        plain.drain(..HEADER + NONCE);
        Ok(plain)
    }
}

fn associated_data(header: &[u8], path: &str) -> Vec<u8> {
    [b"bulla barrier 1\0", header, path.as_bytes()].concat()
}

#[cfg(test)]
mod tests;
