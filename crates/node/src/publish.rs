//! Volumes: what the kubelet asks for, made true.
//!
//! **First.** Contents are fetched, written into a file system that nobody sees, and mounted when they are whole. What fails leaves
//! nothing, and says so: the kubelet asks again, and the pod waits.
//!
//! **Again.** The kubelet asks for what is mounted every minute or so, with fresh tokens. Nothing is fetched before it is due, and nothing
//! written unless it changed. What fails then leaves the files as they are and is reported; the kubelet hears that all is well, because
//! on an error kubelets before Kubernetes 1.37 take the volume away from a pod that runs (kubernetes#121271).
//!
//! One volume is worked on by one call at a time; different ones do not wait for each other.

mod filling;
mod room;
mod sources;
mod turns;

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::class::{Class, ClassError, Classes, Versioned};
use crate::metrics::Metrics;
use crate::mounter::protocol::Owner;
use crate::mounter::{Found, MountError, Mounter};
use crate::pod::{Pod, Volume};
use crate::provider::{Provider, ProviderError};
use crate::volume::{Content, Limits, ObjectVersion, Record, VolumeError, record};

use filling::Fresh;
pub use room::Full;
use room::Room;
pub use sources::Mounted;
use sources::Source;
use turns::Turns;

/// How volumes are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often contents are fetched anew, where the class says nothing; `None` is never.
    pub interval: Option<Duration>,
    /// How much a volume may have.
    pub limits: Limits,
    /// How much all of them may have together, in bytes of memory; one namespace's, half of that.
    pub memory: u64,
    /// The mode of files whose provider says none.
    pub mode: u32,
}

/// A volume that is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where, below the folder of all pods.
    pub target: String,
    /// The same, as the kubelet said it.
    pub path: String,
    /// For whom and of what.
    pub volume: Volume,
    /// Who gets the files.
    pub owner: Owner,
}

/// Why a volume was not mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The class.
    #[error(transparent)]
    Class(#[from] ClassError),
    /// There is no such provider.
    #[error("there is no provider {name:?}; known are {known}")]
    UnknownProvider {
        /// The name in the class.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// The provider.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// Mounting.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Writing.
    #[error(transparent)]
    Write(#[from] VolumeError),
    /// There are too many, or too large ones.
    #[error(transparent)]
    Full(#[from] Full),
}

/// What became of a volume: for status objects, events and metrics.
#[derive(Debug)]
pub struct Report<'a> {
    /// Where.
    pub request: &'a Request,
    /// The class, if it was found.
    pub class: Option<&'a Class>,
    /// The versions that are mounted now.
    pub versions: &'a [ObjectVersion],
    /// The files, if they were fetched and are what their source has now.
    pub content: Option<&'a Content>,
    /// What happened.
    pub outcome: Outcome<'a>,
}

/// What happened to a volume.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It is mounted.
    Mounted,
    /// It was fetched anew and had changed.
    Changed,
    /// It was fetched anew and was as before.
    Unchanged,
    /// It is not mounted.
    Failed(&'a PublishError),
    /// It is mounted, and as it was when it was last fetched.
    Stale(&'a PublishError),
}

/// Whoever wants to know.
#[async_trait]
pub trait Reports: Send + Sync {
    /// A volume was worked on.
    async fn tell(&self, report: Report<'_>);
    /// A volume is gone.
    async fn gone(&self, target: &str);
}

/// Gives a provider by its name.
pub trait Providers: Send + Sync {
    /// The provider.
    ///
    /// # Errors
    /// The names that there are.
    fn provider(&self, name: &str) -> Result<Arc<dyn Provider>, String>;

    /// A volume is gone: [`Provider::gone`].
    fn gone(&self, _place: &str) {}
}

/// Makes volumes.
pub struct Publisher {
    mounter: Mounter,
    classes: Arc<dyn Classes>,
    providers: Arc<dyn Providers>,
    reports: Arc<dyn Reports>,
    settings: Settings,
    metrics: Metrics,
    volumes: Mutex<HashMap<String, Place>>,
    room: Room,
    turns: Turns,
    sources: watch::Sender<()>,
    fetched: AtomicU64,
}

/// When a volume that is mounted is fetched anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// If it is due.
    Due,
    /// Now.
    Now,
}

type Slot = Arc<AsyncMutex<Known>>;

/// Where a volume is, or is to be.
#[derive(Debug, Default)]
struct Place {
    slot: Slot,
    /// Namespace and name of the class by which it was last asked for.
    class: Option<(String, String)>,
    /// Where its contents came from.
    source: Option<Source>,
}

/// What is known of a volume beside its record.
#[derive(Debug, Default)]
struct Known {
    /// How it was last asked for: what rotation fetches with.
    request: Option<Request>,
    /// When the provider wants to be asked again.
    again: Option<Timestamp>,
    /// Nothing is mounted: that failed.
    is_empty: bool,
    /// How often fetching anew has failed since it last succeeded, and when.
    failures: u32,
    failed: Option<Timestamp>,
}

impl Known {
    /// Whether it failed a moment ago. Tries come further and further apart, up to five minutes.
    fn is_paused(&self, now: Timestamp) -> bool {
        let pause = SignedDuration::from_secs(5 << self.failures.min(6)).min(SignedDuration::from_mins(5));
        self.failed.is_some_and(|failed| now.duration_since(failed) < pause)
    }
}

impl Publisher {
    /// A publisher.
    pub fn new(
        mounter: Mounter,
        classes: Arc<dyn Classes>,
        providers: Arc<dyn Providers>,
        reports: Arc<dyn Reports>,
        settings: Settings,
        metrics: Metrics,
    ) -> Self {
        Self {
            mounter,
            classes,
            providers,
            reports,
            volumes: Mutex::default(),
            room: Room::new(settings.memory, metrics.clone()),
            turns: Turns::default(),
            sources: watch::Sender::default(),
            fetched: AtomicU64::new(0),
            settings,
            metrics,
        }
    }

    /// How often something was fetched so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Mounts a volume, or looks whether what is mounted is due.
    ///
    /// # Errors
    /// [`PublishError`] if nothing is mounted.
    pub async fn publish(&self, request: Request) -> Result<(), PublishError> {
        let slot = self.slot(&request.target, Some(&request.volume));
        let mut known = slot.lock().await;
        let result = self.work(&request, &mut known, When::Due).await;
        if known.is_empty {
            // The kubelet, which hears of the failure, may never say that the volume is gone.
            let target = request.target;
            drop(known);
            self.forget(&target, &slot);
        } else {
            known.request = Some(request);
        }
        result
    }

    /// Forgets a volume of which nothing is mounted, unless somebody else is at work on it.
    fn forget(&self, target: &str, slot: &Slot) {
        let mut volumes = self.lock();
        // The map's and this one.
        if Arc::strong_count(slot) > 2 {
            return;
        }
        volumes.remove(target);
        drop(volumes);
        self.room.give(target);
        self.providers.gone(target);
    }

    /// Looks whether a volume that is mounted is due; with the tokens that the kubelet gave last.
    pub async fn refresh(&self, target: &str) {
        self.look(target, When::Due).await;
    }

    async fn look(&self, target: &str, when: When) {
        // None is made for a volume that went meanwhile.
        let Some(slot) = self.lock().get(target).map(|place| Arc::clone(&place.slot)) else { return };
        let mut known = slot.lock().await;
        if let Some(request) = known.request.clone() {
            // It was reported.
            let _ = self.work(&request, &mut known, when).await;
        }
    }

    /// The volumes whose providers want to be asked again by now.
    pub fn expected(&self) -> Vec<String> {
        let (now, volumes) = (Timestamp::now(), self.volumes.lock().unwrap_or_else(PoisonError::into_inner));
        // What is worked on is asked about already.
        let is_expected = |known: &Known| known.again.is_some_and(|again| again <= now) && !known.is_paused(now);
        volumes
            .iter()
            .filter(|(_, place)| place.slot.try_lock().is_ok_and(|known| is_expected(&known)))
            .map(|(target, _)| target.clone())
            .collect()
    }

    /// The volumes that a class was last asked for.
    pub fn mounted_by(&self, namespace: &str, class: &str) -> Vec<String> {
        let is_by = |place: &Place| place.class.as_ref().is_some_and(|by| by.0 == namespace && by.1 == class);
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        volumes.iter().filter(|(_, place)| is_by(place)).map(|(target, _)| target.clone()).collect()
    }

    /// Namespaces and names of the classes in use.
    pub fn classes(&self) -> HashSet<(String, String)> {
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        volumes.values().filter_map(|place| place.class.clone()).collect()
    }

    /// Takes a volume away. None is there: that is well, too.
    ///
    /// # Errors
    /// [`PublishError::Mount`].
    pub async fn unpublish(&self, target: &str) -> Result<(), PublishError> {
        let slot = self.slot(target, None);
        let mut known = slot.lock().await;
        self.mounter.detach(target).await?;
        known.request = None;
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).remove(target);
        self.room.give(target);
        self.providers.gone(target);
        self.reports.gone(target).await;
        Ok(())
    }

    fn slot(&self, target: &str, volume: Option<&Volume>) -> Slot {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let place = volumes.entry(target.to_owned()).or_default();
        if let Some(volume) = volume {
            place.class = Some((volume.pod.namespace.clone(), volume.class.clone()));
        }
        Arc::clone(&place.slot)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self, request: &Request, known: &mut Known, when: When) -> Result<(), PublishError> {
        let now = Timestamp::now();
        known.is_empty = false;
        let class = self.class(request).await;
        let (root, fresh) = match self.found(request, class.as_deref().ok()).await? {
            Found::Mounted(root) => (Some(root), None),
            Found::Made(made) => (None, Some(Fresh::Made(made))),
            Found::New(root) => (None, Some(Fresh::Mounted(root))),
        };
        if let Some(root) = root.as_ref().filter(|_| !self.room.knows(&request.target)) {
            self.measure(request, root);
        }
        let old = root.as_ref().map(record).transpose()?.flatten();
        // Mounted and never filled: a service that died in between, or a provider of old that failed.
        let mounted = root.zip(old.filter(Record::is_filled));
        if let Some((_, old)) = &mounted {
            let is_due = match &class {
                Ok(class) => self.is_due(old, class, known, now),
                Err(_) => !known.is_paused(now),
            };
            if let Ok(class) = &class {
                self.note(&request.target, &class.provider, &old.versions);
            }
            if !is_due && when == When::Due {
                known.again = old.again;
                return Ok(());
            }
        }
        let Some((root, old)) = mounted else {
            let done = self.first(request, class.as_deref(), fresh, now).await;
            known.again = done.as_ref().ok().and_then(|(record, _)| record.again);
            known.is_empty = done.is_err();
            let (record, content, outcome) = match &done {
                Ok((record, content)) => (Some(record), content.as_ref(), Outcome::Mounted),
                Err(error) => (None, None, Outcome::Failed(error)),
            };
            let versions = record.map(|record| record.versions.as_slice()).unwrap_or_default();
            if let (Ok(class), Ok(_)) = (&class, &done) {
                self.note(&request.target, &class.provider, versions);
            }
            self.reports
                .tell(Report { request, class: class.as_deref().ok().map(Deref::deref), versions, content, outcome })
                .await;
            return done.map(drop);
        };
        let done = match &class {
            Ok(class) => self.again(request, class, &root, &old, now).await,
            Err(error) => Err(error.clone().into()),
        };
        known.again = done.as_ref().map_or(old.again, |(record, ..)| record.again);
        let (versions, content, outcome) = match &done {
            Ok((record, content, changed)) => {
                (known.failures, known.failed) = (0, None);
                let outcome = if *changed { Outcome::Changed } else { Outcome::Unchanged };
                (record.versions.as_slice(), content.as_ref(), outcome)
            }
            Err(error) => {
                (known.failures, known.failed) = (known.failures.saturating_add(1), Some(now));
                (old.versions.as_slice(), None, Outcome::Stale(error))
            }
        };
        if let Ok(class) = &class {
            self.note(&request.target, &class.provider, versions);
        }
        self.reports
            .tell(Report { request, class: class.as_deref().ok().map(Deref::deref), versions, content, outcome })
            .await;
        Ok(())
    }

    /// What is at a volume's place, or a file system for it: mounted, if its provider may write to the place.
    async fn found(&self, request: &Request, class: Option<&Versioned>) -> Result<Found, MountError> {
        let provider = class.and_then(|class| self.providers.provider(&class.provider).ok());
        if provider.is_some_and(|provider| provider.needs_target()) {
            self.mounter.open_or_mount(&request.target, self.shape(request)).await
        } else {
            self.mounter.open_or_create(&request.target, self.shape(request)).await
        }
    }

    async fn class(&self, request: &Request) -> Result<Arc<Versioned>, ClassError> {
        self.classes.class(&request.volume.pod.namespace, &request.volume.class).await
    }

    /// Whether contents are to be fetched anew.
    fn is_due(&self, old: &Record, class: &Versioned, known: &Known, now: Timestamp) -> bool {
        if known.failed.is_some() {
            return !known.is_paused(now);
        }
        if old.is_unfinished || old.class != class.version() || old.again.is_some_and(|again| again <= now) {
            return true;
        }
        let Some(interval) = class.interval.or(self.settings.interval) else { return false };
        let Ok(interval) = SignedDuration::try_from(interval) else { return false };
        old.fetched.is_none_or(|fetched| {
            let age = now.duration_since(fetched);
            // A clock that was set back is no reason to wait.
            age >= interval || age < SignedDuration::ZERO
        })
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
