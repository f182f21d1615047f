//! What is mounted, told to the API server: `SecretProviderClassPodStatus` objects, events, metrics.
//!
//! It is told beside the work. A pod does not wait for it, and what cannot be told now is told later, the last word of each object alone.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_kube::api::SecretProviderClassPodStatus;
use bulla_kube::api::secret_provider_class_pod_status::{MountedObject, NODE_LABEL, PodStatus};
use bulla_kube::backoff::Backoff;
use bulla_kube::client::describe;
use bulla_kube::events::{Events, Kind, News};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::publish::{Outcome, Report, Reports};

/// Who writes.
const FIELD_MANAGER: &str = "bulla-node";
/// How many are written at once: a node's pods start together, and the API server has other things to do then.
const AT_ONCE: usize = 2;
/// It is written when nothing more was to be told for so long: pods that start together have the processors, and the API server, first.
const TOGETHER: Duration = Duration::from_millis(500);
/// So long at most.
const LATEST: Duration = Duration::from_secs(5);
/// The longest name of an object.
const LONGEST: usize = 253;

/// Tells what is mounted.
pub struct Statuses {
    client: Client,
    node: String,
    events: Events,
    metrics: Metrics,
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    /// What is to be written, by volume.
    waiting: HashMap<String, SecretProviderClassPodStatus>,
    /// What was, by volume, as a hash.
    written: HashMap<String, u64>,
    /// When something was last told.
    told: Option<Instant>,
}

impl Statuses {
    /// Of the node of this name.
    pub fn new(client: Client, node: &str, events: Events, metrics: Metrics) -> Self {
        let node = node.to_owned();
        Self { client, node, events, metrics, state: Mutex::default(), more: Notify::new() }
    }

    /// Writes what is to be written, until dropped.
    pub async fn run(&self) {
        let mut failures = 0;
        loop {
            self.more.notified().await;
            self.rest().await;
            let batch = {
                let mut state = self.lock();
                let batch = std::mem::take(&mut state.waiting);
                // Of a volume that goes meanwhile nothing is left here.
                state.written.extend(batch.iter().map(|(target, object)| (target.clone(), hash(object))));
                batch
            };
            let failed: Vec<_> = futures_util::stream::iter(batch)
                .map(|(target, object)| async move {
                    match self.write(&object).await {
                        Ok(()) => None,
                        Err(error) => {
                            let name = object.metadata.name.clone().unwrap_or_default();
                            tracing::warn!(name, error = describe(&error), "what is mounted could not be told; again");
                            Some((target, object))
                        }
                    }
                })
                .buffer_unordered(AT_ONCE)
                .filter_map(|failed| async { failed })
                .collect()
                .await;
            if failed.is_empty() {
                failures = 0;
                continue;
            }
            failures += 1;
            {
                let mut state = self.lock();
                for (target, object) in failed {
                    state.written.remove(&target);
                    // What was said since is newer.
                    state.waiting.entry(target).or_insert(object);
                }
            }
            tokio::time::sleep(Backoff::CONNECTION.after(failures)).await;
            self.more.notify_one();
        }
    }

    /// Writes what is still to be written, at the end: the next process would not tell it.
    pub async fn flush(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        let write = async |object: SecretProviderClassPodStatus| self.write(&object).await.is_err();
        let all = futures_util::stream::iter(waiting.into_values()).map(write).buffer_unordered(AT_ONCE);
        let failed = tokio::time::timeout(LATEST, all.filter(|failed| std::future::ready(*failed)).count()).await;
        if failed != Ok(0) {
            tracing::warn!("what is mounted could not be told before the end");
        }
    }

    /// Waits until nothing more is told, for a while.
    async fn rest(&self) {
        let latest = Instant::now() + LATEST;
        loop {
            let told = self.lock().told;
            let rested = told.map_or(Instant::now(), |told| told + TOGETHER).min(latest);
            if rested <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(rested).await;
        }
    }

    async fn write(&self, object: &SecretProviderClassPodStatus) -> kube::Result<()> {
        let (Some(namespace), Some(name)) = (&object.metadata.namespace, &object.metadata.name) else { return Ok(()) };
        let api: Api<SecretProviderClassPodStatus> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "metadata": object.metadata,
            "status": object.status,
        });
        match api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await {
            // The namespace is being removed, and the pod with it.
            Err(kube::Error::Api(status)) if status.code == 404 || status.reason == "NamespaceTerminating" => Ok(()),
            written => written.map(drop),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, report: &Report<'_>) -> SecretProviderClassPodStatus {
        let volume = &report.request.volume;
        let pod = &volume.pod;
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            ..OwnerReference::default()
        };
        let metadata = ObjectMeta {
            name: Some(format!("{}-{}-{}", pod.name, pod.namespace, volume.class)),
            namespace: Some(pod.namespace.clone()),
            labels: Some(BTreeMap::from([(NODE_LABEL.to_owned(), self.node.clone())])),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        let object = |version: &crate::volume::ObjectVersion| MountedObject {
            id: version.id.clone(),
            version: version.version.clone(),
        };
        let status = PodStatus {
            pod_name: pod.name.clone(),
            secret_provider_class_name: volume.class.clone(),
            mounted: true,
            target_path: report.request.path.clone(),
            objects: report.versions.iter().map(object).collect(),
        };
        SecretProviderClassPodStatus { metadata, status }
    }

    fn tell_event(&self, report: &Report<'_>) {
        let (kind, reason, note) = match &report.outcome {
            Outcome::Changed => {
                let note = format!("what {} has changed is mounted", report.request.volume.class);
                (Kind::Normal, "MountRotationComplete", note)
            }
            Outcome::Stale(error) => {
                (Kind::Warning, "MountRotationFailed", format!("what was mounted before stays: {error}"))
            }
            // The kubelet tells what was not mounted itself.
            Outcome::Mounted | Outcome::Unchanged | Outcome::Failed(_) => return,
        };
        let pod = &report.request.volume.pod;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectReference::default()
        };
        self.events.tell(News { about, kind, reason, action: "Mount", note });
    }
}

/// Of all that is written.
fn hash(object: &SecretProviderClassPodStatus) -> u64 {
    let mut hash = DefaultHasher::new();
    // Writing to memory does not fail.
    serde_json::to_vec(object).unwrap_or_default().hash(&mut hash);
    hash.finish()
}

#[async_trait]
impl Reports for Statuses {
    async fn tell(&self, report: Report<'_>) {
        let pod = &report.request.volume.pod;
        let class = &report.request.volume.class;
        match &report.outcome {
            Outcome::Failed(error) => tracing::warn!(%pod, class, %error, "a volume was not mounted"),
            Outcome::Stale(error) => tracing::warn!(%pod, class, %error, "a volume stays as it was"),
            Outcome::Mounted => tracing::info!(%pod, class, "a volume was mounted"),
            Outcome::Changed => tracing::info!(%pod, class, "a volume was brought up to date"),
            Outcome::Unchanged => tracing::debug!(%pod, class, "a volume is up to date"),
        }
        self.metrics.count(&report);
        self.tell_event(&report);
        if matches!(report.outcome, Outcome::Failed(_)) {
            return;
        }
        let object = self.object(&report);
        if object.metadata.name.as_ref().is_some_and(|name| name.len() > LONGEST) {
            tracing::warn!(%pod, class, "the names of pod, namespace and class are too long for a status object");
            return;
        }
        let target = &report.request.target;
        let mut state = self.lock();
        let is_said = match state.waiting.get(target) {
            Some(waiting) => *waiting == object,
            None => state.written.get(target) == Some(&hash(&object)),
        };
        if !is_said {
            state.waiting.insert(target.clone(), object);
            state.told = Some(Instant::now());
            self.more.notify_one();
        }
    }

    async fn gone(&self, target: &str) {
        self.metrics.count_gone();
        let mut state = self.lock();
        // The objects belong to their pods, and go with them.
        state.waiting.remove(target);
        state.written.remove(target);
    }
}
