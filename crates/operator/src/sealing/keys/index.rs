//! What is known of every key object, and what follows from it: the keys that open, the certificate, what is wrong.
//!
//! Pure: watches put objects in, the ring asks for the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bulla_format::sealed::{Certificate, Fingerprint, PrivateKey};
use bulla_kube::api::SealingKey;
use bulla_kube::api::sealing_key::KeyState;
use jiff::Timestamp;

use super::object::PublicPart;
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

/// What plain keys are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainKeys {
    /// Everything: keys are plain because that was asked for.
    #[default]
    Seal,
    /// They open what was sealed to them. Keys are wrapped here, and whoever may write Secrets must not choose what is sealed to.
    OpenOnly,
}

/// Which certificates are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Those whose private key is here: what is sealed to them opens, and no object but a key's own shows them.
    Proven,
    /// Also those that nobody could prove yet, because people have to give their shares first.
    Unproven,
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
    plain: PlainKeys,
}

impl Index {
    /// An index that knows nothing yet.
    pub const fn new(plain: PlainKeys) -> Self {
        Self { entries: BTreeMap::new(), plain }
    }

    /// Puts an object in. What came of unwrapping its key is kept if the key and its wrapped form did not change.
    pub fn apply(&mut self, source: Source, mut entry: Entry) {
        if self.plain == PlainKeys::OpenOnly && matches!(source, Source::Plain(_)) {
            entry.state = stricter(entry.state, KeyState::Retired);
        }
        if let (Private::Waiting, Some(new), Some(old)) = (&entry.private, &entry.object, self.entries.get_mut(&source))
            && old.object.as_ref().is_some_and(|old| is_same_key(old, new))
        {
            entry.private = std::mem::replace(&mut old.private, Private::Waiting);
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
            && entry.object.as_ref().is_some_and(|current| is_same_key(current, object))
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

    /// Whether the key of an object can become the one to seal to; `None` if that is not known yet. While no key at all is here, an
    /// object that does not open is not held against it: the key services may be gone.
    pub fn seals(&self, source: &Source) -> Option<bool> {
        let entry = self.entries.get(source)?;
        match (&entry.public, &entry.private) {
            (Ok(public), Private::Held(_)) => Some(self.state_of(&public.fingerprint) == KeyState::Active),
            (Ok(_), Private::Waiting) => None,
            (Ok(_), Private::Failed(_)) | (Err(_), _) => self.has_any().then_some(false),
        }
    }

    /// Whether any key is here that may open.
    fn has_any(&self) -> bool {
        let opens = |entry: &Entry| entry.state != KeyState::Compromised && matches!(entry.private, Private::Held(_));
        self.entries.values().any(opens)
    }

    /// The strictest state of a key's objects.
    fn state_of(&self, fingerprint: &Fingerprint) -> KeyState {
        let is_its_own = |entry: &&Entry| entry.public.as_ref().is_ok_and(|public| public.fingerprint == *fingerprint);
        let states = self.entries.values().filter(is_its_own).map(|entry| entry.state);
        states.fold(KeyState::Active, stricter)
    }

    /// The newest certificate to seal to.
    pub fn certificate(&self, order: KeyOrder, now: Timestamp, shown: Shown) -> Option<Certificate> {
        let fingerprint = |entry: &Entry| entry.public.as_ref().ok().map(|public| public.fingerprint);
        let others = self.entries.values().filter(|entry| entry.state != KeyState::Active);
        let banned: BTreeSet<_> = others.filter_map(fingerprint).collect();
        let banned = |entry: &Entry| fingerprint(entry).is_none_or(|key| banned.contains(&key));
        let may_be_shown = |entry: &Entry| shown == Shown::Unproven || matches!(entry.private, Private::Held(_));
        let usable = self.entries.values().filter(|entry| entry.since(order) <= now && may_be_shown(entry));
        let usable = usable.filter(|entry| !banned(entry));
        let with_certificate = usable.filter_map(|entry| {
            let certificate = entry.public.as_ref().ok()?.certificate.clone()?;
            // Objects of the same second are told apart by their certificates.
            Some(((entry.since(order), entry.not_before), certificate))
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

/// Whether two versions of an object hold the same key, wrapped in the same way: all but what may change without a key service.
fn is_same_key(one: &Arc<SealingKey>, other: &Arc<SealingKey>) -> bool {
    let all_but_the_state = |key: &SealingKey| {
        let bulla_kube::api::SealingKeySpec {
            algorithm,
            fingerprint,
            certificate,
            public_key,
            not_before,
            wrapped,
            ..
        } = key.spec.clone();
        (algorithm, fingerprint, certificate, public_key, not_before, wrapped)
    };
    Arc::ptr_eq(one, other) || all_but_the_state(one) == all_but_the_state(other)
}

/// Who marks a key means it, whichever of its objects is marked.
pub(super) const fn stricter(one: KeyState, other: KeyState) -> KeyState {
    match (one, other) {
        (KeyState::Compromised, _) | (_, KeyState::Compromised) => KeyState::Compromised,
        (KeyState::Retired, _) | (_, KeyState::Retired) => KeyState::Retired,
        _ => KeyState::Active,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_format::sealed::{Algorithm, self_signed};

    use super::*;
    use crate::sealing::keys::object::time;
    use bulla_kube::api::SealingKeySpec;
    use bulla_kube::api::sealing_key::{Algorithm as ApiAlgorithm, WrappedPrivateKey};

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    fn hours_ago(hours: i64) -> Timestamp {
        NOW - jiff::SignedDuration::from_hours(hours)
    }

    fn rsa() -> PrivateKey {
        PrivateKey::generate_rsa(bulla_format::sealed::RsaSize::Bits2048).unwrap()
    }

    /// A plain one of an RSA key, or of a hybrid one.
    fn plain(private: &PrivateKey, age: i64, state: KeyState) -> Entry {
        let certificate = (private.algorithm() == Algorithm::Rsa)
            .then(|| self_signed(private, "", hours_ago(age), hours_ago(-100)).unwrap());
        Entry {
            public: Ok(PublicPart { fingerprint: *private.fingerprint(), certificate }),
            not_before: hours_ago(age),
            created: hours_ago(age),
            state,
            private: Private::Held(private.clone()),
            object: None,
        }
    }

    /// A wrapped one, not yet unwrapped.
    fn wrapped(private: &PrivateKey, ciphertext: &str, state: KeyState) -> Entry {
        let spec = SealingKeySpec {
            algorithm: ApiAlgorithm::X25519MlKem768,
            fingerprint: private.fingerprint().to_string(),
            certificate: None,
            public_key: None,
            not_before: time(NOW),
            wrapped: WrappedPrivateKey { key_groups: vec![], threshold: None, ciphertext: ciphertext.to_owned() },
            state,
        };
        Entry {
            private: Private::Waiting,
            object: Some(Arc::new(SealingKey::new("x", spec))),
            ..plain(private, 0, state)
        }
    }

    fn source(name: &str) -> Source {
        Source::Wrapped(name.to_owned())
    }

    #[test]
    fn a_key_in_two_objects_has_the_stricter_state() {
        let key = PrivateKey::generate(Algorithm::Hybrid).unwrap();
        for (state, opens) in [(KeyState::Active, true), (KeyState::Retired, true), (KeyState::Compromised, false)] {
            let mut index = Index::default();
            index.apply(Source::Plain("a".to_owned()), plain(&key, 1, state));
            index.apply(source("a"), plain(&key, 1, KeyState::Active));
            let keys = index.keys(KeyOrder::default(), Compromised::Refused);
            assert_eq!(keys.iter().map(|key| key.state).collect::<Vec<_>>(), [state]);
            let ring = crate::sealing::ring::Keys::new(keys, 1);
            assert_eq!(!ring.keys().is_empty(), opens);
            // Asked for, a compromised key opens and never seals.
            let keys = index.keys(KeyOrder::default(), Compromised::OpenStill);
            assert!(keys.iter().all(|key| key.state != KeyState::Compromised));
        }
    }

    #[test]
    fn an_object_that_only_changed_its_state_is_not_unwrapped_again() {
        let key = PrivateKey::generate(Algorithm::Hybrid).unwrap();
        let mut index = Index::default();
        index.apply(source("a"), wrapped(&key, "one", KeyState::Active));
        let (name, object) = index.to_unwrap(false).remove(0);
        index.unwrapped(&name, &object, Private::Held(key.clone()));
        index.apply(source("a"), wrapped(&key, "one", KeyState::Retired));
        assert!(index.to_unwrap(true).is_empty());
        assert_eq!(index.keys(KeyOrder::default(), Compromised::Refused)[0].state, KeyState::Retired);
        // Wrapped anew it is; and what was unwrapped of an older version is not taken for it.
        index.apply(source("a"), wrapped(&key, "two", KeyState::Active));
        index.unwrapped(&name, &object, Private::Held(key));
        assert_eq!(index.to_unwrap(false).len(), 1);
    }

    #[test]
    fn what_fails_is_named_and_tried_again_only_when_asked() {
        let key = PrivateKey::generate(Algorithm::Hybrid).unwrap();
        let mut index = Index::default();
        index.apply(source("a"), wrapped(&key, "one", KeyState::Active));
        let (name, object) = index.to_unwrap(false).remove(0);
        index.unwrapped(&name, &object, Private::Failed("gone".to_owned()));
        assert!(index.to_unwrap(false).is_empty() && index.to_unwrap(true).len() == 1);
        assert_eq!(index.problems(), [Problem { source: source("a"), reason: "gone".to_owned() }]);
        index.remove(&source("a"));
        assert!(index.problems().is_empty());
    }

    #[test]
    fn the_certificate_is_that_of_the_newest_active_key_whose_private_half_may_be_missing() {
        let (old, new, future, bad) = (rsa(), rsa(), rsa(), rsa());
        let mut index = Index::default();
        index.apply(source("old"), plain(&old, 9, KeyState::Active));
        index.apply(source("new"), Entry { private: Private::Waiting, ..plain(&new, 5, KeyState::Active) });
        index.apply(source("future"), plain(&future, -5, KeyState::Active));
        index.apply(source("bad"), plain(&bad, 1, KeyState::Active));
        index.apply(Source::Plain("bad".to_owned()), plain(&bad, 1, KeyState::Compromised));
        let fingerprint = |shown| index.certificate(KeyOrder::default(), NOW, shown).unwrap().fingerprint();
        assert_eq!(fingerprint(Shown::Unproven), *new.fingerprint());
        assert_eq!(fingerprint(Shown::Proven), *old.fingerprint());
    }

    #[test]
    fn nothing_is_sealed_to_a_key_that_does_not_open() {
        let (ours, theirs) = (rsa(), rsa());
        let mut index = Index::default();
        index.apply(source("ours"), plain(&ours, 9, KeyState::Active));
        // Whoever may write objects shows a certificate of their own; the ciphertext is anything.
        let failed = Private::Failed("no key service opens it".to_owned());
        index.apply(source("theirs"), Entry { private: failed, ..plain(&theirs, 1, KeyState::Active) });
        let certificate = index.certificate(KeyOrder::default(), NOW, Shown::Proven).unwrap();
        assert_eq!(certificate.fingerprint(), *ours.fingerprint());
        assert_eq!((index.seals(&source("ours")), index.seals(&source("theirs"))), (Some(true), Some(false)));
        assert_eq!(index.seals(&source("unknown")), None);
        // Without any key it is not known whose fault it is.
        index.remove(&source("ours"));
        assert_eq!(index.seals(&source("theirs")), None);
    }

    #[test]
    fn where_keys_are_wrapped_a_plain_one_opens_and_is_not_sealed_to() {
        let (wrapped, plain_one) = (rsa(), rsa());
        let mut index = Index::new(PlainKeys::OpenOnly);
        index.apply(source("wrapped"), plain(&wrapped, 9, KeyState::Active));
        let theirs = Source::Plain("theirs".to_owned());
        index.apply(theirs.clone(), plain(&plain_one, 1, KeyState::Active));
        let keys = crate::sealing::ring::Keys::new(index.keys(KeyOrder::default(), Compromised::Refused), 1);
        assert_eq!(keys.keys().len(), 2);
        assert_eq!(keys.current(Algorithm::Rsa, NOW).unwrap().fingerprint(), wrapped.fingerprint());
        let certificate = index.certificate(KeyOrder::default(), NOW, Shown::Proven).unwrap();
        assert_eq!((certificate.fingerprint(), index.seals(&theirs)), (*wrapped.fingerprint(), Some(false)));
        // The wrapped form of a key that is still plain is no better.
        index.apply(Source::Plain("copy".to_owned()), plain(&wrapped, 9, KeyState::Active));
        assert_eq!(index.seals(&source("wrapped")), Some(false));
        index.apply(Source::Plain("copy".to_owned()), plain(&wrapped, 9, KeyState::Compromised));
        assert_eq!(index.keys(KeyOrder::default(), Compromised::Refused).len(), 2);
    }

    #[test]
    fn an_object_that_is_only_touched_is_not_unwrapped_again() {
        let key = PrivateKey::generate(Algorithm::Hybrid).unwrap();
        let mut index = Index::default();
        index.apply(source("a"), wrapped(&key, "one", KeyState::Active));
        let (name, object) = index.to_unwrap(false).remove(0);
        // Touched while a key service is asked: the answer still counts.
        index.apply(source("a"), wrapped(&key, "one", KeyState::Active));
        index.unwrapped(&name, &object, Private::Failed("no".to_owned()));
        index.apply(source("a"), wrapped(&key, "one", KeyState::Active));
        assert!(index.to_unwrap(false).is_empty() && index.to_unwrap(true).len() == 1);
    }
}
