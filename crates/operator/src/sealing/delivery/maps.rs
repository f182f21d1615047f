//! Which ConfigMaps there are, in which version: for nodes that have sops files of some mounted.
//!
//! The metadata alone is watched, from when a node first asks about a ConfigMap: who has no sops files in the cluster pays nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bulla_kube::gate::Gate;
use bulla_kube::watch::{Namespaces, Seen, metadata};
use bulla_kube::{ObjectKey, Selectors};
use bulla_store::sealed::protocol::Kind;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use tokio::task::JoinSet;

use super::changes::Changes;

/// The watches, once there are any. They end with it.
pub struct Maps {
    client: Client,
    namespaces: Namespaces,
    gate: Arc<Gate>,
    changes: Arc<Changes>,
    running: Mutex<JoinSet<()>>,
}

impl Maps {
    /// Nothing is watched yet.
    pub fn new(client: Client, namespaces: Namespaces, gate: Arc<Gate>, changes: Arc<Changes>) -> Self {
        Self { client, namespaces, gate, changes, running: Mutex::default() }
    }

    /// Watches from now on.
    pub(super) fn begin(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if !running.is_empty() {
            return;
        }
        let scopes = self.namespaces.scopes();
        let left = Arc::new(AtomicUsize::new(scopes.len()));
        for scope in scopes {
            let (client, gate, changes, left) =
                (self.client.clone(), Arc::clone(&self.gate), Arc::clone(&self.changes), Arc::clone(&left));
            running.spawn(async move {
                let (mut seen, mut is_first) = (HashSet::new(), true);
                let namespace = scope.clone();
                let tell = |event: Seen<ObjectMeta>| match event {
                    Seen::Begin => seen.clear(),
                    Seen::Object(map) => {
                        let key = ObjectKey::of(&map);
                        changes.has((Kind::ConfigMap, key.clone()), &version(&map));
                        seen.insert(key);
                    }
                    Seen::Gone(map) => changes.lost(&(Kind::ConfigMap, ObjectKey::of(&map))),
                    Seen::Complete => {
                        changes.has_no_other_maps(namespace.as_deref(), &std::mem::take(&mut seen));
                        if std::mem::take(&mut is_first) && left.fetch_sub(1, Ordering::AcqRel) == 1 {
                            changes.know_maps();
                        }
                    }
                    Seen::Unreadable(..) => {}
                };
                metadata::<ConfigMap>(client, scope, Selectors::default(), &gate, tell).await;
            });
        }
    }
}

/// Another one whenever the object is written.
pub(super) fn version(map: &ObjectMeta) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}-{}", text(&map.uid), text(&map.resource_version))
}
