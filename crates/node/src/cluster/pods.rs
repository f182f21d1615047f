//! The pods of this node: which user their containers run as, and whether they ask for what is new.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_kube::Selectors;
use bulla_kube::api::secret_provider_class::REFRESH;
use bulla_kube::gate::Gate;
use bulla_kube::watch::{Seen, objects};
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::Client;
use tokio::sync::{mpsc, watch};

use crate::csi::Users;
use crate::pod::Pod;
use crate::publish::Publisher;

/// How long a volume waits for its pod to be seen: the kubelet saw it first.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many volumes of a pod are fetched anew at once.
const AT_ONCE: usize = 8;
/// Of how many pods.
const PODS_AT_ONCE: usize = 32;

/// The pods of this node, watched.
pub struct NodePods {
    client: Client,
    node: String,
    gate: Arc<Gate>,
    known: Mutex<HashMap<String, Note>>,
    seen: watch::Sender<u64>,
    asks: mpsc::UnboundedSender<String>,
}

/// What is remembered of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    user: u32,
    /// What its annotation [`REFRESH`] says.
    refresh: Option<String>,
}

impl NodePods {
    /// Of the node of this name; and where it is told which pods ask for what is new, by uid: what [`follow`] wants.
    pub fn new(client: Client, node: &str, gate: Arc<Gate>) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let (known, seen) = (Mutex::default(), watch::Sender::default());
        (Self { client, node: node.to_owned(), gate, known, seen, asks }, asked)
    }

    /// Watches them, for ever.
    pub async fn run(&self) {
        let selectors = Selectors { labels: None, fields: Some(format!("spec.nodeName={}", self.node)) };
        let mut before = None;
        objects::<KubePod>(self.client.clone(), None, selectors, &self.gate, |event| {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Seen::Begin => before = Some(known.keys().cloned().collect::<HashSet<String>>()),
                Seen::Object(pod) => {
                    let Some(uid) = pod.metadata.uid.clone() else { return };
                    if let Some(before) = &mut before {
                        before.remove(&uid);
                    }
                    let new = note(&pod);
                    let asks = known.get(&uid).is_some_and(|old| old.refresh != new.refresh);
                    known.insert(uid.clone(), new);
                    if asks {
                        // An error is the process' end.
                        let _ = self.asks.send(uid);
                    }
                }
                Seen::Unreadable(metadata, _) | Seen::Gone(metadata) => {
                    if let Some(uid) = &metadata.uid {
                        known.remove(uid);
                    }
                }
                Seen::Complete => {
                    for gone in before.take().into_iter().flatten() {
                        known.remove(&gone);
                    }
                }
            }
            drop(known);
            self.seen.send_modify(|seen| *seen += 1);
        })
        .await;
    }

    fn known(&self, uid: &str) -> Option<u32> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(uid).map(|note| note.user)
    }
}

/// Has fetched anew what pods have mounted that ask for it; until there is nobody left who could.
pub async fn follow(mut asked: mpsc::UnboundedReceiver<String>, publisher: &Publisher) {
    // One pod whose far side is slow holds up no other.
    let mut renewing = FuturesUnordered::new();
    loop {
        tokio::select! {
            asks = asked.recv(), if renewing.len() < PODS_AT_ONCE => {
                let Some(uid) = asks else { return };
                let volumes = publisher.mounted_for(&uid);
                tracing::info!(uid, volumes = volumes.len(), "a pod asks for what is new");
                renewing.push(renew(publisher, volumes));
            }
            Some(()) = renewing.next() => {}
        }
    }
}

async fn renew(publisher: &Publisher, volumes: Vec<String>) {
    let renew = |target: String| async move { publisher.renew(&target).await };
    stream::iter(volumes).for_each_concurrent(AT_ONCE, renew).await;
}

#[async_trait]
impl Users for NodePods {
    async fn user(&self, pod: &Pod) -> Option<u32> {
        let mut seen = self.seen.subscribe();
        let known = async {
            loop {
                if let Some(user) = self.known(&pod.uid) {
                    return user;
                }
                // The sender is here.
                let _ = seen.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.ok()
    }
}

fn note(pod: &KubePod) -> Note {
    let refresh = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REFRESH)).cloned();
    // Where a pod says nothing files are root's, as in Kubernetes' own volumes.
    Note { user: user(pod).unwrap_or(0), refresh }
}

/// The user of all containers of a pod, if it is one and the pod says which.
fn user(pod: &KubePod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut users = containers
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(spec: &Value) -> Option<u32> {
        user(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_pod_asks_by_another_value_of_its_annotation() {
        let noted = |annotations: &Value| {
            let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": []}});
            note(&serde_json::from_value(pod).unwrap())
        };
        assert_eq!(noted(&json!({"other": "x"})), Note { user: 0, refresh: None });
        assert_eq!(noted(&json!({REFRESH: "now"})).refresh.as_deref(), Some("now"));
    }

    #[test]
    fn the_user_is_the_one_that_all_containers_have() {
        let as_user = |user: i64| json!({"name": "c", "securityContext": {"runAsUser": user}});
        let bare = json!({"name": "c"});
        assert_eq!(of(&json!({"securityContext": {"runAsUser": 1000}, "containers": [bare, bare]})), Some(1000));
        assert_eq!(of(&json!({"containers": [as_user(7), as_user(7)]})), Some(7));
        assert_eq!(of(&json!({"securityContext": {"runAsUser": 1}, "containers": [as_user(0)]})), Some(0));
        assert_eq!(of(&json!({"containers": [as_user(7), bare]})), None);
        assert_eq!(of(&json!({"containers": [as_user(7)], "initContainers": [as_user(8)]})), None);
        assert_eq!(of(&json!({"containers": [as_user(-1)]})), None);
        assert_eq!(of(&json!({"containers": []})), None);
    }
}
