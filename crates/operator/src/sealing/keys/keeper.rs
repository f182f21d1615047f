//! What one replica, the leader, does for the keys: the first key, renewal, wrapping anew, what is shown of their use.
//!
//! Decides by a fresh list, and a new key's name follows from all keys that there are: two who decide at the same time, as a leader that
//! does not know yet that it leads no longer, make the same object, and one of them is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulla_format::sealed::Algorithm;
use bulla_kube::api::sealing_key::{self as api, KeyState};
use bulla_kube::api::{SealingKey, SealingKeyStatus};
use bulla_kube::client::describe;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::adopt::{self, Adopted, Outcome, Plain};
use super::cluster::{ClusterRing, Health};
use super::index::{Private, Source};
use super::object::{at, created, time, unwrap};
use super::policy::{Due, Policy};
use super::requests::{self, RENEW, REWRAP};
use super::rewrap;
use super::secret;
use super::store::{Found, NewKey};

/// The longest between two looks.
const LOOK: Duration = Duration::from_mins(10);
/// How long after something failed.
const AGAIN: Duration = Duration::from_secs(15);

/// How far a new key's first second may be ahead of the clock, so that it comes after the last one's.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// How many keys are made within an hour because objects ask for it: each costs every value that no key opens one try more, for ever.
const MOST_ASKED: usize = 10;

/// Who knows how many values are sealed to which key: by its fingerprint, from all SealedSecrets' status.
pub trait Usage: Send + Sync {
    /// The counts now; `None` while not all were read.
    fn values(&self) -> Option<BTreeMap<String, i64>>;
}

/// What the leader does besides renewing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chores {
    /// Wrap keys anew whose recipients are not the configured ones (`--rewrap-keys`).
    pub rewrap: bool,
    /// Wrap plain key Secrets (`--adopt-keys`), and what to do with the plain ones.
    pub adopt: Option<Plain>,
}

/// The leader's work.
pub struct Keeper {
    ring: Arc<ClusterRing>,
    policy: Policy,
    new: Vec<NewKey>,
    chores: Chores,
    usage: Option<Arc<dyn Usage>>,
    renew: Notify,
    /// A new key was asked for, the request is taken off, and the key is not there yet.
    owed: AtomicBool,
    /// Plain keys that were told of.
    told: Mutex<BTreeSet<String>>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// The API server refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// A key could not be made or wrapped.
    #[error("{0}")]
    Key(String),
}

impl Keeper {
    /// For the keys of `ring`: one of each kind in `new`.
    pub fn new(ring: Arc<ClusterRing>, policy: Policy, new: Vec<NewKey>, chores: Chores) -> Self {
        let (owed, told) = (AtomicBool::new(false), Mutex::default());
        Self { ring, policy, new, chores, usage: None, renew: Notify::new(), owed, told }
    }

    /// Shows the use of keys in their status.
    #[must_use]
    pub fn with_usage(mut self, usage: Arc<dyn Usage>) -> Self {
        self.usage = Some(usage);
        self
    }

    /// A new key, whatever the old one's age (SIGUSR1). The leader's next look makes it.
    pub fn renew_now(&self) {
        self.renew.notify_one();
    }

    /// Works until it is dropped, which happens when another replica leads.
    pub async fn work(&self) {
        self.ring.wait_loaded().await;
        let mut changed = crate::sealing::ring::KeyRing::changed(&*self.ring);
        let mut forced = false;
        loop {
            let wait = if let Health::Sealed(..) = self.ring.health() {
                LOOK
            } else {
                match self.once(Timestamp::now(), forced).await {
                    Ok(wait) => {
                        forced = false;
                        wait
                    }
                    Err(error) => {
                        tracing::error!(%error, "the sealing keys need care and did not get it; trying again");
                        AGAIN
                    }
                }
            };
            let mut unsealed = self.ring.unsealing().map(|unsealing| unsealing.opened());
            let opened = async {
                match &mut unsealed {
                    Some(receiver) if !*receiver.borrow() => drop(receiver.wait_for(|opened| *opened).await),
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.renew.notified() => forced = true,
                () = self.ring.wait_asked() => {}
                _ = changed.changed() => {}
                () = opened => {}
            }
        }
    }

    /// Looks once and does what is due. Says when to look again.
    ///
    /// # Errors
    /// [`KeepError`]; what was done until then stays done.
    pub async fn once(&self, now: Timestamp, force: bool) -> Result<Duration, KeepError> {
        let mut found = self.ring.store().list().await?;
        if self.adopt(&found).await? {
            found = self.ring.store().list().await?;
        }
        self.tell_of_plain(&found);
        self.rewrap(&found).await?;
        let mut taken_off = Vec::new();
        let mut asked = self.owed.load(Ordering::Relaxed);
        for source in askers(&found) {
            match source {
                Source::Wrapped(name) => taken_off.push(name),
                // It may not be ours to write: then it would ask for ever.
                Source::Plain(name) => match self.ring.store().annotate_plain(&name, RENEW, None).await {
                    Ok(()) => {
                        self.owed.store(true, Ordering::Relaxed);
                        asked = true;
                    }
                    Err(error) => tracing::warn!(
                        secret = name,
                        error = describe(&error),
                        "a request for a new key cannot be taken off its Secret; it is not heard"
                    ),
                },
            }
        }
        asked |= !taken_off.is_empty();
        if asked && made_lately(&found, now) >= MOST_ASKED {
            tracing::warn!(
                made = made_lately(&found, now),
                "a new key was asked for, and many were made within the hour: none is made"
            );
            self.owed.store(false, Ordering::Relaxed);
            asked = false;
        }
        let mut wait = LOOK;
        for new in &self.new {
            let newest = self.newest_active(&found, new.algorithm, now);
            let due = match self.policy.due(newest, now) {
                _ if force || asked => Due::Now("it was asked for"),
                due => due,
            };
            match due {
                Due::Now(reason) => self.make(new, &found, after(newest, now), reason).await?,
                Due::At(at) => wait = wait.min(Duration::try_from(at.duration_since(now)).unwrap_or_default()),
                Due::Never => {}
            }
        }
        self.owed.store(false, Ordering::Relaxed);
        for name in taken_off {
            self.ring.store().annotate(&name, RENEW, None).await?;
        }
        self.show_use(&found, now).await?;
        Ok(wait)
    }

    /// Takes plain keys over, if it was told to. Whether anything changed.
    async fn adopt(&self, found: &Found) -> Result<bool, KeepError> {
        let (Some(plain), Some(recipients)) = (self.chores.adopt, &self.ring.settings().recipients) else {
            return Ok(false);
        };
        let is_wrapped = |secret: &Secret| {
            let fingerprint = secret::read(secret).map(|pair| pair.private.fingerprint().to_string());
            found.wrapped.iter().any(|key| Ok(&key.spec.fingerprint) == fingerprint.as_ref())
        };
        // What is wrapped and is to stay needs no key service each time.
        let waiting = found.plain.iter().filter(|secret| plain == Plain::Delete || !is_wrapped(secret));
        let waiting = Found { wrapped: found.wrapped.clone(), plain: waiting.cloned().collect() };
        let (store, registry) = (self.ring.store(), self.ring.registry());
        let report = adopt::adopt(store, &registry, recipients, self.ring.trusted(), &waiting, plain).await?;
        for Adopted { secret, outcome, .. } in &report {
            if matches!(outcome, Outcome::Wrapped | Outcome::Deleted) {
                tracing::info!(secret, %outcome, "a plain sealing key was taken over");
            } else {
                tracing::warn!(secret, %outcome, "a plain sealing key was not taken over");
            }
        }
        Ok(!report.is_empty())
    }

    async fn make(&self, new: &NewKey, found: &Found, now: Timestamp, reason: &str) -> Result<(), KeepError> {
        let store = self.ring.store();
        let name = format!("{}{}", store.prefix, suffix(found, new.algorithm));
        let pair = new.generate(now).await.map_err(KeepError::Key)?;
        let made = match &self.ring.settings().recipients {
            Some(recipients) => {
                let key = pair.wrap(&self.ring.services(), recipients).await;
                let key = key.map_err(|error| KeepError::Key(format!("a new key cannot be wrapped: {error}")))?;
                // What is sealed to a key that does not open again would be lost.
                let opened = unwrap(&self.ring.services(), &key, self.ring.trusted()).await;
                opened.map_err(|error| KeepError::Key(format!("a new key was wrapped and does not open: {error}")))?;
                store.create(&name, key).await?.is_some()
            }
            None => store.create_plain(&name, secret::write(&pair).map_err(KeepError::Key)?).await?.is_some(),
        };
        let fingerprint = pair.private.fingerprint();
        if made {
            tracing::info!(name, %fingerprint, reason, "a new sealing key was made");
        } else {
            tracing::info!(name, reason, "another replica made the new sealing key");
        }
        Ok(())
    }

    /// From when the newest key is that can be sealed to. One that does not open, although others do, is none; nor is one for a far
    /// day, nor where keys are wrapped a plain one: whoever may write objects must not keep new keys from being made.
    fn newest_active(&self, found: &Found, algorithm: Algorithm, now: Timestamp) -> Option<Timestamp> {
        let index = self.ring.index();
        let can = |source: Source| index.seals(&source) != Some(false);
        let is_wanted = |key: &&SealingKey| {
            let is_hybrid = key.spec.algorithm == api::Algorithm::X25519MlKem768;
            key.spec.state == KeyState::Active && is_hybrid == (algorithm == Algorithm::Hybrid)
        };
        let wrapped = found.wrapped.iter().filter(is_wanted).filter(|key| can(Source::Wrapped(key.name_any())));
        // Plain ones are all RSA. Only the certificate is looked at.
        let plain_seal = self.ring.settings().recipients.is_none() && algorithm == Algorithm::Rsa;
        let is_wanted = |secret: &&Secret| plain_seal && secret::state_of(secret) == KeyState::Active;
        let plain = found.plain.iter().filter(is_wanted).filter(|secret| can(Source::Plain(secret.name_any())));
        let times = wrapped.map(|key| at(&key.spec.not_before)).chain(plain.filter_map(secret::not_before));
        times.filter(|time| time.duration_since(now) < MOST_AHEAD).max()
    }

    /// Says once of each key that it is plain although keys are wrapped here.
    fn tell_of_plain(&self, found: &Found) {
        if self.ring.settings().recipients.is_none() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for secret in found.plain.iter().filter(|secret| secret::state_of(secret) != KeyState::Compromised) {
            if told.insert(secret.name_any()) {
                tracing::warn!(
                    secret = secret.name_any(),
                    "a sealing key stands plain in a Secret: it opens what was sealed to it, and nothing new is sealed to it. Take it over with \
                     `bulla sealing-keys adopt --delete-plain` or --adopt-keys=delete-plain"
                );
            }
        }
    }

    async fn rewrap(&self, found: &Found) -> Result<(), KeepError> {
        let Some(recipients) = &self.ring.settings().recipients else { return Ok(()) };
        for key in &found.wrapped {
            let asked = requests::has(key, REWRAP);
            if !(asked || self.chores.rewrap) {
                continue;
            }
            if rewrap::needed(key, recipients) {
                let services = self.ring.services();
                let done = rewrap::rewrap(self.ring.store(), &services, key, recipients, self.ring.trusted()).await;
                match done {
                    Ok(_) => tracing::info!(name = key.name_any(), "a sealing key was wrapped for its new recipients"),
                    // The others can be wrapped all the same.
                    Err(error) => {
                        tracing::error!(name = key.name_any(), %error, "a sealing key cannot be wrapped anew");
                        continue;
                    }
                }
            }
            if asked {
                self.ring.store().annotate(&key.name_any(), REWRAP, None).await?;
            }
        }
        Ok(())
    }

    async fn show_use(&self, found: &Found, now: Timestamp) -> Result<(), KeepError> {
        let used = self.ring.take_used();
        let values = self.usage.as_ref().and_then(|usage| usage.values());
        for key in &found.wrapped {
            let new = status_of(key, &used, values.as_ref());
            if is_worth_writing(key.status.as_ref(), &new, now) {
                let patch = Patch::Merge(json!({"status": new}));
                self.ring.store().keys.patch_status(&key.name_any(), &PatchParams::default(), &patch).await?;
            }
        }
        Ok(())
    }
}

impl ClusterRing {
    /// How many keys are in each state, and how many give no key: for metrics.
    pub fn counts(&self) -> (HashMap<KeyState, i64>, i64, i64) {
        let index = self.index();
        let mut states = HashMap::new();
        let (mut failed, mut plain) = (0, 0);
        for (source, entry) in index.entries() {
            *states.entry(entry.state).or_default() += 1;
            failed += i64::from(!matches!(entry.private, Private::Held(_)));
            plain += i64::from(matches!(source, Source::Plain(_)));
        }
        (states, failed, plain)
    }
}

/// How many key objects are less than an hour old.
fn made_lately(found: &Found, now: Timestamp) -> usize {
    let times = found.wrapped.iter().map(created).chain(found.plain.iter().map(created));
    times.filter(|time| now.duration_since(*time) < SignedDuration::from_hours(1)).count()
}

/// The time from which a new key counts: certificates know seconds only, and of two keys of the same second nobody could say
/// which is to be sealed to. Also right where the clock of the leader that made the last key was a little ahead of ours.
fn after(newest: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let next = newest.and_then(|newest| newest.checked_add(SignedDuration::from_secs(1)).ok());
    // One that was made for a far day is not waited for.
    let next = next.filter(|next| next.duration_since(now) < MOST_AHEAD);
    next.map_or(now, |next| next.max(now))
}

/// Who asks for a new key.
fn askers(found: &Found) -> Vec<Source> {
    let wrapped =
        found.wrapped.iter().filter(|key| requests::has(*key, RENEW)).map(|key| Source::Wrapped(key.name_any()));
    let plain = found
        .plain
        .iter()
        .filter(|secret| requests::has(*secret, RENEW))
        .map(|secret| Source::Plain(secret.name_any()));
    wrapped.chain(plain).collect()
}

/// The end of a new key's name: it follows from the keys that there are.
fn suffix(found: &Found, algorithm: Algorithm) -> String {
    let wrapped = found.wrapped.iter().map(|key| format!("{} {}", key.name_any(), key.spec.fingerprint));
    let plain = found.plain.iter().map(|secret| format!("{} {}", secret.name_any(), secret.uid().unwrap_or_default()));
    let mut names: Vec<String> = wrapped.chain(plain).collect();
    names.sort();
    names.push(algorithm.name().to_owned());
    let hash = Sha256::digest(names.join("\n"));
    hash[..5].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status_of(
    key: &SealingKey,
    used: &BTreeMap<String, Timestamp>,
    values: Option<&BTreeMap<String, i64>>,
) -> SealingKeyStatus {
    let old = key.status.clone().unwrap_or_default();
    let fingerprint = &key.spec.fingerprint;
    SealingKeyStatus {
        last_used: used.get(fingerprint).map(|at| time(*at)).or(old.last_used),
        values: values.map(|values| values.get(fingerprint).copied().unwrap_or_default()).or(old.values),
    }
}

/// Counts at once, times when they are a day apart: they are there to retire keys by, not to be exact.
fn is_worth_writing(old: Option<&SealingKeyStatus>, new: &SealingKeyStatus, now: Timestamp) -> bool {
    let old = old.cloned().unwrap_or_default();
    let stale = match (&old.last_used, &new.last_used) {
        (None, Some(_)) => true,
        (Some(old), Some(new)) if old != new => now.duration_since(at(old)) > SignedDuration::from_hours(24),
        _ => false,
    };
    old.values != new.values || stale
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn two_who_see_the_same_keys_give_the_new_one_the_same_name() {
        const RSA: Algorithm = Algorithm::Rsa;
        let secret = |name: &str| {
            let mut secret = Secret::default();
            secret.metadata.name = Some(name.to_owned());
            secret
        };
        let found =
            |names: &[&str]| Found { wrapped: Vec::new(), plain: names.iter().map(|name| secret(name)).collect() };
        assert_eq!(suffix(&found(&["a", "b"]), RSA), suffix(&found(&["b", "a"]), RSA));
        assert_ne!(suffix(&found(&["a"]), RSA), suffix(&found(&["a", "b"]), RSA));
        assert_ne!(suffix(&found(&[]), RSA), suffix(&found(&["a"]), RSA));
        assert_ne!(suffix(&found(&[]), RSA), suffix(&found(&[]), Algorithm::Hybrid));
        assert_eq!(suffix(&found(&[]), RSA).len(), 10);
    }

    #[test]
    fn keys_of_the_last_hour_are_counted_whoever_made_them() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let secret = |minutes: i64| {
            let mut secret = Secret::default();
            secret.metadata.creation_timestamp = Some(time(now - SignedDuration::from_mins(minutes)));
            secret
        };
        let found = Found { wrapped: Vec::new(), plain: [1, 59, 61, 1000].map(secret).into() };
        assert_eq!(made_lately(&found, now), 2);
    }

    #[test]
    fn a_new_key_comes_after_the_last_one_also_within_a_second() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-01-02T00:00:00.7Z");
        assert_eq!(after(None, now), now);
        assert_eq!(after(Some(at("2026-01-01T00:00:00Z")), now), now);
        assert_eq!(after(Some(at("2026-01-02T00:00:00Z")), now), at("2026-01-02T00:00:01Z"));
        assert_eq!(after(Some(at("2026-01-02T00:00:20Z")), now), at("2026-01-02T00:00:21Z"));
        assert_eq!(after(Some(at("2027-01-01T00:00:00Z")), now), now);
    }

    #[test]
    fn a_use_is_written_once_a_day_and_a_count_at_once() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let status =
            |used: Option<&str>, values| SealingKeyStatus { last_used: used.map(|text| time(at(text))), values };
        let now = at("2026-01-02T00:00:00Z");
        let worth = |old: &SealingKeyStatus, new: &SealingKeyStatus| is_worth_writing(Some(old), new, now);
        assert!(is_worth_writing(None, &status(Some("2026-01-01T12:00:00Z"), None), now));
        assert!(!worth(&status(Some("2026-01-01T12:00:00Z"), None), &status(Some("2026-01-02T00:00:00Z"), None)));
        assert!(worth(&status(Some("2025-12-31T12:00:00Z"), None), &status(Some("2026-01-02T00:00:00Z"), None)));
        assert!(worth(&status(None, Some(1)), &status(None, Some(2))));
        assert!(!worth(&status(None, Some(1)), &status(None, Some(1))));
    }
}
