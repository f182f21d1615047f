//! What a store does for those who read from it: it takes them for who they are, gives values, and has them leased.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// A store at a far side.
#[async_trait]
pub trait Store: Send + Sync {
    /// Who asks, and how that is proven.
    type Identity: Sync;
    /// What an identity has then.
    type Session: Session;

    /// Proves to the far side who asks.
    async fn log_in(&self, identity: &Self::Identity) -> Result<Self::Session, StoreError>;
}

/// What an identity may read, for a while.
#[async_trait]
pub trait Session: Send + Sync {
    /// What can be asked for.
    type Query: Sync;
    /// What is answered: values, with their version and lease if the store knows such.
    type Answer;

    /// Until when it is good; `None` is without end.
    fn ends(&self) -> Option<Timestamp>;

    /// Reads.
    async fn read(&self, query: &Self::Query) -> Result<Self::Answer, StoreError>;

    /// Makes the session itself last longer, if it can.
    async fn extend(&self) -> Result<(), StoreError>;

    /// Makes a lease last longer. The answer says for how long.
    async fn renew(&self, lease: &Lease) -> Result<Lease, StoreError>;

    /// Gives one lease back.
    async fn revoke(&self, lease: &str) -> Result<(), StoreError>;

    /// Ends the session, and with it all that was leased by it.
    async fn close(&self) -> Result<(), StoreError>;
}

/// A value that is good for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name at the far side. Empty: it cannot be renewed or given back, it only ends.
    ///
    /// It is no credential: who knows it and has no session of their own can do nothing, who has one can at most keep the value alive, or,
    /// if the far side lets them, end it. It opens nothing.
    pub id: String,
    /// When it began, or was last renewed.
    pub begun: Timestamp,
    /// For how long that was.
    pub duration: Duration,
    /// Whether the far side renews it.
    pub is_renewable: bool,
}

impl Lease {
    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        after(self.begun, self.duration)
    }
}

/// A moment later than `begun`; as late as can be counted, if it is later than that.
pub(crate) fn after(begun: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    begun.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Why a store gave nothing. No text in it is a secret's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure it is.
    pub kind: StoreErrorKind,
    /// What was being done, where, what came back, and what to try.
    pub message: String,
    /// How long to leave the far side alone, if that is known.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// What is asked for cannot be: it has to be asked for differently.
    Invalid,
    /// Whoever asks may not have it.
    Denied,
    /// It is not there.
    NotFound,
    /// The far side cannot be reached, is too busy, or did not answer in time.
    Unavailable,
    /// Anything else.
    Failed,
}

impl StoreError {
    /// An error.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }
}
