//! The keys that values are opened with: the interface between whoever keeps them and whoever uses them.
//!
//! A [`KeyRing`] gives out whole [snapshots](Keys). A reader works on one from begin to end, whatever becomes of the ring
//! meanwhile; it holds no lock and cannot see half a change.

use std::sync::{Arc, PoisonError, RwLock};

use bulla_format::sealed::{self, Algorithm, Certificate, Fingerprint, PrivateKey, RingKey};
use jiff::Timestamp;
use tokio::sync::watch;

use bulla_kube::api::sealing_key::KeyState;

/// One key pair of the ring.
#[derive(Clone, Debug)]
pub struct Key {
    /// The private half, in locked memory, from which come its algorithm, public key and fingerprint.
    pub private: PrivateKey,
    /// RSA: its certificate. What `/v1/cert.pem` gives out.
    pub certificate: Option<Certificate>,
    /// From when new values are sealed to it, and what keys are ordered by.
    pub not_before: Timestamp,
    /// What it may be used for.
    pub state: KeyState,
}

impl Key {
    /// Which key it is.
    pub const fn fingerprint(&self) -> &Fingerprint {
        self.private.fingerprint()
    }
}

/// All keys at one moment.
#[derive(Debug, Default)]
pub struct Keys {
    /// Those that open, newest first.
    opening: sealed::KeyRing,
    /// What is known of them beside the keys themselves, newest first; none that is compromised.
    pairs: Vec<Arc<Key>>,
    /// The fingerprints of those that are compromised, so that an error can say so.
    compromised: Vec<Fingerprint>,
    /// Counts the changes of the ring.
    version: u64,
}

impl Keys {
    /// Puts keys in order. The private halves of compromised ones are not kept.
    pub fn new(keys: Vec<Arc<Key>>, version: u64) -> Self {
        let (compromised, mut pairs): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| key.state == KeyState::Compromised);
        pairs.sort_by(|a, b| b.not_before.cmp(&a.not_before).then_with(|| a.fingerprint().cmp(b.fingerprint())));
        let ring = pairs.iter().map(|key| RingKey { key: key.private.clone(), since: key.not_before });
        Self {
            opening: sealed::KeyRing::new(ring),
            pairs,
            compromised: compromised.iter().map(|key| *key.fingerprint()).collect(),
            version,
        }
    }

    /// The keys that open, in the form that opens values.
    pub const fn opening(&self) -> &sealed::KeyRing {
        &self.opening
    }

    /// The keys that open, newest first.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.pairs
    }

    /// Whether the key with this fingerprint is compromised.
    pub fn is_compromised(&self, fingerprint: &Fingerprint) -> bool {
        self.compromised.contains(fingerprint)
    }

    /// Whether any key is compromised.
    pub const fn has_compromised(&self) -> bool {
        !self.compromised.is_empty()
    }

    /// The key to seal new values to: the newest active one of an algorithm whose time has come.
    pub fn current(&self, algorithm: Algorithm, now: Timestamp) -> Option<&Arc<Key>> {
        let mut keys = self.pairs.iter().filter(|key| key.private.algorithm() == algorithm);
        keys.find(|key| key.state == KeyState::Active && key.not_before <= now)
    }

    /// Counts the changes of the ring: another number, other keys.
    pub const fn version(&self) -> u64 {
        self.version
    }
}

/// Whoever keeps the keys: the wrapped ones in the cluster, plain Secrets, or a test's list.
pub trait KeyRing: Send + Sync + 'static {
    /// The keys now. Cheap.
    fn snapshot(&self) -> Arc<Keys>;

    /// The version of the newest snapshot; wakes its receivers when there is another.
    fn changed(&self) -> watch::Receiver<u64>;

    /// The key to seal new values to now, if there is one.
    fn current(&self, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.snapshot().current(algorithm, Timestamp::now()).cloned()
    }

    /// Told that values were opened with a key, and how many, so that it is known which keys are in use. Called often; must not wait.
    fn used(&self, fingerprint: &Fingerprint, values: usize) {
        let _ = (fingerprint, values);
    }
}

/// A ring that holds the keys it is given.
#[derive(Debug)]
pub struct MemoryRing {
    keys: RwLock<Arc<Keys>>,
    version: watch::Sender<u64>,
}

impl Default for MemoryRing {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl MemoryRing {
    /// A ring of these keys.
    pub fn new(keys: Vec<Arc<Key>>) -> Self {
        Self { keys: RwLock::new(Arc::new(Keys::new(keys, 0))), version: watch::Sender::new(0) }
    }

    /// Puts these keys in the place of all others, and tells whoever waits.
    pub fn replace(&self, keys: Vec<Arc<Key>>) {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let version = current.version() + 1;
        *current = Arc::new(Keys::new(keys, version));
        drop(current);
        self.version.send_replace(version);
    }
}

impl KeyRing for MemoryRing {
    fn snapshot(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn key(hours_ago: i64, state: KeyState) -> Arc<Key> {
        let private = PrivateKey::generate(Algorithm::Hybrid).unwrap();
        Arc::new(Key {
            private,
            certificate: None,
            not_before: Timestamp::now() - SignedDuration::from_hours(hours_ago),
            state,
        })
    }

    #[test]
    fn the_newest_active_key_whose_time_has_come_seals() {
        let [old, future, retired, now] =
            [key(3, KeyState::Active), key(-1, KeyState::Active), key(1, KeyState::Retired), key(2, KeyState::Active)];
        let ring = MemoryRing::new(vec![old.clone(), future.clone(), retired.clone(), now.clone()]);
        assert_eq!(ring.current(Algorithm::Hybrid).unwrap().fingerprint(), now.fingerprint());
        assert!(ring.current(Algorithm::Rsa).is_none());
        let snapshot = ring.snapshot();
        let order = snapshot.opening().keys().iter().map(|each| each.key.fingerprint());
        assert!(order.eq([future, retired, now, old].iter().map(|key| key.fingerprint())));
    }

    #[test]
    fn a_compromised_key_neither_opens_nor_seals_and_is_known() {
        let bad = key(1, KeyState::Compromised);
        let keys = Keys::new(vec![bad.clone()], 0);
        assert!(keys.opening().find(bad.fingerprint()).is_none());
        assert!(keys.current(Algorithm::Hybrid, Timestamp::now()).is_none() && keys.is_compromised(bad.fingerprint()));
    }

    #[tokio::test]
    async fn a_change_wakes_whoever_waits_and_spares_old_snapshots() {
        let ring = MemoryRing::default();
        let (before, mut changed) = (ring.snapshot(), ring.changed());
        let new = key(1, KeyState::Active);
        ring.replace(vec![new.clone()]);
        changed.changed().await.unwrap();
        assert!(before.keys().is_empty() && ring.snapshot().version() == *changed.borrow());
        assert!(ring.snapshot().opening().find(new.fingerprint()).is_some());
    }
}
