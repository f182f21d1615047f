//! The API server of a benchmark's cluster: a client, and many objects at once.

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster::Cluster;

/// How many objects are created at the same time.
pub const AT_ONCE: usize = 16;

/// A client with the administrator's rights.
pub async fn client(cluster: &Cluster) -> Result<Client> {
    let file = Kubeconfig::read_from(cluster.kubeconfig())?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)?)
}

/// Applies the definitions of all custom resources.
pub fn define(cluster: &Cluster) -> Result<()> {
    for definition in bulla_kube::api::custom_resources() {
        cluster.apply(&serde_json::to_value(definition)?)?;
    }
    Ok(())
}

/// Creates the objects and gives them as the server has them, in no order.
pub async fn create<K>(api: &Api<K>, objects: impl IntoIterator<Item = Result<Value>>) -> Result<Vec<K>>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let parameters = PostParams::default();
    let created = stream::iter(objects).map(|object| {
        let parameters = &parameters;
        async move {
            let object: K = serde_json::from_value(object?).context("an object")?;
            api.create(parameters, &object).await.context("create")
        }
    });
    created.buffer_unordered(AT_ONCE).try_collect().await
}
