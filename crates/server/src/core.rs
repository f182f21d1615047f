//! What a server is between its storage and its engines: mounts, tokens, policies, leases, audit; and whether it is sealed.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use aws_lc_rs::hmac;
use tokio::sync::watch;

pub mod audit;
pub mod audited;
pub mod expiry;
#[cfg(test)]
pub(crate) mod faulty;
mod handle;
pub mod lease;
pub mod lockout;
pub mod metrics;
pub mod mount;
pub mod password;
pub mod policy;
pub mod quorum;
pub mod quota;
pub mod random;
mod revoke;
pub mod rotation;
mod sealing;
pub mod snapshot;
pub mod token;
mod token_lease;
pub mod ttl;
pub mod versions;
mod wrap;

pub use handle::{is_cidr, is_from, is_within, policies, policy_names};
pub use sealing::{Attempt, Init, Initialized, SealStatus};

use self::audit::{Broker, DeviceConfig};
use self::expiry::Index;
use self::lease::Leases;
use self::mount::{Catalog, Mounts, Times};
use self::policy::Policies;
use self::token::Tokens;
use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};
use crate::seal::Seals;
use crate::storage::Storage;

/// The version that clients are told: that of the API which is served. Terraform's provider and others look at it to know what they may ask.
pub const API_VERSION: &str = "2.7.2+bulla";

/// What a server is configured with.
pub struct Options {
    /// How long things live where nobody says.
    pub times: Times,
    /// When names are locked out.
    pub lockouts: lockout::ByKind,
    /// Where it writes what is done.
    pub audit: Vec<DeviceConfig>,
    /// The cluster's name; made up if empty.
    pub cluster_name: String,
    /// What can be mounted.
    pub catalog: Catalog,
}

/// A server.
pub struct Core {
    storage: Arc<dyn Storage>,
    seals: Seals,
    options: Options,
    open: RwLock<Option<Arc<Open>>>,
    /// Initializing, unsealing and sealing happen one at a time.
    changing: tokio::sync::Mutex<()>,
    /// Shares of the unseal key that were given so far. Held for a moment: how far it is can be asked while a seal takes its time.
    progress: Mutex<sealing::Progress>,
    /// The server got another seal since it started.
    has_migrated: AtomicBool,
    /// When shares for a migration were wrong.
    wrong_shares: Mutex<Option<std::time::Instant>>,
    /// Whether it is about to end.
    stopping: watch::Sender<bool>,
    /// Why this server is never opened.
    unfinished: OnceLock<String>,
    /// Somebody sealed it: no seal opens it before its next start.
    stays_sealed: AtomicBool,
    /// Places for snapshots that are being sent.
    snapshots: Arc<tokio::sync::Semaphore>,
    this: Weak<Core>,
    /// What is counted.
    pub metrics: Arc<metrics::Metrics>,
}

/// What there is while the server is unsealed. Dropped, its keys are wiped.
pub struct Open {
    /// Storage, encrypted.
    pub barrier: Arc<Barrier>,
    /// What is mounted.
    pub mounts: Mounts,
    /// The policies.
    pub policies: Policies,
    /// The tokens.
    pub tokens: Tokens,
    /// The leases.
    pub leases: Leases,
    /// What ends when.
    pub expiry: Index,
    /// Where it is written down.
    pub audit: Broker,
    /// Which headers are.
    pub audited: audited::Audited,
    /// When the barrier's terms end.
    pub rotation: rotation::Rotation,
    /// What people with shares are at.
    pub quorum: quorum::Quorum,
    /// What passwords are like that are made up.
    pub passwords: password::Policies,
    /// How much who may ask.
    pub quotas: quota::Quotas,
    /// Who is locked out.
    pub lockouts: lockout::Lockouts,
    /// How long things live where nobody says.
    pub times: Times,
    /// The cluster's name and id.
    pub cluster: (String, String),
    core: Weak<Core>,
    sweeper: OnceLock<tokio::task::JoinHandle<()>>,
}

/// How engines of the core's own find it.
#[derive(Clone, Default)]
pub struct Link(Arc<OnceLock<Weak<Open>>>);

impl Link {
    /// What there is while the server is unsealed.
    ///
    /// # Errors
    /// 503 if it is sealed meanwhile.
    pub fn open(&self) -> Result<Arc<Open>> {
        self.0.get().and_then(Weak::upgrade).ok_or_else(sealed)
    }
}

impl Core {
    /// A sealed server.
    pub fn new(storage: Arc<dyn Storage>, seals: impl Into<Seals>, options: Options) -> Arc<Self> {
        let seals = seals.into();
        Arc::new_cyclic(|this| Self {
            storage,
            seals,
            options,
            open: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
            progress: Mutex::default(),
            has_migrated: AtomicBool::new(false),
            wrong_shares: Mutex::default(),
            stopping: watch::Sender::new(false),
            unfinished: OnceLock::new(),
            stays_sealed: AtomicBool::new(false),
            snapshots: Arc::new(tokio::sync::Semaphore::new(snapshot::AT_ONCE)),
            this: this.clone(),
            metrics: Arc::default(),
        })
    }

    /// What there is while the server is unsealed.
    ///
    /// # Errors
    /// 503 if it is sealed.
    pub fn open(&self) -> Result<Arc<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(sealed)
    }

    /// Whether it is sealed.
    pub fn is_sealed(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The storage's name.
    pub fn storage_kind(&self) -> &'static str {
        self.storage.kind()
    }

    /// Whether the storage takes no more writes before the next start.
    pub fn has_failed(&self) -> bool {
        self.storage.has_failed()
    }

    /// Makes what there is while the server is unsealed, and serves it.
    async fn start(&self, barrier: Arc<Barrier>, cluster: (String, String)) -> Result<Arc<Open>> {
        let link = Link::default();
        let times = self.options.times;
        let mounts =
            Mounts::open(&barrier, self.options.catalog.clone(), times, self.options.lockouts.clone(), link.clone())
                .await?;
        let policies = Policies::new(&barrier);
        policies.prepare().await?;
        versions::note(&barrier).await?;
        let open = Arc::new(Open {
            mounts,
            policies,
            tokens: Tokens::open(&barrier).await?,
            leases: Leases::new(&barrier),
            expiry: Index::new(&barrier),
            audit: Broker::open(&barrier, &self.options.audit, &self.metrics).await?,
            audited: audited::Audited::open(&barrier).await?,
            rotation: rotation::Rotation::open(&barrier).await?,
            passwords: password::Policies::new(&barrier),
            quorum: quorum::Quorum::default(),
            quotas: quota::Quotas::open(&barrier).await?,
            lockouts: lockout::Lockouts::default(),
            times,
            cluster,
            core: self.this.clone(),
            sweeper: OnceLock::new(),
            barrier,
        });
        let _ = link.0.set(Arc::downgrade(&open));
        let _ = open.sweeper.set(tokio::spawn(revoke::sweep(Arc::downgrade(&open))));
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&open));
        Ok(open)
    }

    /// Takes from whoever comes next what there is while the server is unsealed.
    fn close(&self) -> Option<Arc<Open>> {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take()?;
        // In the middle of what it does, too: it has the keys.
        if let Some(sweeper) = open.sweeper.get() {
            sweeper.abort();
        }
        Some(open)
    }

    /// Forgets all keys. Requests that are under way end; then nothing is left.
    async fn stop(&self) {
        let Some(open) = self.close() else { return };
        if let Err(error) = open.barrier.note_encryptions().await {
            tracing::warn!(%error, "how many records the key has encrypted could not be noted");
        }
    }
}

impl Open {
    /// The server.
    ///
    /// # Errors
    /// 503 if it is gone.
    pub fn core(&self) -> Result<Arc<Core>> {
        self.core.upgrade().ok_or_else(sealed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.abort();
        }
    }
}

/// 503, in the words that clients look for.
pub fn sealed() -> Error {
    Error::new(503, "Vault is sealed")
}

/// Reads the key of a salted hash, or makes it.
pub(crate) async fn salt(view: &View, name: &str) -> Result<hmac::Key> {
    if let Some(salt) = view.get(name).await? {
        return Ok(hmac::Key::new(hmac::HMAC_SHA256, &salt));
    }
    let mut fresh = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(fresh.as_mut())?;
    view.put(name, fresh.as_ref()).await?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, fresh.as_ref()))
}

/// Milliseconds since 1970.
pub fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Nanoseconds since 1970; good until 2262.
pub fn now_nanos() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// A time in nanoseconds since 1970, as the peer writes it.
pub fn time_text(nanos: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).map(|time| time.to_string()).unwrap_or_default()
}

/// Hex in lower case.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// An object of nothing, for those that are `null` when empty.
pub fn or_null(map: &BTreeMap<String, String>) -> crate::json::Value {
    if map.is_empty() { crate::json::Value::Null } else { map.into() }
}

#[cfg(test)]
mod tests;
