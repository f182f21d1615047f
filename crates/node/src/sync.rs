//! Secrets of mounted files: what a class's `secretObjects` name is sent to the operator, which writes it.
//!
//! It is sent whenever contents were fetched, beside the work: a pod does not wait for it (a container that takes a variable from the Secret is started by
//! the kubelet once that is there). What was sent a moment ago is not sent again. So a Secret never goes back to something older: what is sent is always what a
//! provider has just said.
//!
//! Files of a provider of old, which writes them itself, are not seen here, and become no Secrets.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::{SecretBytes, SecretString};
use bulla_kube::api::secret_provider_class::SecretObject;
use bulla_kube::events::{Events, Kind, News};
use bulla_store::sealed::Authority;
use bulla_store::sealed::protocol::{Code, POD_AUDIENCE};
use k8s_openapi::api::core::v1::ObjectReference;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::publish::{Report, Reports};
use crate::volume::Content;

/// How long what was sent is not sent again.
const REMEMBERED: Duration = Duration::from_mins(5);
/// How many are sent at once.
const AT_ONCE: usize = 4;
/// How often one is tried that the operator cannot take now, and how long until the first time after; twice as long until the next.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_secs(2);

/// A namespace, a class, a Secret.
type Name = (String, String, String);
/// What each had, by a digest, and when it was sent.
type Sent = HashMap<Name, ([u8; 32], Instant)>;

/// Tells what is mounted to whom it was told, and has Secrets made of it.
pub struct Synced<R> {
    told: Arc<R>,
    authority: Option<Arc<Authority>>,
    events: Events,
    metrics: Metrics,
    places: Arc<Semaphore>,
    sent: Arc<Mutex<Sent>>,
}

/// One Secret, on its way.
struct Job {
    pod: Pod,
    token: SecretString,
    name: Name,
    digest: [u8; 32],
    data: BTreeMap<String, SecretBytes>,
}

impl<R: Reports> Synced<R> {
    /// Tells `told`; without an authority no Secret is made.
    pub fn new(told: Arc<R>, authority: Option<Authority>, events: Events, metrics: Metrics) -> Self {
        let (places, sent) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::default());
        Self { told, authority: authority.map(Arc::new), events, metrics, places, sent }
    }

    /// Sends the Secrets of a volume, beside whatever else is done.
    fn send(&self, authority: &Arc<Authority>, report: &Report<'_>, objects: &[SecretObject], content: &Content) {
        let volume = &report.request.volume;
        for object in objects {
            let secret = object.secret_name.clone().unwrap_or_default();
            let name = (volume.pod.namespace.clone(), volume.class.clone(), secret);
            let job = data(object, content).and_then(|data| {
                let token = volume.tokens.get(POD_AUDIENCE).ok_or_else(|| {
                    format!(
                        "the CSIDriver object has to ask for a token, tokenRequests: [{{audience: {POD_AUDIENCE}}}]"
                    )
                })?;
                let token = token.token.clone();
                Ok(Job { pod: volume.pod.clone(), token, name: name.clone(), digest: digest(&data), data })
            });
            match job {
                Ok(job) if self.is_sent(&job) => {}
                Ok(job) => {
                    let (authority, places, sent) = (authority.clone(), self.places.clone(), self.sent.clone());
                    let (events, metrics) = (self.events.clone(), self.metrics.clone());
                    tokio::spawn(async move {
                        match work(&authority, &places, &job).await {
                            Ok(()) => {
                                metrics.count_secret();
                                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                                sent.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
                                sent.insert(job.name, (job.digest, Instant::now()));
                            }
                            Err(reason) => complain(&events, &job.pod, &job.name, &reason),
                        }
                    });
                }
                Err(reason) => complain(&self.events, &volume.pod, &name, &reason),
            }
        }
    }

    fn is_sent(&self, job: &Job) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&job.name).is_some_and(|(digest, at)| *digest == job.digest && at.elapsed() < REMEMBERED)
    }
}

#[async_trait]
impl<R: Reports> Reports for Synced<R> {
    async fn tell(&self, report: Report<'_>) {
        if let (Some(authority), Some(class), Some(content)) = (&self.authority, report.class, report.content) {
            self.send(authority, &report, &class.secrets, content);
        }
        self.told.tell(report).await;
    }

    async fn gone(&self, target: &str) {
        self.told.gone(target).await;
    }
}

/// The keys of a Secret and the files that they are made of.
fn data(object: &SecretObject, content: &Content) -> Result<BTreeMap<String, SecretBytes>, String> {
    let mut data = BTreeMap::new();
    for entry in &object.data {
        let (Some(file), Some(key)) = (entry.object_name.as_deref(), &entry.key) else {
            return Err("an entry of its data has no objectName or no key".to_owned());
        };
        let contents = content.file(file).ok_or_else(|| format!("the volume has no file {file:?}"))?;
        if data.insert(key.clone(), contents.contents.clone()).is_some() {
            return Err(format!("its data names the key {key:?} twice"));
        }
    }
    Ok(data)
}

fn digest(data: &BTreeMap<String, SecretBytes>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (key, value) in data {
        for bytes in [key.as_bytes(), value.expose()] {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
    hash.finalize().into()
}

/// Sends one until it is written, or cannot be.
async fn work(authority: &Authority, places: &Semaphore, job: &Job) -> Result<(), String> {
    let mut pause = PAUSE;
    for last in (1..=TRIES).map(|tries| tries == TRIES) {
        let done = {
            let _place = places.acquire().await.map_err(|error| error.to_string())?;
            authority.sync(&job.token, &job.name.1, &job.name.2, &job.data).await
        };
        match done {
            Ok(()) => return Ok(()),
            Err(error) if error.code() == Code::Unavailable && !last => {
                tracing::debug!(%error, "a Secret is sent again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn complain(events: &Events, pod: &Pod, (namespace, class, secret): &Name, reason: &str) {
    tracing::warn!(%pod, class, secret, reason, "no Secret was made of a volume");
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(pod.name.clone()),
        namespace: Some(namespace.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    };
    let note = format!("Secret {secret} was not made of what {class} has: {reason}");
    events.tell(News { about, kind: Kind::Warning, reason: "SecretSyncFailed", action: "Sync", note });
}

#[cfg(test)]
mod tests {
    use bulla_kube::api::secret_provider_class::SecretObjectData;

    use super::*;
    use crate::volume::{File, Limits};

    #[test]
    fn a_secret_has_the_files_that_its_class_names_and_no_others() {
        let mut content = Content::default();
        for (path, contents) in [("a", "1"), ("b/c", "2"), ("d", "3")] {
            let file = File { mode: 0o400, contents: SecretBytes::from(contents.as_bytes()) };
            content.add(path, file, &Limits::default()).unwrap();
        }
        let object = |entries: &[(Option<&str>, Option<&str>)]| SecretObject {
            data: entries
                .iter()
                .map(|(file, key)| SecretObjectData {
                    object_name: file.map(str::to_owned),
                    key: key.map(str::to_owned),
                })
                .collect(),
            ..SecretObject::default()
        };
        let two = data(&object(&[(Some("b/c"), Some("x")), (Some("a"), Some("y"))]), &content).unwrap();
        assert_eq!(two.keys().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(two["x"].expose(), b"2");
        let other = data(&object(&[(Some("b/c"), Some("y")), (Some("a"), Some("x"))]), &content).unwrap();
        assert_ne!(digest(&two), digest(&other));
        for wrong in [
            vec![(Some("e"), Some("x"))],
            vec![(None, Some("x"))],
            vec![(Some("a"), None)],
            vec![(Some("a"), Some("x")), (Some("d"), Some("x"))],
        ] {
            assert!(data(&object(&wrong), &content).is_err(), "{wrong:?}");
        }
    }
}
