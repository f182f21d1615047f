//! The pods of this node: which user their containers run as.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_kube::Selectors;
use bulla_kube::gate::Gate;
use bulla_kube::watch::{Seen, objects};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::Client;
use tokio::sync::watch;

use crate::csi::Users;
use crate::pod::Pod;

/// How long a volume waits for its pod to be seen: the kubelet saw it first.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pods of this node, watched.
pub struct NodePods {
    client: Client,
    node: String,
    gate: Arc<Gate>,
    users: Mutex<HashMap<String, u32>>,
    seen: watch::Sender<u64>,
}

impl NodePods {
    /// Of the node of this name.
    pub fn new(client: Client, node: &str, gate: Arc<Gate>) -> Self {
        Self { client, node: node.to_owned(), gate, users: Mutex::default(), seen: watch::Sender::default() }
    }

    /// Watches them, for ever.
    pub async fn run(&self) {
        let selectors = Selectors { labels: None, fields: Some(format!("spec.nodeName={}", self.node)) };
        let mut before = None;
        objects::<KubePod>(self.client.clone(), None, selectors, &self.gate, |event| {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Seen::Begin => before = Some(users.keys().cloned().collect::<HashSet<String>>()),
                Seen::Object(pod) => {
                    let Some(uid) = pod.metadata.uid.clone() else { return };
                    if let Some(before) = &mut before {
                        before.remove(&uid);
                    }
                    // Where a pod says nothing files are root's, as in Kubernetes' own volumes.
                    users.insert(uid, user(&pod).unwrap_or(0));
                }
                Seen::Unreadable(metadata, _) | Seen::Gone(metadata) => {
                    if let Some(uid) = &metadata.uid {
                        users.remove(uid);
                    }
                }
                Seen::Complete => {
                    for gone in before.take().into_iter().flatten() {
                        users.remove(&gone);
                    }
                }
            }
            drop(users);
            self.seen.send_modify(|seen| *seen += 1);
        })
        .await;
    }

    fn known(&self, uid: &str) -> Option<u32> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied()
    }
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
