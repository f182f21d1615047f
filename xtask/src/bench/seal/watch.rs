//! When all SealedSecrets are synced, as the API server tells it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use kube::{Client, core::GroupVersionKind};

/// The resource, without its type: only the status is looked at.
pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("bitnami.com", "v1alpha1", "SealedSecret"))
}

/// Waits until `count` SealedSecrets of the cluster are synced in their present generation. Answers when.
pub async fn all_synced(client: &Client, count: usize, patience: Duration) -> Result<Instant> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let config = watcher::Config::default().page_size(500);
    let mut events = watcher(api, config).boxed();
    let mut synced = HashSet::new();
    let all = async {
        while synced.len() < count {
            match events.next().await.context("the watch ended")? {
                Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) if is_synced(&object) => {
                    synced.insert(object.metadata.uid.context("a uid")?);
                }
                Ok(_) => {}
                Err(error) => eprintln!("bench: watch: {error}"),
            }
        }
        Ok(Instant::now())
    };
    let result = tokio::time::timeout(patience, all).await;
    result.with_context(|| format!("not all of {count} SealedSecrets were synced in {} s", patience.as_secs()))?
}

/// The observed generation may be missing in the peer's status of a first version.
fn is_synced(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    let synced = conditions.into_iter().flatten().any(|each| each["type"] == "Synced" && each["status"] == "True");
    let observed = object.data["status"]["observedGeneration"].as_i64();
    synced && observed.is_none_or(|observed| Some(observed) == object.metadata.generation)
}
