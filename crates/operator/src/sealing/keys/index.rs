//! What is known of every key object, and what follows from it: the keys that open, the certificate, what is wrong.
//!
//! Pure: watches put objects in, the ring asks for the result.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulla_format::sealed::{Certificate, PrivateKey};
use jiff::Timestamp;

use super::object::PublicPart;
use crate::api::SealingKey;
use crate::api::sealing_key::KeyState;
use crate::sealing::ring::Key;

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A `SealingKey` of this name.
    Wrapped(String),
    /// A plain Secret of this name.
    Plain(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wrapped(name) => write!(f, "SealingKey {name}"),
            Self::Plain(name) => write!(f, "Secret {name}"),
        }
    }
}

/// What keys are ordered by: which is the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// The first day of the certificate.
    #[default]
    CertNotBefore,
    /// When the object was made.
    SecretCreationTimestamp,
}

/// Whether compromised keys open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compromised {
    /// They do not.
    #[default]
    Refused,
    /// They do, because it was asked for: to save what is sealed to them.
    OpenStill,
}

/// One object.
#[derive(Debug)]
pub struct Entry {
    /// What it shows, or what is malformed.
    pub public: Result<PublicPart, String>,
    /// Its certificate's first day.
    pub not_before: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// What it may be used for.
    pub state: KeyState,
    /// The private key, or why there is none.
    pub private: Private,
    /// The object itself, if its key is wrapped: nothing of it is secret.
    pub object: Option<Arc<SealingKey>>,
}

/// The private half of an entry.
#[derive(Debug)]
pub enum Private {
    /// It was not tried yet.
    Waiting,
    /// It is here.
    Held(PrivateKey),
    /// It cannot be had, for this reason.
    Failed(String),
}

/// An object that gives no key, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub source: Source,
    /// Why.
    pub reason: String,
}

/// All objects.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<Source, Entry>,
}

impl Index {
    /// Puts an object in. A private key that is here already is kept if the wrapped form did not change.
    pub fn apply(&mut self, source: Source, mut entry: Entry) {
        if let (Private::Waiting, Some(old)) = (&entry.private, self.entries.get_mut(&source)) {
            let wrapped = |entry: &Entry| entry.object.as_ref().map(|object| object.spec.wrapped.ciphertext.clone());
            let same = old.public == entry.public && wrapped(old) == wrapped(&entry);
            if same && matches!(old.private, Private::Held(_)) {
                entry.private = std::mem::replace(&mut old.private, Private::Waiting);
            }
        }
        self.entries.insert(source, entry);
    }

    /// Takes an object out.
    pub fn remove(&mut self, source: &Source) {
        self.entries.remove(source);
    }

    /// Takes out all that a new list does not have.
    pub fn retain(&mut self, keep: impl Fn(&Source) -> bool) {
        self.entries.retain(|source, _| keep(source));
    }

    /// The objects.
    pub fn entries(&self) -> impl Iterator<Item = (&Source, &Entry)> {
        self.entries.iter()
    }

    /// The wrapped objects whose private key is not here: never tried, or failed.
    pub fn to_unwrap(&self, with_failed: bool) -> Vec<(Source, Arc<SealingKey>)> {
        let wanted = |entry: &Entry| match entry.private {
            Private::Waiting => true,
            Private::Failed(_) => with_failed,
            Private::Held(_) => false,
        };
        let pair = |(source, entry): (&Source, &Entry)| Some((source.clone(), entry.object.clone()?));
        self.entries.iter().filter(|(_, entry)| wanted(entry)).filter_map(pair).collect()
    }

    /// Takes what came of unwrapping `object`; nothing if the object has become another meanwhile.
    pub fn unwrapped(&mut self, source: &Source, object: &Arc<SealingKey>, private: Private) {
        if let Some(entry) = self.entries.get_mut(source)
            && entry.object.as_ref().is_some_and(|current| Arc::ptr_eq(current, object))
        {
            entry.private = private;
        }
    }

    /// The keys of the ring. A key that stands in several objects (wrapped, and still plain) has the strictest of their states.
    pub fn keys(&self, order: KeyOrder, compromised: Compromised) -> Vec<Arc<Key>> {
        let mut keys: BTreeMap<String, (KeyState, &Entry)> = BTreeMap::new();
        for entry in self.entries.values() {
            let Ok(public) = &entry.public else { continue };
            let known = keys.entry(public.fingerprint.to_string()).or_insert((entry.state, entry));
            known.0 = stricter(known.0, entry.state);
            if matches!(entry.private, Private::Held(_)) && !matches!(known.1.private, Private::Held(_)) {
                known.1 = entry;
            }
        }
        let key = |(state, entry): (KeyState, &Entry)| {
            let (Private::Held(private), Ok(public)) = (&entry.private, &entry.public) else { return None };
            let state = match (state, compromised) {
                // It opens, and nothing is ever sealed to it.
                (KeyState::Compromised, Compromised::OpenStill) => KeyState::Retired,
                (state, _) => state,
            };
            Some(Arc::new(Key {
                private: private.clone(),
                certificate: public.certificate.clone(),
                not_before: entry.since(order),
                state,
            }))
        };
        keys.into_values().filter_map(key).collect()
    }

    /// The newest certificate to seal to, from the public parts alone: it is known while the ring is sealed.
    pub fn certificate(&self, order: KeyOrder, now: Timestamp) -> Option<Certificate> {
        let banned = |entry: &Entry| {
            self.entries.values().any(|other| other.public == entry.public && other.state != KeyState::Active)
        };
        let usable = self.entries.values().filter(|entry| entry.since(order) <= now && !banned(entry));
        let with_certificate = usable.filter_map(|entry| {
            let certificate = entry.public.as_ref().ok()?.certificate.clone()?;
            Some((entry.since(order), certificate))
        });
        with_certificate.max_by_key(|(since, _)| *since).map(|(_, certificate)| certificate)
    }

    /// What gives no key, and why. Keys that may not open anyway are no problem.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |(source, entry): (&Source, &Entry)| {
            let reason = match (&entry.public, &entry.private) {
                (Err(reason), _) | (_, Private::Failed(reason)) => reason.clone(),
                (_, Private::Waiting) => "it was not unwrapped yet".to_owned(),
                (Ok(_), Private::Held(_)) => return None,
            };
            Some(Problem { source: source.clone(), reason })
        };
        self.entries.iter().filter(|(_, entry)| entry.state != KeyState::Compromised).filter_map(problem).collect()
    }
}

impl Entry {
    /// What it is ordered by.
    pub fn since(&self, order: KeyOrder) -> Timestamp {
        match order {
            KeyOrder::CertNotBefore => self.not_before,
            KeyOrder::SecretCreationTimestamp => self.created,
        }
    }
}

/// Who marks a key means it, whichever of its objects is marked.
const fn stricter(one: KeyState, other: KeyState) -> KeyState {
    match (one, other) {
        (KeyState::Compromised, _) | (_, KeyState::Compromised) => KeyState::Compromised,
        (KeyState::Retired, _) | (_, KeyState::Retired) => KeyState::Retired,
        _ => KeyState::Active,
    }
}
