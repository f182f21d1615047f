//! Keys by name: set up once, kept in memory until they are written, deleted, or the server is sealed.
//!
//! What is kept is exactly what is stored: a change takes the one lock, forgets the key, writes, and only then lets the key be read again. The
//! write and what follows it run to their end even if the request that asked for them is gone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, OwnedMutexGuard};

use super::asymmetric::{Curve, Ecdsa, ed25519_generate, rsa_generate};
use super::key::Key;
use super::policy::{HMAC_KEY, KeyType, Policy, Secret, Version};
use crate::barrier::View;
use crate::core::now_nanos;
use crate::logical::{Error, Result};

/// How many keys are kept in memory where nobody says.
const KEPT: usize = 10_000;

/// Settings of the mount.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How many keys are kept in memory; 0: as many as the server thinks right.
    pub cache_size: usize,
    /// Whether encrypting with a key that is not there is an error, and makes none.
    pub no_upsert: bool,
}

const CONFIG: &str = "config";

fn entry(name: &str) -> String {
    format!("k/{name}")
}

/// The folder of all keys.
pub const FOLDER: &str = "k/";

/// All keys of a mount.
#[derive(Default)]
pub struct Keys {
    cached: RwLock<HashMap<String, Arc<Key>>>,
    changing: Arc<Mutex<()>>,
    /// One RSA key is made at a time.
    making: Mutex<()>,
}

/// A key that is being changed, or that is to be; nobody else changes one meanwhile.
pub struct Change {
    keys: Arc<Keys>,
    storage: View,
    name: String,
    guard: OwnedMutexGuard<()>,
    /// As it is.
    pub key: Option<Arc<Key>>,
}

impl Keys {
    /// The settings.
    pub async fn config(storage: &View) -> Result<Config> {
        Ok(storage.read(CONFIG).await?.unwrap_or_default())
    }

    /// Changes the settings.
    pub async fn configure(&self, storage: &View, change: impl FnOnce(&mut Config) + Send) -> Result<Config> {
        let _changing = self.changing.lock().await;
        let mut config = Self::config(storage).await?;
        change(&mut config);
        storage.write(CONFIG, &config).await?;
        Ok(config)
    }

    fn cached(&self, name: &str) -> Option<Arc<Key>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    /// The key with a name, as it is.
    pub async fn find(&self, storage: &View, name: &str) -> Result<Option<Arc<Key>>> {
        if let Some(key) = self.cached(name) {
            return Ok(Some(key));
        }
        // Nobody writes between the reading and the keeping.
        let _changing = self.changing.lock().await;
        self.load(storage, name).await
    }

    async fn load(&self, storage: &View, name: &str) -> Result<Option<Arc<Key>>> {
        if let Some(key) = self.cached(name) {
            return Ok(Some(key));
        }
        let Some(policy) = storage.read::<Policy>(&entry(name)).await? else { return Ok(None) };
        let most = match Self::config(storage).await?.cache_size {
            0 => KEPT,
            most => most,
        };
        let key = Arc::new(Key::new(policy));
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        while cached.len() >= most
            && let Some(name) = cached.keys().next().cloned()
        {
            cached.remove(&name);
        }
        cached.insert(name.to_owned(), Arc::clone(&key));
        Ok(Some(key))
    }

    /// Adds a version to the key, if it is there and `wanted` says so. The version is made before the lock is taken: RSA takes seconds.
    pub async fn rotate(
        self: &Arc<Self>,
        storage: &View,
        name: &str,
        wanted: impl Fn(&Key) -> Result<bool> + Send + Sync,
    ) -> Result<Option<Arc<Key>>> {
        loop {
            let Some(key) = self.find(storage, name).await? else { return Ok(None) };
            if !wanted(&key)? {
                return Ok(Some(key));
            }
            // Of many that come at once the first makes the version, and the others find it.
            let _making = self.making(key.policy.kind).await;
            if key.policy.kind.is_rsa() && !self.find(storage, name).await?.is_some_and(|now| Arc::ptr_eq(&now, &key)) {
                continue;
            }
            let version = generate(key.policy.kind, key.policy.key_size).await?;
            let change = self.change(storage, name).await?;
            let mut policy = match &change.key {
                Some(now) if now.policy.kind == key.policy.kind && now.policy.key_size == key.policy.key_size => {
                    if !wanted(now)? {
                        return Ok(Some(Arc::clone(now)));
                    }
                    now.policy.clone()
                }
                // Deleted meanwhile, or another under this name.
                _ => continue,
            };
            if policy.imported && !policy.allow_rotation {
                let text = format!("imported key {name} does not allow rotation within Vault");
                return Err(Error::wrapped(500, &text));
            }
            policy.imported = false;
            policy.add(version);
            return change.store(policy).await.map(Some);
        }
    }

    /// The key with a name for what its newest version does: rotated before, if its time has come.
    pub async fn find_fresh(self: &Arc<Self>, storage: &View, name: &str) -> Result<Option<Arc<Key>>> {
        let is_due = |key: &Key| key.due.is_some_and(|due| due <= now_nanos());
        match self.find(storage, name).await? {
            Some(key) if is_due(&key) => self.rotate(storage, name, |key| Ok(is_due(key))).await,
            key => Ok(key),
        }
    }

    /// The turn to make a key that takes long; keys that do not need none.
    pub async fn making(&self, kind: KeyType) -> Option<MutexGuard<'_, ()>> {
        if kind.is_rsa() { Some(self.making.lock().await) } else { None }
    }

    /// Takes the lock on changes.
    pub async fn change(self: &Arc<Self>, storage: &View, name: &str) -> Result<Change> {
        let guard = Arc::clone(&self.changing).lock_owned().await;
        let key = self.load(storage, name).await?;
        Ok(Change { keys: Arc::clone(self), storage: storage.clone(), name: name.to_owned(), guard, key })
    }

    fn forget(&self, name: &str) {
        self.cached.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Change {
    /// Writes.
    pub async fn store(self, policy: Policy) -> Result<Arc<Key>> {
        self.write_whole(Some(policy)).await?.ok_or_else(|| Error::internal(&"a key that was written is not there"))
    }

    /// Deletes.
    pub async fn delete(self) -> Result<()> {
        self.write_whole(None).await.map(drop)
    }

    async fn write_whole(self, policy: Option<Policy>) -> Result<Option<Arc<Key>>> {
        let Self { keys, storage, name, guard, .. } = self;
        let write = async move {
            // Held to the end of this, not to that of the request.
            let _guard = guard;
            keys.forget(&name);
            let Some(policy) = policy else {
                storage.delete(&entry(&name)).await?;
                return Ok(None);
            };
            storage.write(&entry(&name), &policy).await?;
            keys.load(&storage, &name).await
        };
        tokio::spawn(write).await.map_err(|error| Error::internal(&error))?
    }
}

/// A new version for a key.
pub async fn generate(kind: KeyType, key_size: usize) -> Result<Version> {
    let failed = || Error::internal(&"a key could not be made");
    let made = match kind {
        KeyType::Hmac => {
            if !HMAC_KEY.contains(&key_size) {
                return Err(Error::wrapped(500, "invalid key size for HMAC key, must be between 32 and 512 bytes"));
            }
            let key = Secret::random(key_size)?;
            return Ok(Version { hmac: key.clone(), key, created: now_nanos(), ..Version::default() });
        }
        KeyType::Ed25519 => ed25519_generate()?,
        kind if kind.is_aead() => Version { key: Secret::random(kind.key_len())?, ..Version::default() },
        kind => match Curve::of(kind) {
            Some(curve) => Ecdsa::generate(curve).ok_or_else(failed)?,
            None => tokio::task::spawn_blocking(move || rsa_generate(kind))
                .await
                .map_err(|error| Error::internal(&error))?
                .ok_or_else(failed)?,
        },
    };
    Ok(Version { hmac: Secret::random(32)?, created: now_nanos(), ..made })
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bulla_core::DataKey;
    use futures_util::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::barrier::Barrier;
    use crate::storage::{Batch, Memory, Storage, StorageError};

    /// Storage whose writes wait until they may.
    struct Slow(Memory, Arc<Semaphore>);

    #[async_trait]
    impl Storage for Slow {
        fn kind(&self) -> &'static str {
            "slow"
        }
        async fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, StorageError> {
            self.0.get(key).await
        }
        async fn list(
            &self,
            prefix: &str,
            after: &str,
            limit: usize,
        ) -> std::result::Result<Vec<String>, StorageError> {
            self.0.list(prefix, after, limit).await
        }
        async fn commit(&self, batch: Batch) -> std::result::Result<(), StorageError> {
            self.1.acquire().await.unwrap().forget();
            self.0.commit(batch).await
        }
    }

    #[tokio::test]
    async fn a_write_whose_request_is_gone_is_not_overtaken() {
        let gate = Arc::new(Semaphore::new(100));
        let storage = Arc::new(Slow(Memory::default(), Arc::clone(&gate)));
        let barrier = Arc::new(Barrier::initialize(storage, DataKey::generate().unwrap()).await.unwrap());
        let view = View::hidden(&barrier, "logical/x/");
        let keys = Arc::new(Keys::default());
        let mut policy = Policy::new("k", KeyType::Aes256);
        policy.add(generate(KeyType::Aes256, 0).await.unwrap());
        keys.change(&view, "k").await.unwrap().store(policy).await.unwrap();
        gate.forget_permits(100);
        // The write begins, and whoever asked for it goes away.
        let mut rotation = Box::pin(keys.rotate(&view, "k", |_| Ok(true)));
        for _ in 0..10 {
            assert!(rotation.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        drop(rotation);
        // Nobody reads the key as it was.
        let mut reading = Box::pin(keys.find(&view, "k"));
        assert!(reading.as_mut().now_or_never().is_none());
        gate.add_permits(1);
        assert_eq!(reading.await.unwrap().unwrap().policy.latest, 2);
    }
}
