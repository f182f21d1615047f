//! Finding the key that opens a value.
//!
//! RSA values name no key. A private operation takes a millisecond or more, so the order of trying is what opening costs: first the
//! key that the caller remembers, then the others, newest first, without those that cannot be it.

use bulla_core::SecretBytes;
use jiff::Timestamp;

use super::{Algorithm, Binding, Fingerprint, OpenError, PrivateKey, SealedValue};

/// A key and since when it is used.
#[derive(Clone, Debug)]
pub struct RingKey {
    /// The key.
    pub key: PrivateKey,
    /// What keys are ordered by: its certificate's first day or its object's creation, as the operator says.
    pub since: Timestamp,
}

/// Keys in the order they are tried: newest first.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

/// An opened value.
#[derive(Debug)]
pub struct Opened {
    /// What was sealed.
    pub plaintext: SecretBytes,
    /// The key it is sealed to: remember it, and say so the next time.
    pub key: Fingerprint,
    /// How many private operations it took.
    pub tries: usize,
}

impl KeyRing {
    /// A ring of `keys`, each once.
    pub fn new(keys: impl IntoIterator<Item = RingKey>) -> Self {
        let mut keys: Vec<RingKey> = keys.into_iter().collect();
        // Equally old keys stand in an order of their own too, so that each start tries the same one first.
        keys.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| a.key.fingerprint().cmp(b.key.fingerprint())));
        keys.dedup_by(|a, b| a.key.fingerprint() == b.key.fingerprint());
        Self { keys }
    }

    /// The keys, newest first.
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// The newest key of an algorithm: what new values are sealed to.
    pub fn newest(&self, algorithm: Algorithm) -> Option<&RingKey> {
        self.keys.iter().find(|each| each.key.algorithm() == algorithm)
    }

    /// The key of a fingerprint.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&RingKey> {
        self.keys.iter().find(|each| each.key.fingerprint() == fingerprint)
    }

    /// Opens a value, trying the key of `hint` first.
    ///
    /// # Errors
    /// [`OpenError::NoKey`] or [`OpenError::UnknownKey`] when no key does; [`OpenError::Corrupt`] or [`OpenError::NotBoundHere`] when
    /// its key is there and it does not open, after which no other is tried.
    pub fn open(
        &self,
        value: &SealedValue,
        binding: &Binding<'_>,
        hint: Option<&Fingerprint>,
    ) -> Result<Opened, OpenError> {
        let hinted = hint.and_then(|hint| self.find(hint));
        let others = self.keys.iter().filter(|each| hint != Some(each.key.fingerprint()));
        let mut tries = 0;
        for RingKey { key, .. } in hinted.into_iter().chain(others) {
            if value.may_be_for(key).is_err() {
                continue;
            }
            tries += 1;
            match value.open(key, binding) {
                Ok(plaintext) => return Ok(Opened { plaintext, key: *key.fingerprint(), tries }),
                Err(OpenError::NoKey | OpenError::UnknownKey { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(value.no_key())
    }
}
