//! Where the contents of volumes come from: one trait, behind it what is built in and what others run on the node.

mod registry;
mod remote;
pub mod sealed;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::pod::Volume;
use crate::publish::Publisher;
use crate::volume::{Content, ObjectVersion};

pub use registry::Registry;
pub use remote::Remote;
pub use sealed::Sealed;

/// What a provider is asked for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// For whom, by which class, with which tokens.
    pub volume: &'a Volume,
    /// The class's parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// Where it will be seen: what providers of old write to themselves.
    pub target: &'a str,
    /// The mode of files that say none.
    pub mode: u32,
    /// What is mounted now.
    pub current: &'a [ObjectVersion],
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The files; `None` from a provider of old, which wrote them itself.
    pub content: Option<Content>,
    /// The versions of what is in them.
    pub versions: Vec<ObjectVersion>,
}

/// Why it answered nothing. No text in it is a secret's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {message}")]
pub struct ProviderError {
    /// Which provider.
    pub provider: String,
    /// What it said, or what became of it.
    pub message: String,
    /// What it is good for.
    pub kind: ErrorKind,
    /// It asked to be left alone for this long.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The class or its parameters are wrong: asking again changes nothing until they change.
    Invalid,
    /// The pod may not have it.
    Denied,
    /// It does not exist.
    NotFound,
    /// It cannot be reached, is too busy, or did not answer in time.
    Unavailable,
    /// Anything else.
    Failed,
}

/// Something that has contents for volumes.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The contents for a pod.
    async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError>;

    /// Whether it writes to the target itself, so that this has to be mounted before it is asked.
    fn needs_target(&self) -> bool {
        false
    }

    /// Hears of changes, where it can, and has renewed what is mounted of it; for ever. By default there is nothing to hear.
    async fn follow(&self, publisher: &Publisher) {
        let _ = publisher;
    }
}
