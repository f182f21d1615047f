//! Where the contents of volumes come from: one trait, behind it what is built in and what others run on the node.

mod registry;
mod remote;
pub mod sealed;
pub mod served;
pub mod vault;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::pod::Volume;
use crate::publish::Publisher;
use crate::volume::{Content, ObjectVersion};

pub use registry::Registry;
pub use remote::Remote;
pub use sealed::Sealed;
pub use vault::VaultProvider;

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
    /// Which volume it is: the same text as [`Provider::gone`] gets.
    pub place: &'a str,
    /// The class's version: another one, and contents are to be fetched anew.
    pub class: &'a str,
    /// What the provider wanted remembered of the volume when it was last asked; empty the first time.
    pub remembered: &'a str,
}

/// What it answered.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The files; `None` if they are as they were, or from a provider of old, which wrote them itself.
    pub content: Option<Content>,
    /// The versions of what is in them.
    pub versions: Vec<ObjectVersion>,
    /// What to remember. It is kept in the volume itself, beside the files, where who has the rights of root in the pod can read it: no
    /// credential may be in it that is worth more than those files.
    pub remembered: String,
    /// When to ask again, if that is before contents are due in any case.
    pub again: Option<Timestamp>,
    /// Whether there may be something newer, which could not be had: no Secret is made of it, because it could be older than what another
    /// node made one of.
    pub is_last_known: bool,
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

    /// A volume is gone, of this provider or of another: what was held for it can be given back. Nobody waits for that.
    fn gone(&self, _place: &str) {}

    /// Whether something is held for a volume that would end if nobody asked for it any more and it were given back.
    fn is_held(&self, _place: &str) -> bool {
        false
    }
}
