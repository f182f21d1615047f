//! SealedSecrets for volumes: opened for one pod at a time, never made into a Secret.
//!
//! An object with `bulla.dev/deliver: volume` is for pods of its own namespace whose service account `bulla.dev/service-accounts` names. The
//! node service asks for it when it mounts ([`bulla_store::sealed`] has the protocol); here it is decided:
//!
//! 1. The node service and the pod: their tokens say that the one runs on the other's node ([`crate::nodes`]).
//! 2. The object: in the pod's namespace, for volumes, for this service account. Both annotations are in the associated data of hybrid
//!    values, so that who may edit the object cannot widen it; RSA values are held to their scope alone.
//!
//! The answer has this object's values and goes over TLS with a [certificate](tls) that the API server vouches for. Every opening and every
//! refusal is a line of the audit log: who, what, which node, never a value.
//!
//! ConfigMaps of [sops files](sops) are opened in the same way.
//!
//! Nodes hear of [changes](changes::Changes) of what they have mounted.

pub mod changes;
pub(crate) mod http;
pub mod maps;
pub mod sops;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use bulla_kube::api::SealedSecret;
use bulla_kube::client::{describe, is_unreachable};
use bulla_store::sealed::protocol::{Code, Kind, Refused, Wanted};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::open::{Contents, OldData, Patience, contents, full_name};
use super::ring::KeyRing;
use crate::nodes::{Nodes, Pod};
use changes::Changes;
use maps::Maps;
use sops::Sops;

/// On a SealedSecret: what becomes of it, `secret` or `volume`.
pub const DELIVER: &str = "bulla.dev/deliver";
/// On a SealedSecret for volumes: the service accounts whose pods may have it, with commas between; none is nobody.
pub const SERVICE_ACCOUNTS: &str = "bulla.dev/service-accounts";
/// The value of [`DELIVER`] that is meant here.
pub const VOLUME: &str = "volume";

/// How many requests are opened for at once: each may have some MiB in memory.
const ANSWERS: usize = 8;
/// What audit lines are found by.
pub(super) const AUDIT: &str = "bulla::audit";
/// How long the values of one object are opened.
const WORK_TIME: Duration = Duration::from_secs(20);
/// How many versions of an object are remembered.
const REMEMBERED: usize = 50;
/// How many nodes' questions are kept open at once by a replica. The others are answered at once, and ask again in a while.
const QUESTIONS: usize = 128;

/// Whoever decides and opens.
pub struct Delivery {
    client: Client,
    ring: Arc<dyn KeyRing>,
    nodes: Nodes,
    cores: Arc<Semaphore>,
    sops: Option<(Sops, Maps)>,
    changes: Arc<Changes>,
    /// Whether all objects have been seen.
    complete: Box<dyn Fn() -> bool + Send + Sync>,
    questions: Semaphore,
    answers: Semaphore,
}

/// An object that was opened, or that need not be.
struct Opened {
    name: String,
    version: String,
    contents: Option<Contents>,
}

impl Delivery {
    /// Opens with these keys for nodes whose service has one of these service accounts, `NAMESPACE/NAME`. `complete` says whether all objects have
    /// been seen that `changes` tells of.
    pub fn new(
        client: Client,
        ring: Arc<dyn KeyRing>,
        node_services: impl IntoIterator<Item = (String, String)>,
        changes: Arc<Changes>,
        complete: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            nodes: Nodes::new(client.clone(), node_services),
            client,
            ring,
            cores: Arc::new(Semaphore::new(cores)),
            sops: None,
            changes,
            complete: Box::new(complete),
            questions: Semaphore::new(QUESTIONS),
            answers: Semaphore::new(ANSWERS),
        }
    }

    /// Also sops files in ConfigMaps, of whose changes it hears by `maps`.
    #[must_use]
    pub fn with_sops(self, sops: Sops, maps: Maps) -> Self {
        Self { sops: Some((sops, maps)), ..self }
    }

    /// Opens one object for a pod, unless it is there in its version.
    async fn open(&self, pod: &Pod, wanted: &Wanted) -> Result<Opened, Refused> {
        match wanted.kind {
            Kind::SealedSecret => self.open_sealed(pod, &wanted.name, wanted.version.as_deref()).await,
            Kind::ConfigMap => self.open_sops(pod, &wanted.name, wanted.version.as_deref()).await,
        }
    }

    async fn open_sops(&self, pod: &Pod, name: &str, there: Option<&str>) -> Result<Opened, Refused> {
        let Some((sops, _)) = &self.sops else {
            let message = "this operator opens no sops files: it has to be told the keys for them (--sops-key)";
            return Err(refused(Code::Denied, message.to_owned()));
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &pod.namespace);
        let map = api.get_opt(name).await.map_err(|error| unreadable("ConfigMap", &pod.namespace, name, &error))?;
        let missing = || refused(Code::NotFound, format!("ConfigMap {}/{name} does not exist", pod.namespace));
        let map = map.filter(|map| map.metadata.deletion_timestamp.is_none()).ok_or_else(missing)?;
        sops::may_have(&map, &pod.service_account)?;
        let version = maps::version(&map.metadata);
        if there == Some(version.as_str()) {
            return Ok(Opened { name: name.to_owned(), version, contents: None });
        }
        let data = sops.open(pod, &map, &self.cores).await?;
        let contents = Contents { data, ..Contents::default() };
        Ok(Opened { name: name.to_owned(), version, contents: Some(contents) })
    }

    async fn open_sealed(&self, pod: &Pod, name: &str, there: Option<&str>) -> Result<Opened, Refused> {
        let api: Api<SealedSecret> = Api::namespaced(self.client.clone(), &pod.namespace);
        let sealed =
            api.get_opt(name).await.map_err(|error| unreadable("SealedSecret", &pod.namespace, name, &error))?;
        let missing = || refused(Code::NotFound, format!("SealedSecret {}/{name} does not exist", pod.namespace));
        let sealed = sealed.filter(|sealed| sealed.metadata.deletion_timestamp.is_none()).ok_or_else(missing)?;
        may_have(&sealed, &pod.service_account)?;
        let version = version(&sealed);
        if there == Some(version.as_str()) {
            return Ok(Opened { name: name.to_owned(), version, contents: None });
        }
        let (keys, object) = (self.ring.snapshot(), full_name(&sealed));
        if keys.keys().is_empty() {
            return Err(refused(Code::Unavailable, "no sealing key is open yet".to_owned()));
        }
        let busy = |_| refused(Code::Unavailable, "the operator ends".to_owned());
        let core = self.cores.clone().acquire_owned().await.map_err(busy)?;
        // Dropped with this future: who has gone away is not worked for.
        let (patience, _waiting) = Patience::new();
        let work = tokio::task::spawn_blocking(move || {
            let _core = core;
            contents(&sealed, &keys, OldData::Refused, &patience.begin(WORK_TIME))
        });
        let (contents, opening) =
            work.await.map_err(|_| refused(Code::Unavailable, "opening ended before it was done".to_owned()))?;
        let contents = contents.ok_or_else(|| {
            refused(Code::DoesNotOpen, format!("SealedSecret {object}: {}", opening.problems.join("; ")))
        })?;
        Ok(Opened { name: name.to_owned(), version, contents: Some(contents) })
    }
}

/// Whether pods of a service account may have an object.
fn may_have(sealed: &SealedSecret, service_account: &str) -> Result<(), Refused> {
    let annotation = |name: &str| sealed.annotations().get(name).map(String::as_str).unwrap_or_default();
    let object = full_name(sealed);
    if annotation(DELIVER) != VOLUME {
        let message =
            format!("SealedSecret {object} is not for volumes: seal it with the annotation {DELIVER}: {VOLUME}");
        return Err(refused(Code::Denied, message));
    }
    if annotation(SERVICE_ACCOUNTS).split(',').any(|name| name.trim() == service_account) {
        return Ok(());
    }
    let message = format!(
        "SealedSecret {object} is not for service account {service_account}: seal it with that name in the annotation {SERVICE_ACCOUNTS}"
    );
    Err(refused(Code::Denied, message))
}

/// Another one when the values, or who may have them, changed; the same after a status was written.
fn version(sealed: &SealedSecret) -> String {
    format!("{}-{}", sealed.metadata.generation.unwrap_or_default(), digest(sealed))
}

/// The same for the same values, for the same accounts.
pub(super) fn digest(sealed: &SealedSecret) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    add(sealed.metadata.uid.as_deref().unwrap_or_default());
    for name in [DELIVER, SERVICE_ACCOUNTS] {
        add(sealed.annotations().get(name).map(String::as_str).unwrap_or_default());
    }
    for (item, value) in &sealed.spec.encrypted_data {
        add(item);
        add(value);
    }
    for (key, template) in &sealed.spec.template.data {
        add(key);
        add(template);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an object was before and is now, the latest last, and whether it is one of before once more. Every sealing gives other
/// ciphertext, also of the same values.
pub(super) fn history(sealed: &SealedSecret) -> (Vec<String>, bool) {
    let now = digest(sealed);
    let before = sealed.status.as_ref().map(|status| status.versions.as_slice()).unwrap_or_default();
    if before.last() == Some(&now) {
        return (before.to_vec(), false);
    }
    let mut versions: Vec<String> = before.iter().filter(|version| **version != now).cloned().collect();
    let is_old = versions.len() < before.len();
    versions.drain(..versions.len().saturating_sub(REMEMBERED - 1));
    versions.push(now);
    (versions, is_old)
}

const fn refused(code: Code, message: String) -> Refused {
    Refused { code, message }
}

fn unreadable(kind: &str, namespace: &str, name: &str, error: &kube::Error) -> Refused {
    let code = if is_unreachable(error) { Code::Unavailable } else { Code::Denied };
    refused(code, format!("{kind} {namespace}/{name} cannot be read: {}", describe(error)))
}

#[cfg(test)]
mod tests;
