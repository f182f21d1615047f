//! Built in: values of Vault or `OpenBao`, read as the pod's own service account.
//!
//! ```yaml
//! parameters:
//!   roleName: app                              # what the pod's token is exchanged for
//!   vaultAddress: https://vault.example.com    # an address that the administrator allows; none: the administrator's
//!   objects: |
//!     - objectName: password                   # the file
//!       secretPath: secret/data/db
//!       secretKey: password                    # without it the file is the whole answer
//! ```
//!
//! What a server leases is renewed while the pod lives, read anew before it ends, and given back when the pod goes (`held`). What it does not lease is
//! read anew whenever contents are due. Pods of one service account that read the same share one reading ([`Shared`]), if the server takes
//! them for the account and for nothing more particular, and if what they read is neither leased nor made for them (written).

mod held;
mod parameters;
mod sessions;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_store::shared::{Bounds, Fetched, IfDown, Origin, Shared};
use bulla_store::vault::{Answer as FarAnswer, Query, Vault, VaultSession};
use bulla_store::{Session, StoreError, StoreErrorKind};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use self::held::{Held, Leased, Remembered};
use self::parameters::{Object, Parameters};
use self::sessions::{Proof, Readings, Sessions, Who, end};
use super::{Answer, Ask, ErrorKind, Provider, ProviderError};
use crate::volume::{Content, File, Limits, ObjectVersion};

/// Its name.
pub const NAME: &str = "vault";
/// How soon it is tried again after the far side was down, and how close two tries may be.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
const SOONEST: SignedDuration = SignedDuration::from_secs(5);
/// How often what is too old is forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// The provider.
pub struct VaultProvider(Arc<Inner>);

struct Inner {
    limits: Limits,
    sessions: Sessions,
    shared: Shared<Key, Readings>,
    volumes: Mutex<HashMap<String, Held>>,
}

/// All that an answer that is shared depends on, as one digest: classes may be large, and many.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key([u8; 32]);

impl Key {
    fn new(who: &Who, class: &str, queries: &[&Query]) -> Self {
        let queries: Vec<_> = queries.iter().map(|query| query.text()).collect();
        // Texts are in quotes: no two questions are written the same.
        Self(Sha256::digest(zeroize::Zeroizing::new(format!("{who:?} {class:?} {queries:?}")).as_bytes()).into())
    }
}

impl VaultProvider {
    /// Reads from these servers. `bounds` says for how long, and how much, is kept of what pods share.
    pub fn new(vault: Vault, limits: Limits, bounds: Bounds) -> Self {
        let size = |readings: &Readings| readings.answers.iter().map(|answer| answer.size()).sum();
        let sessions = Sessions::new(vault, bounds.fresh, 2 * limits.bytes);
        let shared = Shared::new(bounds, size);
        Self(Arc::new(Inner { limits, sessions, shared, volumes: Mutex::default() }))
    }

    /// Forgets what is too old, for ever.
    pub fn sweep(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = Arc::clone(&self.0);
        async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                inner.shared.sweep();
            }
        }
    }
}

#[async_trait]
impl Provider for VaultProvider {
    async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
        let parameters = Parameters::read(ask.parameters).map_err(|why| error(ErrorKind::Invalid, why))?;
        // One call at a time works on a volume.
        let held = self.0.take(ask.place).unwrap_or_default();
        let mut taken = Taken { inner: &self.0, place: ask.place, held };
        self.0.fetch(ask, &parameters, &mut taken.held).await
    }

    fn gone(&self, place: &str) {
        let Some(held) = self.0.take(place) else { return };
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move { inner.give_back(held).await });
    }

    fn is_held(&self, place: &str) -> bool {
        let volumes = self.0.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        volumes.get(place).is_some_and(|held| held.is_live(Timestamp::now()))
    }
}

/// What a volume holds, while it is fetched for. It goes back also where the fetch takes too long and is given up:
/// otherwise nobody would renew its leases, or give them back.
struct Taken<'a> {
    inner: &'a Inner,
    place: &'a str,
    held: Held,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.inner.volumes.lock().unwrap_or_else(PoisonError::into_inner).insert(self.place.to_owned(), held);
    }
}

impl Inner {
    fn take(&self, place: &str) -> Option<Held> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).remove(place)
    }

    async fn fetch(&self, ask: &Ask<'_>, parameters: &Parameters, held: &mut Held) -> Result<Answer, ProviderError> {
        let (now, pod) = (Timestamp::now(), &ask.volume.pod);
        let proof = Proof { uid: &pod.uid, jwt: jwt(ask, &parameters.audience, now)? };
        let who = Who {
            namespace: pod.namespace.clone(),
            account: pod.service_account.clone(),
            connection: parameters.connection.clone(),
            mount: parameters.mount.clone(),
            role: parameters.role.clone(),
            audience: parameters.audience.clone(),
        };
        let remembered = Remembered::read(ask.remembered)
            .map_err(|_| error(ErrorKind::Failed, "the system has no randomness to give".to_owned()))?;
        held.adopt(ask.class, &who, &pod.uid, &remembered, now);
        self.keep(held, &who, proof, now).await;

        let mut queries: Vec<&Query> = Vec::new();
        for object in &parameters.objects {
            if !queries.contains(&&object.query) && held.leased(&object.query).is_none() {
                queries.push(&object.query);
            }
        }
        let mut read = Read { answers: HashMap::new(), is_last_known: false };
        self.read(ask, &who, proof, &queries, held, &mut read).await.map_err(explain)?;
        if held.leased.iter().any(|leased| leased.answer.is_none()) {
            // The values of these leases are in the volume, and nowhere else.
            let others = parameters.objects.iter().filter(|object| held.leased(&object.query).is_none());
            if is_as_mounted(&read, &remembered, others, ask)? {
                let again = held.leased.iter().map(|leased| leased.due().max(soon(now, SOONEST))).min();
                let (versions, remembered) = (ask.current.to_vec(), remembered.write(held));
                return Ok(Answer { versions, remembered, again, ..Answer::default() });
            }
            let unseen = |leased: &Leased| leased.answer.is_none();
            let queries: Vec<&Query> = parameters
                .objects
                .iter()
                .map(|object| &object.query)
                .filter(|query| held.leased(query).is_some_and(unseen))
                .collect();
            held.leased.retain(|leased| leased.answer.is_some());
            let mut distinct: Vec<&Query> = Vec::new();
            for query in queries {
                if !distinct.contains(&query) {
                    distinct.push(query);
                }
            }
            self.read(ask, &who, proof, &distinct, held, &mut read).await.map_err(explain)?;
        }

        let (mut content, mut versions) = (Content::default(), Vec::new());
        for object in &parameters.objects {
            let answer = read.answers.get(&object.query).or_else(|| held.leased(&object.query)?.answer.as_ref());
            let answer =
                answer.ok_or_else(|| error(ErrorKind::Failed, format!("{} was not read", object.query.path())))?;
            let (file, version) = file(object, answer, &remembered, ask.mode)?;
            versions.push(ObjectVersion { id: object.name.clone(), version });
            content.add(&object.name, file, &self.limits).map_err(|why| error(ErrorKind::Invalid, why.to_string()))?;
        }
        let leases = held.leased.iter().map(|leased| leased.due().max(soon(now, SOONEST)));
        let again = leases.chain(read.is_last_known.then(|| soon(now, AGAIN))).min();
        let (remembered, is_last_known) = (remembered.write(held), read.is_last_known);
        Ok(Answer { content: Some(content), versions, remembered, again, is_last_known })
    }

    /// Renews what is due. What ends soon in spite of that is no longer held.
    async fn keep(&self, held: &mut Held, who: &Who, proof: Proof<'_>, now: Timestamp) {
        // In place, one by one: none is lost where this is given up in between.
        for leased in &mut held.leased {
            // Another lease of the same session may have had it extended.
            leased.until = leased.session.as_ref().map_or(leased.until, |session| session.ends());
            if leased.due() <= now {
                self.renew(leased, who, proof, now).await;
            }
        }
        let now = Timestamp::now();
        let ended: Vec<_> = held.leased.extract_if(.., |leased| leased.replaced() <= now).collect();
        for leased in ended {
            held.replace(leased);
        }
    }

    /// Makes a lease last longer, and the session that it hangs on.
    async fn renew(&self, leased: &mut Leased, who: &Who, proof: Proof<'_>, now: Timestamp) {
        if let Some(session) = leased.session.as_ref().filter(|session| session.due().is_some_and(|due| due <= now)) {
            if let Err(error) = session.extend().await {
                tracing::debug!(%error, "a session was not extended");
            }
            leased.until = session.ends();
        }
        if !leased.lease.is_renewable || leased.lease.id.is_empty() {
            return;
        }
        let own = leased.session.clone().filter(|session| session.is_live());
        let renewed = match own {
            Some(own) => own.renew(&leased.lease).await,
            None => match self.sessions.open(who, proof).await {
                Ok(session) => {
                    let renewed = session.renew(&leased.lease).await;
                    self.sessions.keep(who, proof.uid, session);
                    renewed
                }
                Err(error) => Err(error),
            },
        };
        match renewed {
            Ok(renewed) => leased.lease = renewed,
            // It is gone; what the far side cannot say now may still be good.
            Err(error) if error.kind != StoreErrorKind::Unavailable => {
                tracing::info!(%error, "a lease was not renewed");
                leased.lease.is_renewable = false;
                leased.lease.duration = Duration::ZERO;
            }
            Err(error) => tracing::debug!(%error, "a lease was not renewed"),
        }
    }

    /// Reads, for all pods of the account if that may be.
    async fn read(
        &self,
        ask: &Ask<'_>,
        who: &Who,
        proof: Proof<'_>,
        queries: &[&Query],
        held: &mut Held,
        read: &mut Read,
    ) -> Result<(), StoreError> {
        if queries.is_empty() {
            return Ok(());
        }
        let readings = if queries.iter().all(|query| query.method().is_read()) {
            let key = Key::new(who, ask.class, queries);
            // What is mounted stays in any case; who has nothing yet is helped by what was good a while ago.
            let if_down = if ask.remembered.is_empty() { IfDown::LastKnown } else { IfDown::Fail };
            let fetch = async {
                let readings = self.sessions.read(who, proof, queries).await?;
                Ok(if readings.is_for_all { Fetched::ForAll(readings) } else { Fetched::ForOne(readings) })
            };
            let (readings, origin) = self.shared.get(&key, if_down, fetch).await?;
            if let Origin::LastKnown(error) = origin {
                let pod = &ask.volume.pod;
                tracing::warn!(%pod, %error, "the far side is down: a pod gets what its service account was given last");
                read.is_last_known = true;
            }
            readings
        } else {
            Arc::new(self.sessions.read(who, proof, queries).await?)
        };
        for (&query, answer) in queries.iter().zip(&readings.answers) {
            match (answer.lease(), &readings.session) {
                (Some(lease), Some(session)) => {
                    held.leased.push(Leased::new(query, lease, Arc::clone(answer), Arc::clone(session)));
                }
                _ => drop(read.answers.insert(query.clone(), Arc::clone(answer))),
            }
        }
        Ok(())
    }

    /// Gives back what was held for a pod that is gone.
    async fn give_back(&self, held: Held) {
        let Held { who, leased, former, .. } = held;
        let Some((who, uid)) = who else { return };
        let is_last = {
            let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
            !volumes.values().any(|held| held.who.as_ref().is_some_and(|(other, _)| *other == who))
        };
        let mut own: Vec<(Arc<VaultSession>, Vec<String>)> = Vec::new();
        let mut orphans = Vec::new();
        for leased in leased {
            let Some(session) = leased.session else {
                orphans.push(leased.lease.id);
                continue;
            };
            match own.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &session)) {
                Some((_, leases)) => leases.push(leased.lease.id),
                None => own.push((session, vec![leased.lease.id])),
            }
        }
        own.extend(former.into_iter().map(|session| (session, Vec::new())));
        for (session, leases) in own {
            match Arc::try_unwrap(session) {
                Ok(session) => end(&session).await,
                // Another volume's leases hang on it, too.
                Err(session) => revoke(&session, &leases).await,
            }
        }
        // Of a service before this one: their own session is unknown. Whoever else the pod is may end them, if a policy says so.
        if !orphans.is_empty()
            && let Some(session) = self.sessions.known(&who, &uid)
        {
            revoke(&session, &orphans).await;
            self.sessions.keep(&who, &uid, session);
        }
        for session in self.sessions.take(&who, &uid, is_last) {
            end(&session).await;
        }
    }
}

/// What was read for a volume.
struct Read {
    answers: HashMap<Query, Arc<FarAnswer>>,
    is_last_known: bool,
}

async fn revoke(session: &VaultSession, leases: &[String]) {
    for lease in leases.iter().filter(|lease| !lease.is_empty()) {
        if let Err(error) = session.revoke(lease).await {
            tracing::info!(%error, "a lease was not given back, and ends by itself");
        }
    }
}

/// Whether these files are mounted as they would be written now.
fn is_as_mounted<'a>(
    read: &Read,
    remembered: &Remembered,
    mut objects: impl Iterator<Item = &'a Object>,
    ask: &Ask<'_>,
) -> Result<bool, ProviderError> {
    let mounted: BTreeMap<&str, &str> =
        ask.current.iter().map(|version| (version.id.as_str(), version.version.as_str())).collect();
    objects.try_fold(true, |is_so_far, object| {
        let Some(answer) = read.answers.get(&object.query) else { return Ok(false) };
        let (_, version) = file(object, answer, remembered, ask.mode)?;
        Ok(is_so_far && mounted.get(object.name.as_str()) == Some(&version.as_str()))
    })
}

/// A file, and its version.
fn file(
    object: &Object,
    answer: &FarAnswer,
    remembered: &Remembered,
    mode: u32,
) -> Result<(File, String), ProviderError> {
    let path = object.query.path();
    let value = match &object.key {
        None => answer.whole(),
        Some(key) => answer.value(key).map_err(|known| {
            let known: Vec<String> = known.iter().take(20).map(|key| format!("{key:.60}")).collect();
            let has = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            error(ErrorKind::NotFound, format!("object {:?}: {path} has no key {key:?}; it has {has}", object.name))
        })?,
    };
    let contents = object.encoding.decode(value).map_err(|encoding| {
        error(ErrorKind::Invalid, format!("object {:?}: the value at {path} is not {encoding}", object.name))
    })?;
    let version = remembered.version(&object.name, answer.version(), &contents);
    Ok((File { mode: object.mode.unwrap_or(mode), contents }, version))
}

/// The pod's token for the far side.
fn jwt<'a>(ask: &'a Ask<'_>, audience: &str, now: Timestamp) -> Result<&'a bulla_core::SecretString, ProviderError> {
    let token = ask.volume.tokens.get(audience).ok_or_else(|| {
        let message = format!("the kubelet gives no token of the pod for the audience {audience:?}: the CSIDriver object has to ask for one, tokenRequests: [{{audience: {audience}}}]");
        error(ErrorKind::Invalid, message)
    })?;
    if token.expires <= now {
        let message = "the pod's token has run out; the kubelet gives another one when it asks again".to_owned();
        return Err(error(ErrorKind::Unavailable, message));
    }
    Ok(&token.token)
}

fn soon(now: Timestamp, after: SignedDuration) -> Timestamp {
    now.checked_add(after).unwrap_or(now)
}

fn explain(failed: StoreError) -> ProviderError {
    let kind = match failed.kind {
        StoreErrorKind::Invalid => ErrorKind::Invalid,
        StoreErrorKind::Denied => ErrorKind::Denied,
        StoreErrorKind::NotFound => ErrorKind::NotFound,
        StoreErrorKind::Unavailable => ErrorKind::Unavailable,
        StoreErrorKind::Failed => ErrorKind::Failed,
    };
    ProviderError { retry_after: failed.retry_after, ..error(kind, failed.message) }
}

fn error(kind: ErrorKind, message: String) -> ProviderError {
    ProviderError { provider: NAME.to_owned(), message, kind, retry_after: None }
}
