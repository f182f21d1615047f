//! The ring of a cluster: watches the key objects, unwraps their keys into locked memory, gives out snapshots.
//!
//! New keys of another replica, states that change and keys that are blacklisted take effect as the watch tells of them. What cannot
//! be unwrapped is tried again, further and further apart, and named meanwhile; the other keys work.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bulla_core::{Env, KeyId};
use bulla_format::sealed::{Certificate, Fingerprint};
use bulla_kms::groups::Services;
use bulla_kms::shares::{Joined, Set};
use bulla_kms::{Options, Registry};
use bulla_kube::api::SealingKey;
use bulla_kube::api::sealing_key::KeyState;
use bulla_kube::backoff::jittered;
use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::envelope::Trusted;
use super::index::{Compromised, Index, KeyOrder, PlainKeys, Private, Problem, Shown, Source};
use super::object::unwrap;
use super::recipients::Recipients;
use super::requests;
use super::store::Store;
use super::unseal::{UnsealError, Unsealing};
use super::watches::{self, Change, Lists, from_key, from_secret};
use crate::sealing::ring::{KeyRing, Keys};

/// How long until what failed is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How many keys are unwrapped at the same time.
const AT_ONCE: usize = 8;
/// How long changes that follow each other closely are taken together.
const TOGETHER: Duration = Duration::from_millis(500);
/// How long the first snapshot waits for keys whose services do not answer.
const FIRST: Duration = Duration::from_mins(1);

/// What a ring is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom keys are wrapped for; `None` for plain Secrets.
    pub recipients: Option<Recipients>,
    /// Key services that open what is wrapped for them, and that nothing is wrapped for any more.
    pub old: Vec<KeyId>,
    /// Which key is the newest.
    pub order: KeyOrder,
    /// Whether compromised keys open.
    pub compromised: Compromised,
}

/// The ring.
pub struct ClusterRing {
    store: Store,
    settings: Settings,
    env: Arc<dyn Env>,
    options: Options,
    joined: Arc<Joined>,
    unsealing: Option<Arc<Unsealing>>,
    trusted: Vec<KeyId>,
    index: Mutex<Index>,
    keys: RwLock<Arc<Keys>>,
    version: watch::Sender<u64>,
    loaded: watch::Sender<bool>,
    published: Mutex<Vec<(Fingerprint, KeyState, Timestamp)>>,
    used: Mutex<BTreeMap<String, Timestamp>>,
    retry: Notify,
    /// Somebody asks the leader for something, by an annotation.
    asked: Notify,
}

/// Whether the ring can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The objects were not read yet.
    Starting,
    /// People must give shares first: how many are there, how many are needed.
    Sealed(usize, usize),
    /// No key opens: why.
    NoKey(Vec<Problem>),
    /// Some key opens. What does not is named.
    Ready(Vec<Problem>),
}

impl Health {
    /// Whether the process can serve.
    ///
    /// # Errors
    /// What it waits for, in a sentence.
    pub fn ready(&self) -> Result<(), String> {
        match self {
            Self::Ready(_) => Ok(()),
            Self::Starting => Err("the sealing keys were not read yet".to_owned()),
            Self::Sealed(given, needed) => {
                Err(format!("sealed: {given} of {needed} shares given; who holds one runs `bulla sealing-keys unseal`"))
            }
            Self::NoKey(problems) if problems.is_empty() => Err("there is no sealing key yet".to_owned()),
            Self::NoKey(problems) => {
                let all: Vec<_> = problems.iter().map(|one| format!("{}: {}", one.source, one.reason)).collect();
                Err(format!("no sealing key can be used: {}", all.join("; ")))
            }
        }
    }
}

impl ClusterRing {
    /// A ring that knows nothing yet. `set` is that of people's shares, if they are among the recipients.
    ///
    /// # Errors
    /// [`UnsealError::Random`].
    pub fn new(
        store: Store,
        settings: Settings,
        set: Option<Set>,
        env: Arc<dyn Env>,
        options: Options,
    ) -> Result<Self, UnsealError> {
        let joined = Arc::new(Joined::default());
        let mut trusted: Vec<KeyId> = settings.recipients.iter().flat_map(Recipients::keys).cloned().collect();
        trusted.extend(settings.old.iter().cloned());
        let set = set.filter(|set| trusted.contains(&set.key_id()));
        let unsealing = set.map(|set| Unsealing::new(set, Arc::clone(&joined))).transpose()?.map(Arc::new);
        if let Some(fingerprint) = unsealing.as_ref().and_then(|unsealing| unsealing.state().key_fingerprint()) {
            tracing::info!(fingerprint, "sealed: waiting for people's shares (bulla sealing-keys unseal)");
        }
        if settings.recipients.is_none() {
            tracing::warn!(
                "the sealing keys are plain Secrets (--key-service plain-secret): whoever reads Secrets or etcd opens every SealedSecret"
            );
        }
        let plain = if settings.recipients.is_some() { PlainKeys::OpenOnly } else { PlainKeys::Seal };
        Ok(Self {
            store,
            settings,
            env,
            options,
            joined,
            unsealing,
            trusted,
            index: Mutex::new(Index::new(plain)),
            keys: RwLock::default(),
            version: watch::Sender::new(0),
            loaded: watch::Sender::new(false),
            published: Mutex::default(),
            used: Mutex::default(),
            retry: Notify::new(),
            asked: Notify::new(),
        })
    }

    /// The key objects.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where people give shares, if they must.
    pub fn unsealing(&self) -> Option<&Arc<Unsealing>> {
        self.unsealing.as_ref()
    }

    /// Key services that look anew: nothing is remembered from one use to the next, because a key service may have been told to
    /// refuse meanwhile.
    pub fn services(&self) -> Services {
        Services { remote: Vec::new(), local: Some(self.registry()) }
    }

    /// The same, for one recipient at a time.
    pub fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.env), self.options.clone()).with_shares(Arc::clone(&self.joined))
    }

    /// Which recipients may be asked.
    pub fn trusted(&self) -> Trusted<'_> {
        Trusted::Only(&self.trusted)
    }

    /// Whether it can be used.
    pub fn health(&self) -> Health {
        if !*self.loaded.borrow() {
            return Health::Starting;
        }
        let problems = self.index().problems();
        let keys = self.snapshot();
        let state = self.unsealing.as_ref().map(|unsealing| unsealing.state());
        match state {
            _ if !keys.keys().is_empty() => Health::Ready(problems),
            Some(state) if state.sealed => Health::Sealed(state.given, state.needed),
            _ => Health::NoKey(problems),
        }
    }

    /// The newest certificate to seal to: of a key that opens. While people's shares are missing and no key opens at all, that of an
    /// object's public part, which nobody can prove then.
    pub fn certificate(&self) -> Option<Certificate> {
        let waits = self.is_sealed() && self.snapshot().keys().is_empty();
        let shown = if waits { Shown::Unproven } else { Shown::Proven };
        self.index().certificate(self.settings.order, Timestamp::now(), shown)
    }

    /// Objects that give no key, and why.
    pub fn problems(&self) -> Vec<Problem> {
        self.index().problems()
    }

    /// Reads from the index, for metrics and the keeper.
    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When keys were last used, since the last call.
    pub(super) fn take_used(&self) -> BTreeMap<String, Timestamp> {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the objects were read and their keys tried once.
    pub async fn wait_loaded(&self) {
        // The sender lives as long as the ring.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Tries again at once what failed.
    pub fn retry_now(&self) {
        self.retry.notify_one();
    }

    /// Waits until somebody asks the leader for something.
    pub(super) async fn wait_asked(&self) {
        self.asked.notified().await;
    }

    /// Watches and unwraps. Never ends; dropped, it stops.
    ///
    /// What watches tell takes effect while key services are asked: a key that is blacklisted must not wait for one that is slow.
    pub async fn run(&self) {
        let mut events = watches::all(&self.store);
        let mut unsealed = self.unsealing.as_ref().map(|unsealing| unsealing.opened());
        let mut lists = Lists::default();
        let mut unwrapping: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
        // Whether what failed is tried once more; when that is due by itself, and how long it takes the next time.
        let (mut again, mut due, mut wait) = (false, None, RETRY.0);
        let mut patience: Option<Instant> = None;
        loop {
            tokio::select! {
                change = events.next() => match change {
                    Some(change) => self.take(change, &mut lists),
                    None => return,
                },
                () = finished(&mut unwrapping) => {
                    unwrapping = None;
                    due = Some(Instant::now() + jittered(wait));
                    self.be_loaded();
                }
                () = until(due), if unwrapping.is_none() && self.has_failed() => {
                    wait = (wait * 2).min(RETRY.1);
                    again = true;
                }
                () = until(patience), if !self.is_loaded() => self.be_loaded(),
                () = self.retry.notified() => again = true,
                true = opened(&mut unsealed) => again = true,
            }
            // What the watches have ready belongs together: one snapshot for all of it. Who changes an object without end does not hold
            // up the others.
            let end = Instant::now() + TOGETHER;
            while Instant::now() < end
                && let Ok(Some(change)) = tokio::time::timeout(Duration::from_millis(20), events.next()).await
            {
                self.take(change, &mut lists);
            }
            if !lists.are_complete() {
                continue;
            }
            patience.get_or_insert_with(|| Instant::now() + FIRST);
            if unwrapping.is_none() && (again || self.has_waiting()) {
                if !again {
                    wait = RETRY.0;
                }
                unwrapping = Some(Box::pin(self.unwrap_waiting(std::mem::take(&mut again))));
            } else if unwrapping.is_none() {
                self.be_loaded();
            }
            // At first all keys together: with some of them, objects would be said to be broken that are not.
            if self.is_loaded() {
                self.publish();
            }
        }
    }

    fn is_loaded(&self) -> bool {
        *self.loaded.borrow()
    }

    /// Says that the objects were read and tried, and gives out the first snapshot.
    fn be_loaded(&self) {
        if !self.is_loaded() {
            self.publish();
            self.loaded.send_replace(true);
        }
    }

    fn has_waiting(&self) -> bool {
        !self.index().to_unwrap(false).is_empty()
    }

    fn is_sealed(&self) -> bool {
        self.unsealing.as_ref().is_some_and(|unsealing| unsealing.state().sealed)
    }

    fn has_failed(&self) -> bool {
        !self.index().to_unwrap(true).is_empty()
    }

    /// Takes what a watch told.
    fn take(&self, change: Change, lists: &mut Lists) {
        let mut index = self.index();
        let wrapped = |key: SealingKey| {
            if requests::are_in(&key) {
                self.asked.notify_one();
            }
            from_key(key)
        };
        let plain = |secret: Secret| {
            if requests::are_in(&secret) {
                self.asked.notify_one();
            }
            from_secret(secret)
        };
        let name_of_plain = |secret: &Secret| Source::Plain(secret.name_any());
        match change {
            Change::Wrapped(event) => {
                lists.take(0, &mut index, event, |key| Source::Wrapped(key.name_any()), wrapped);
            }
            Change::Labelled(event) => lists.take(1, &mut index, event, name_of_plain, plain),
            Change::Named(event) => lists.take(2, &mut index, event, name_of_plain, plain),
        }
    }

    async fn unwrap_waiting(&self, with_failed: bool) {
        let waiting = self.index().to_unwrap(with_failed);
        if waiting.is_empty() {
            return;
        }
        let services = self.services();
        let services = &services;
        let mut results = stream::iter(waiting)
            .map(|(source, object)| async move {
                let result = unwrap(services, &object, self.trusted()).await;
                (source, object, result)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((source, object, result)) = results.next().await {
            let private = match result {
                Ok(pair) => {
                    tracing::info!(%source, fingerprint = %pair.private.fingerprint(), "a sealing key was unwrapped");
                    Private::Held(pair.private)
                }
                // Expected while shares are missing; how many is said elsewhere.
                Err(error) if self.is_sealed() => {
                    tracing::debug!(%source, %error, "a sealing key waits for shares");
                    Private::Failed(error.to_string())
                }
                Err(error) => {
                    tracing::error!(%source, %error, "a sealing key cannot be unwrapped");
                    Private::Failed(error.to_string())
                }
            };
            self.index().unwrapped(&source, &object, private);
        }
    }

    /// Gives out a new snapshot if the keys are others.
    fn publish(&self) {
        let keys = self.index().keys(self.settings.order, self.settings.compromised);
        let shown: Vec<_> = keys.iter().map(|key| (*key.fingerprint(), key.state, key.not_before)).collect();
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if *published == shown {
            return;
        }
        *published = shown;
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let new = Keys::new(keys, current.version() + 1);
        let version = new.version();
        *current = Arc::new(new);
        drop(current);
        self.version.send_replace(version);
    }
}

impl KeyRing for ClusterRing {
    fn snapshot(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn used(&self, fingerprint: &Fingerprint, _values: usize) {
        let now = Timestamp::now();
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(fingerprint.to_string(), now);
    }
}

impl std::fmt::Debug for ClusterRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterRing").field("namespace", &self.store.namespace).finish_non_exhaustive()
    }
}

/// Waits until the shares are together; forever if none are needed, or once it was said.
async fn opened(unsealed: &mut Option<watch::Receiver<bool>>) -> bool {
    if let Some(receiver) = unsealed {
        let opened = receiver.wait_for(|opened| *opened).await.is_ok();
        *unsealed = None;
        return opened;
    }
    std::future::pending().await
}

/// Waits until the unwrapping that was begun is done; forever if there is none.
async fn finished(unwrapping: &mut Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>>) {
    match unwrapping {
        Some(unwrapping) => unwrapping.await,
        None => std::future::pending().await,
    }
}

/// Waits until a time; forever if there is none.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
