//! What a controller is: the one trait that each implements, in a file of its own.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{describe, is_unreachable};
use super::key::ObjectKey;
use super::queue::Lane;
use super::watch::Selectors;

/// One kind of object, and what is done about it.
///
/// # What the runtime keeps
/// Of each object a [`Note`](Self::Note), which should be small, and of each Secret that controllers made its uid and version. A whole
/// object is kept only from when it was seen until it was worked on, and only while all of them together are not too many; what
/// is not kept is fetched. So a cluster with many objects costs memory for those that change, not for those that are there.
///
/// # How it is called
/// [`due`](Self::due) whenever something about an object changed, on every replica; [`reconcile`](Self::reconcile) on the replica that
/// owns the object, one at a time for an object, many at a time for different ones. It may be dropped at any `await`, and may run
/// again although it succeeded: everything it does must be safe to do twice.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// What is watched.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static;

    /// What is remembered of an object as it was seen.
    type Note: Send + Sync + 'static;

    /// What is remembered of the last reconciliation by this process.
    type Memo: Send + Sync + 'static;

    /// Its name: in metrics, logs and the field manager `bulla-NAME`.
    fn name(&self) -> &'static str;

    /// Which objects are watched.
    fn selectors(&self) -> Selectors {
        Selectors::default()
    }

    /// Which Secrets it makes, if it does: their metadata is watched, too.
    fn secrets(&self) -> Option<Selectors> {
        None
    }

    /// The object that a Secret was made for. By default that of its name.
    fn owner_of(&self, secret: &ObjectMeta) -> ObjectKey {
        ObjectKey::of(secret)
    }

    /// What to remember of an object.
    fn note(&self, object: &Self::Object) -> Self::Note;

    /// Lets go of what is not worked with, before an object is kept.
    fn slim(&self, object: &mut Self::Object) {
        let _ = object;
    }

    /// Whether something is to be done about an object. Quick: called for every event.
    fn due(&self, known: &Known<'_, Self::Note, Self::Memo>) -> Due;

    /// Does it.
    async fn reconcile(&self, job: Job<Self::Object>) -> Result<Done<Self::Memo>, Failure<Self::Memo>>;

    /// Told that an object cannot be read; it is left alone until it changes.
    fn unreadable(&self, metadata: &ObjectMeta, reason: &str) {
        tracing::warn!(controller = self.name(), object = %ObjectKey::of(metadata), reason, "an object cannot be read");
    }

    /// Told that an object is gone.
    fn gone(&self, key: &ObjectKey) {
        let _ = key;
    }
}

/// What is known of an object.
pub struct Known<'a, Note, Memo> {
    /// Which.
    pub key: &'a ObjectKey,
    /// As it was last seen.
    pub note: &'a Note,
    /// What this process last did about it, if it did, and has owned it since.
    pub memo: Option<&'a Memo>,
    /// The Secret that was made for it, as it was last seen.
    pub secret: Option<&'a SecretSeen>,
}

/// A Secret, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSeen {
    /// Its uid.
    pub uid: Box<str>,
    /// Its resourceVersion.
    pub version: Box<str>,
}

/// What is to be done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// It was never synced.
    First,
    /// It is another than was synced.
    Changed,
    /// The same, and it is not to be put right before this time has passed.
    After(Duration),
    /// It failed before, and nothing has changed since: it is tried again when its time comes.
    Retry,
}

impl Due {
    /// The lane for it.
    pub const fn lane(self) -> Option<Lane> {
        match self {
            Self::Nothing | Self::After(_) => None,
            Self::First => Some(Lane::First),
            Self::Changed => Some(Lane::Changed),
            Self::Retry => Some(Lane::Later),
        }
    }
}

/// Work on one object.
#[derive(Clone, Debug)]
pub struct Job<Object> {
    /// Which.
    pub key: ObjectKey,
    /// The object.
    pub object: Arc<Object>,
    /// The Secret that was made for it, as it was last seen.
    pub secret: Option<SecretSeen>,
    /// How often it has failed since it last changed.
    pub failures: u32,
}

/// Work that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<Memo> {
    /// What to remember.
    pub memo: Option<Memo>,
    /// When to look at the object again without a change.
    pub again: Option<Duration>,
    /// The object's Secret, as it was written: the watch will tell of it later.
    pub secret: Option<SecretSeen>,
}

impl<Memo> Done<Memo> {
    /// Nothing more until there is a change.
    pub const fn with(memo: Memo) -> Self {
        Self { memo: Some(memo), again: None, secret: None }
    }
}

/// Work that could not be done. It is tried again, whatever it is.
#[derive(Debug)]
pub struct Failure<Memo> {
    /// Why, for a person. No secret is in it.
    pub reason: String,
    /// What failed.
    pub kind: FailureKind,
    /// What to remember.
    pub memo: Option<Memo>,
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Something about the object: it waits its time.
    Object,
    /// The API server is out of reach or overloaded: all work waits for it, then goes on at once.
    Unreachable,
    /// Somebody else changed what we were about to change: it is looked at anew, soon.
    Conflict,
}

impl<Memo> Failure<Memo> {
    /// A failure of the object's own.
    pub fn object(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), kind: FailureKind::Object, memo: None }
    }

    /// The failure, with what to remember.
    #[must_use]
    pub fn with_memo(mut self, memo: Memo) -> Self {
        self.memo = Some(memo);
        self
    }
}

impl<Memo> From<kube::Error> for Failure<Memo> {
    fn from(error: kube::Error) -> Self {
        let kind = match &error {
            error if is_unreachable(error) => FailureKind::Unreachable,
            kube::Error::Api(status) if status.code == 409 => FailureKind::Conflict,
            _ => FailureKind::Object,
        };
        Self { reason: describe(&error), kind, memo: None }
    }
}
