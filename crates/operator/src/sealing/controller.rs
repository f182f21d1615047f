//! The SealedSecret controller: opens values, writes the Secret, says what became of it.
//!
//! **Requests.** An object that is new costs two (the Secret, the status), a changed one four at most (the Secret's metadata, whose
//! fields it has, the Secret, the status), an unchanged one none, also after a restart: the status remembers which version of the
//! SealedSecret became which version of the Secret, and the watches tell both.
//!
//! **Failures.** What lies in the object or the keys (no key, a wrong scope, a template that fails) is tried again when the object or
//! the keys change, and now and then; trying sooner would cost private operations and change nothing. What lies in the cluster is
//! tried again with backoff, without end.
//!
//! **Fights.** A Secret that somebody else changes is put right at once; if it is changed again and again, less and less often, and an
//! event says so. Two controllers that both put it right would do nothing else.
//!
//! **Secrets.** Opened values live from the blocking task that opens them until the request that writes them is sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::header;
use bulla_kube::api::SealedSecret;
use bulla_kube::api::sealed_secret::{SYNCED, Written};
use bulla_kube::backoff::Backoff;
use bulla_kube::events::{Events, Kind, News};
use bulla_kube::{Controller, Done, Due, Failure, FailureKind, Job, Known, ObjectKey, SecretSeen, Selectors};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::core::Request as ApiRequest;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::delivery::changes::Changes;
use super::delivery::{AUDIT, DELIVER, VOLUME, history};
use super::metrics::Metrics;
use super::open::{Contents, OldData, Opening, Patience, contents, full_name};
use super::ring::KeyRing;
use super::status::{self, Outcome};
use super::write::{Forbidden, MANAGER, PLAIN_LABEL, PLAIN_PART, PLAIN_VALUE, RECREATE, WriteError, write};

/// Annotations of the SealedSecret itself that decide on what becomes of it.
const DECISIVE: [&str; 5] = [
    bulla_format::sealed::CLUSTER_WIDE,
    bulla_format::sealed::NAMESPACE_WIDE,
    DELIVER,
    "bulla.dev/service-accounts",
    RECREATE,
];
/// What cannot be opened is tried again after this time although nothing changed.
const LOOK_AGAIN: Duration = Duration::from_hours(1);
/// How long the values and templates of one object may take. One more try in an hour, or when it changes.
const OPENING: Duration = Duration::from_mins(1);
/// So many times in a row a Secret is put right at once.
const AT_ONCE: u32 = 3;
/// A Secret that nobody else changed for this long is not fought over any more: longer than the longest time between two tries.
const PEACE: Duration = Duration::from_mins(15);
/// The reason where an earlier version of an object for volumes was applied again.
const STEPPED_BACK: &str = "SteppedBack";
/// What kubectl keeps of an object beside it: as large as the object, and not worked with.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The answer is to have metadata alone.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What the controller is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which SealedSecrets are its own.
    pub label_selector: Option<String>,
    /// Whether the deprecated `spec.data` is taken.
    pub old_data: OldData,
    /// Whether status is written.
    pub update_status: bool,
    /// Whether Secrets are watched, so that one that is changed or deleted is put right.
    pub watch_secrets: bool,
    /// How many values may be opened at once: the processor's cores.
    pub cores: usize,
    /// Which Secrets are not written.
    pub forbidden: Forbidden,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            label_selector: None,
            old_data: OldData::Accepted,
            update_status: true,
            watch_secrets: true,
            cores,
            forbidden: Forbidden::default(),
        }
    }
}

/// The controller.
pub struct SealedSecrets {
    client: Client,
    ring: Arc<dyn KeyRing>,
    settings: Settings,
    metrics: Arc<Metrics>,
    events: Events,
    cores: Arc<Semaphore>,
    changes: Arc<Changes>,
    /// Only of Secrets that were changed by somebody else.
    fights: Mutex<HashMap<ObjectKey, Fight>>,
}

/// A Secret that somebody else changes.
#[derive(Clone, Copy, Debug)]
struct Fight {
    /// How often it was put right in a row.
    times: u32,
    /// When it was the last time.
    last: Instant,
    /// When it may be again.
    next: Instant,
    /// It was changed since.
    changed: bool,
}

/// What decides on the Secret: another input, another Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    generation: i64,
    annotations: u64,
}

/// What is remembered of a SealedSecret.
#[derive(Debug)]
pub struct Note {
    input: Input,
    observed: Option<i64>,
    synced: Option<bool>,
    deleting: bool,
    /// It is for volumes, and never written as a Secret.
    for_volumes: bool,
    written: Option<(Input, SecretSeen)>,
}

/// What this process did about it.
#[derive(Clone, Debug)]
pub struct Memo {
    input: Input,
    did: Did,
}

#[derive(Clone, Debug)]
enum Did {
    /// The Secret was written, and this is it.
    Wrote(SecretSeen),
    /// It opens, and no Secret is to be written.
    Opens,
    /// It cannot be, with this version of the keys.
    CannotOpen(u64),
    /// It was not, for another reason.
    Failed,
}

impl SealedSecrets {
    /// A controller over these keys.
    pub fn new(
        client: Client,
        ring: Arc<dyn KeyRing>,
        settings: Settings,
        metrics: Arc<Metrics>,
        events: Events,
    ) -> Self {
        let cores = Arc::new(Semaphore::new(settings.cores.max(1)));
        let changes = Arc::default();
        Self { client, ring, settings, metrics, events, cores, changes, fights: Mutex::default() }
    }

    /// What it sees of objects for volumes.
    pub fn changes(&self) -> Arc<Changes> {
        Arc::clone(&self.changes)
    }

    /// Opens a SealedSecret on a core that is free.
    async fn open(&self, sealed: &Arc<SealedSecret>) -> Result<(Option<Contents>, Opening, u64), Failure<Memo>> {
        let keys = self.ring.snapshot();
        let version = keys.version();
        let (sealed, old_data) = (sealed.clone(), self.settings.old_data);
        let gone = |_| Failure::object("the process is ending");
        let permit = self.cores.clone().acquire_owned().await.map_err(|_| Failure::object("the process is ending"))?;
        // Dropped with this future, when work is cut off.
        let (patience, _waiting) = Patience::new();
        let (contents, opening) = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            contents(&sealed, &keys, old_data, &patience.begin(OPENING))
        })
        .await
        .map_err(gone)?;
        Ok((contents, opening, version))
    }

    fn fights(&self) -> MutexGuard<'_, HashMap<ObjectKey, Fight>> {
        self.fights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what does not open here, and will not before something changes.
    async fn cannot(
        &self,
        sealed: &SealedSecret,
        opening: &Opening,
        bad: &Bad,
        keys: u64,
    ) -> Result<Done<Memo>, Failure<Memo>> {
        self.fail(sealed, opening, bad).await?;
        tracing::warn!(object = %ObjectKey::of(&sealed.metadata), reason = bad.message, "a SealedSecret cannot be opened");
        let memo = Memo { input: input(sealed), did: Did::CannotOpen(keys) };
        Ok(Done { again: Some(LOOK_AGAIN), ..Done::with(memo) })
    }

    /// Says that an object opens, which is for volumes: what is opened of it goes to pods.
    async fn leave(
        &self,
        sealed: &SealedSecret,
        opening: &Opening,
        has_secret: bool,
        keys: u64,
    ) -> Result<Done<Memo>, Failure<Memo>> {
        if has_secret {
            let message =
                "it is for volumes alone, and a Secret of this name is still there with its values: delete that";
            let bad = Bad { metric: "unmanaged", reason: "SecretIsThere", message: message.to_owned() };
            return self.cannot(sealed, opening, &bad, keys).await;
        }
        let (versions, is_old) = history(sealed);
        if is_old {
            let object = full_name(sealed);
            tracing::warn!(target: AUDIT, kind = "SealedSecret", object, "an earlier version is applied again");
            let note = "its values, and whom they are for, are those of an earlier version".to_owned();
            self.tell(sealed, Kind::Warning, STEPPED_BACK, note);
        }
        let outcome = Outcome {
            generation: sealed.metadata.generation,
            reason: if is_old { STEPPED_BACK } else { "OpensForVolumes" },
            message: String::new(),
            written: None,
            sealed_with: sealed_with(opening),
            versions: Some(versions),
        };
        self.say(sealed, &outcome).await?;
        Ok(Done::with(Memo { input: input(sealed), did: Did::Opens }))
    }

    async fn say(&self, sealed: &SealedSecret, outcome: &Outcome) -> Result<(), kube::Error> {
        if !self.settings.update_status {
            return Ok(());
        }
        let now = Time(Timestamp::now());
        let Some(status) = status::patch(sealed.status.as_ref(), outcome, &now) else { return Ok(()) };
        let path = SealedSecret::url_path(&(), sealed.metadata.namespace.as_deref());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"metadata": {"uid": sealed.metadata.uid}, "status": status}));
        let mut request = ApiRequest::new(path)
            .patch_subresource("status", &sealed.name_any(), &params, &patch)
            .map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static(METADATA_ONLY));
        match self.client.request::<PartialObjectMeta<SealedSecret>>(request).await {
            Ok(_) => Ok(()),
            // It is gone, or another one of its name is there: nothing to say about it.
            Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
            Err(error) => {
                self.metrics.error("status", &sealed.namespace().unwrap_or_default());
                Err(error)
            }
        }
    }

    fn tell(&self, sealed: &SealedSecret, kind: Kind, reason: &'static str, note: String) {
        let about = sealed.object_ref(&());
        self.events.tell(News { about, kind, reason, action: "Unseal", note });
    }

    /// Says in status, event and metrics that it did not work.
    async fn fail(&self, sealed: &SealedSecret, opening: &Opening, bad: &Bad) -> Result<(), kube::Error> {
        self.metrics.error(bad.metric, &sealed.namespace().unwrap_or_default());
        self.tell(sealed, Kind::Warning, bad.reason, bad.message.clone());
        let outcome = Outcome {
            generation: sealed.metadata.generation,
            reason: bad.reason,
            message: bad.message.clone(),
            written: None,
            sealed_with: sealed_with(opening),
            versions: None,
        };
        self.say(sealed, &outcome).await
    }
}

/// What went wrong.
struct Bad {
    metric: &'static str,
    reason: &'static str,
    message: String,
}

#[async_trait]
impl Controller for SealedSecrets {
    type Object = SealedSecret;
    type Note = Note;
    type Memo = Memo;

    fn name(&self) -> &'static str {
        "sealing"
    }

    fn selectors(&self) -> Selectors {
        Selectors { labels: self.settings.label_selector.clone(), fields: None }
    }

    fn secrets(&self) -> Option<Selectors> {
        let labels = Some(format!("{PLAIN_LABEL} in ({PLAIN_VALUE},{PLAIN_PART})"));
        self.settings.watch_secrets.then_some(Selectors { labels, fields: None })
    }

    fn note(&self, object: &SealedSecret) -> Note {
        self.metrics.objects().see(&ObjectKey::of(&object.metadata), object);
        self.changes.see(object);
        let status = object.status.as_ref();
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let synced = conditions.iter().find(|condition| condition.type_ == SYNCED);
        let written = status.and_then(|status| status.written.as_ref()).map(|written| {
            let input = Input {
                generation: written.generation,
                annotations: u64::from_str_radix(&written.annotations, 16).unwrap_or_default(),
            };
            let seen =
                SecretSeen { uid: written.uid.as_str().into(), version: written.resource_version.as_str().into() };
            (input, seen)
        });
        Note {
            input: input(object),
            observed: status.and_then(|status| status.observed_generation),
            synced: synced.and_then(|condition| match condition.status.as_str() {
                "True" => Some(true),
                "False" => Some(false),
                _ => None,
            }),
            deleting: object.metadata.deletion_timestamp.is_some(),
            for_volumes: delivery(object) == VOLUME,
            written,
        }
    }

    fn due(&self, known: &Known<'_, Note, Memo>) -> Due {
        let Known { note, memo, secret, .. } = known;
        if note.deleting {
            return Due::Nothing;
        }
        let is_there = |written: &SecretSeen| !self.settings.watch_secrets || *secret == Some(written);
        if let Some(memo) = memo.filter(|memo| memo.input == note.input) {
            return match &memo.did {
                Did::Wrote(written) if is_there(written) => Due::Nothing,
                Did::Opens => Due::Nothing,
                Did::Wrote(_) => Fight::due(&mut self.fights(), known.key, Instant::now()),
                Did::CannotOpen(version) if *version == *self.ring.changed().borrow() => Due::Nothing,
                Did::CannotOpen(_) | Did::Failed => Due::Retry,
            };
        }
        if note.synced == Some(false) && note.observed == Some(note.input.generation) && memo.is_none() {
            return Due::Retry;
        }
        if note.for_volumes && note.synced == Some(true) && note.observed == Some(note.input.generation) {
            return Due::Nothing;
        }
        match &note.written {
            Some((input, written)) if *input == note.input && is_there(written) => Due::Nothing,
            None if note.synced.is_none() => Due::First,
            _ => Due::Changed,
        }
    }

    fn slim(&self, object: &mut SealedSecret) {
        slim(object);
    }

    async fn reconcile(&self, job: Job<SealedSecret>) -> Result<Done<Memo>, Failure<Memo>> {
        let sealed = &job.object;
        if sealed.metadata.deletion_timestamp.is_some() {
            // Its Secret goes with it, or stays as it is.
            return Ok(Done { memo: None, again: None, secret: None });
        }
        let input = input(sealed);
        self.metrics.unseal_requests.inc();
        let delivery = delivery(sealed);
        if !["secret", VOLUME].contains(&delivery) {
            // Somebody asked that there be no plain Secret. Writing one would be worse than nothing.
            let message = format!("{DELIVER} is {delivery:?}, which this controller does not do: no Secret is written");
            let bad = Bad { metric: "unseal", reason: "UnknownDelivery", message };
            let keys = *self.ring.changed().borrow();
            return self.cannot(sealed, &Opening::default(), &bad, keys).await;
        }
        let (contents, opening, version) = self.open(sealed).await?;
        self.metrics.opened.inc_by(opening.keys.len() as u64);
        self.metrics.operations.inc_by(opening.operations);
        for (key, values) in count(&opening) {
            self.ring.used(&key, values);
        }
        let Some(contents) = contents else {
            let bad = Bad { metric: "unseal", reason: "ErrUnsealFailed", message: opening.problems.join("; ") };
            return self.cannot(sealed, &opening, &bad, version).await;
        };
        if delivery == VOLUME {
            return self.leave(sealed, &opening, job.secret.is_some(), version).await;
        }
        if let Err(error) = self.settings.forbidden.check(sealed, &contents) {
            let bad = Bad { metric: "unmanaged", reason: "ErrUpdateFailed", message: error.to_string() };
            return self.cannot(sealed, &opening, &bad, version).await;
        }
        let written = write(&self.client, sealed, &contents, job.secret.as_ref()).await;
        drop(contents);
        match written {
            Ok(seen) => {
                let outcome = Outcome {
                    generation: sealed.metadata.generation,
                    reason: "Unsealed",
                    message: String::new(),
                    written: Some(Written {
                        generation: input.generation,
                        annotations: if input.annotations == 0 {
                            String::new()
                        } else {
                            format!("{:x}", input.annotations)
                        },
                        uid: seen.uid.to_string(),
                        resource_version: seen.version.to_string(),
                    }),
                    sealed_with: sealed_with(&opening),
                    versions: None,
                };
                self.say(sealed, &outcome).await?;
                let conditions = sealed.status.iter().flat_map(|status| &status.conditions);
                if conditions.into_iter().any(|condition| condition.type_ == SYNCED && condition.status == "False") {
                    self.tell(sealed, Kind::Normal, "Unsealed", "SealedSecret unsealed successfully".to_owned());
                }
                if Fight::put_right(&mut self.fights(), &job.key, Instant::now()) {
                    let note = "somebody else changes the Secret again and again: it is put right less and less often. Its managedFields say who";
                    self.tell(sealed, Kind::Warning, "SecretContested", note.to_owned());
                    tracing::warn!(object = %job.key, "somebody else changes a Secret again and again");
                }
                let memo = Memo { input, did: Did::Wrote(seen.clone()) };
                Ok(Done { secret: Some(seen), ..Done::with(memo) })
            }
            Err(error) => {
                let metric = if matches!(error, WriteError::Foreign { .. }) { "unmanaged" } else { "update" };
                let bad = Bad { metric, reason: "ErrUpdateFailed", message: error.to_string() };
                let failure = match error {
                    WriteError::Api(error) => Failure::from(error),
                    WriteError::Conflict => {
                        Failure { kind: FailureKind::Conflict, ..Failure::object(bad.message.as_str()) }
                    }
                    _ => Failure::object(bad.message.as_str()),
                };
                if failure.kind == FailureKind::Object {
                    self.fail(sealed, &opening, &bad).await?;
                }
                Err(failure.with_memo(Memo { input, did: Did::Failed }))
            }
        }
    }

    fn unreadable(&self, metadata: &ObjectMeta, reason: &str) {
        let key = ObjectKey::of(metadata);
        tracing::warn!(object = %key, reason, "a SealedSecret cannot be read");
        self.metrics.error("fetch", key.namespace());
        let about = SealedSecret { metadata: metadata.clone(), ..SealedSecret::default() };
        self.tell(&about, Kind::Warning, "ErrUnsealFailed", format!("the object cannot be read: {reason}"));
    }

    fn gone(&self, key: &ObjectKey) {
        self.fights().remove(key);
        self.metrics.objects().forget(key);
        self.changes.gone(key);
    }
}

impl Fight {
    /// What is due about a Secret that was changed by somebody else. Looked at often: a change counts once, when it is put right.
    fn due(fights: &mut HashMap<ObjectKey, Self>, key: &ObjectKey, now: Instant) -> Due {
        let fight = fights.entry(key.clone()).or_insert(Self { times: 0, last: now, next: now, changed: true });
        fight.changed = true;
        match fight.next.saturating_duration_since(now) {
            Duration::ZERO => Due::Changed,
            wait => Due::After(wait),
        }
    }

    /// A Secret was written. Whether it is one that somebody else changes again and again.
    fn put_right(fights: &mut HashMap<ObjectKey, Self>, key: &ObjectKey, now: Instant) -> bool {
        let Some(fight) = fights.get_mut(key).filter(|fight| fight.changed) else { return false };
        fight.changed = false;
        if now.saturating_duration_since(fight.last) > PEACE {
            fight.times = 0;
        }
        fight.times = fight.times.saturating_add(1);
        fight.last = now;
        let contested = fight.times > AT_ONCE;
        if contested {
            fight.next = now + Backoff::OBJECT.after(fight.times - AT_ONCE);
        }
        // The others are those of which somebody may come back.
        fights.retain(|_, fight| fight.changed || now.saturating_duration_since(fight.last) <= PEACE);
        contested
    }
}

/// How the values are to reach whoever needs them.
fn delivery(sealed: &SealedSecret) -> &str {
    sealed.annotations().get(DELIVER).map_or("secret", String::as_str)
}

/// What is in an object and not worked with: a copy of it by kubectl, who set which field, what a template may not say.
fn slim(object: &mut SealedSecret) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    object.spec.template.metadata.other.clear();
}

fn input(object: &SealedSecret) -> Input {
    let mut hash = Sha256::new();
    let mut any = false;
    for name in DECISIVE {
        if let Some(value) = object.annotations().get(name) {
            any = true;
            for part in [name, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let annotations =
        digest.first_chunk().filter(|_| any).map_or(0, |first: &[u8; 8]| u64::from_be_bytes(*first).max(1));
    Input { generation: object.metadata.generation.unwrap_or_default(), annotations }
}

fn sealed_with(opening: &Opening) -> std::collections::BTreeMap<String, String> {
    opening.keys.iter().map(|(item, key)| (item.clone(), key.to_string())).collect()
}

/// How many values each key opened.
fn count(opening: &Opening) -> std::collections::BTreeMap<bulla_format::sealed::Fingerprint, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for key in opening.keys.values() {
        *counts.entry(*key).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_somebody_else_always_changes_is_put_right_less_and_less_often() {
        let (mut fights, key, mut now) = (HashMap::new(), ObjectKey::new("n", "a"), Instant::now());
        // Written for the first time, or because the SealedSecret changed: no fight.
        assert!(!Fight::put_right(&mut fights, &key, now) && fights.is_empty());
        for _ in 0..AT_ONCE {
            assert_eq!(Fight::due(&mut fights, &key, now), Due::Changed);
            assert!(!Fight::put_right(&mut fights, &key, now));
        }
        let mut waits = Vec::new();
        assert_eq!(Fight::due(&mut fights, &key, now), Due::Changed);
        for _ in 0..12 {
            assert!(Fight::put_right(&mut fights, &key, now));
            let Due::After(wait) = Fight::due(&mut fights, &key, now) else { panic!("at once") };
            waits.push(wait);
            now += wait;
            assert_eq!(Fight::due(&mut fights, &key, now), Due::Changed);
        }
        assert!(waits[0] <= Duration::from_secs(1) && waits[11] >= Duration::from_secs(150), "{waits:?}");
        // A write for another reason does not count.
        Fight::put_right(&mut fights, &key, now);
        assert!(!Fight::put_right(&mut fights, &key, now));
        now += PEACE + Duration::from_secs(1);
        assert_eq!(Fight::due(&mut fights, &key, now), Due::Changed);
        assert!(!Fight::put_right(&mut fights, &key, now));
        assert_eq!(Fight::due(&mut fights, &key, now), Due::Changed);
        // What is over is not remembered.
        now += PEACE * 2;
        let other = ObjectKey::new("n", "b");
        Fight::due(&mut fights, &other, now);
        fights.get_mut(&key).unwrap().changed = false;
        Fight::put_right(&mut fights, &other, now);
        assert_eq!(fights.len(), 1);
    }

    #[test]
    fn what_is_not_worked_with_takes_no_memory_while_an_object_waits() {
        let mut object: SealedSecret = serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {
                "name": "a",
                "annotations": {LAST_APPLIED: "{}", "a": "b"},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": {"encryptedData": {"x": "AgA="}, "template": {"metadata": {"labels": {"l": "m"}, "padding": vec![0; 1000]}}},
        }))
        .unwrap();
        let hash = super::super::open::binding(&object).template;
        slim(&mut object);
        assert_eq!(super::super::open::binding(&object).template, hash);
        let text = json!(object).to_string();
        assert!(!["padding", LAST_APPLIED, "kubectl"].iter().any(|gone| text.contains(gone)), "{text}");
        assert!(text.contains("\"a\":\"b\"") && text.contains("\"l\":\"m\""));
    }
}
