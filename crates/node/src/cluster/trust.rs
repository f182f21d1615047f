//! The certificates of the sealing operator's replicas, as its ConfigMap names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulla_kube::Selectors;
use bulla_kube::gate::Gate;
use bulla_kube::watch::{Seen, objects};
use bulla_store::sealed::protocol::CONFIG_MAP;
use bulla_store::sealed::{Trusted, trusted};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use tokio::sync::watch;

/// Watches the ConfigMap in a namespace and tells what is believed, for ever.
pub async fn follow(client: Client, namespace: String, gate: Arc<Gate>, tell: watch::Sender<Trusted>) {
    let selectors = Selectors { labels: None, fields: Some(format!("metadata.name={CONFIG_MAP}")) };
    let mut found = false;
    let none = BTreeMap::new();
    objects::<ConfigMap>(client, Some(namespace), selectors, &gate, |event| {
        let data = match &event {
            Seen::Begin => {
                found = false;
                return;
            }
            Seen::Object(map) => {
                found = true;
                map.data.as_ref().unwrap_or(&none)
            }
            // Nobody vouches for anything any more.
            Seen::Gone(_) => &none,
            Seen::Complete if !found => &none,
            Seen::Complete => return,
            Seen::Unreadable(_, error) => {
                tracing::warn!(error, "the certificates of the sealing operator cannot be read");
                return;
            }
        };
        let (new, broken) = trusted(data, Timestamp::now().as_second());
        for entry in broken {
            tracing::warn!(entry, "a certificate of the sealing operator cannot be read");
        }
        tell.send_if_modified(|old| {
            let is_other = *old != new;
            *old = new;
            is_other
        });
    })
    .await;
}
