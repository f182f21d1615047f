//! Secrets of classes that say so go when no pod mounts the class any more: `bulla.dev/secret-lifetime: pods`.
//!
//! Who mounts a class is said by `SecretProviderClassPodStatus` objects, which go with their pods. Between two pods of a rollout there may be none, so a
//! Secret goes only when there was none for [`PATIENCE`], looked at again and again by one replica; one that starts anew begins to count anew.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bulla_kube::api::{SecretProviderClass, SecretProviderClassPodStatus};
use bulla_kube::client::describe;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use super::write::PLAIN_VALUE;
use crate::sealing::write::PLAIN_LABEL;

/// On a class: how long its Secrets live, `class` or `pods`.
pub const LIFETIME: &str = "bulla.dev/secret-lifetime";
/// The value of it that is meant here.
pub const PODS: &str = "pods";
/// How long nobody has mounted a class whose Secrets go.
pub const PATIENCE: Duration = Duration::from_mins(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_mins(1);

/// Looks after the Secrets of some namespaces, or of all.
pub struct Expiry {
    client: Client,
    namespaces: Vec<String>,
    patience: Duration,
    look: Duration,
}

impl Expiry {
    /// None named is all.
    pub const fn new(client: Client, namespaces: Vec<String>) -> Self {
        Self { client, namespaces, patience: PATIENCE, look: LOOK }
    }

    /// The same with another patience.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.look = self.look.min(patience / 2).max(Duration::from_secs(1));
        self
    }

    /// Does it, for ever.
    pub async fn run(&self) {
        let mut unused = HashMap::new();
        loop {
            let places: Vec<Option<&str>> = match self.namespaces.as_slice() {
                [] => vec![None],
                named => named.iter().map(|name| Some(name.as_str())).collect(),
            };
            for place in places {
                if let Err(error) = self.look_in(place, &mut unused).await {
                    tracing::warn!(
                        namespace = place,
                        error = describe(&error),
                        "Secrets of classes that nobody mounts are not looked for"
                    );
                }
            }
            tokio::time::sleep(self.look).await;
        }
    }

    /// Looks once. `unused` says since when nobody has mounted a Secret's class, by its uid.
    async fn look_in(&self, namespace: Option<&str>, unused: &mut HashMap<String, Instant>) -> kube::Result<()> {
        let secrets: Vec<PartialObjectMeta<Secret>> = {
            let api: Api<Secret> = self.api(namespace);
            api.list_metadata(&ListParams::default().labels(&format!("{PLAIN_LABEL}={PLAIN_VALUE}"))).await?.items
        };
        if secrets.is_empty() {
            return Ok(());
        }
        let classes = self.api::<SecretProviderClass>(namespace).list_metadata(&ListParams::default()).await?;
        let classes: HashMap<String, (String, String)> = classes
            .into_iter()
            .filter(|class| class.annotations().get(LIFETIME).is_some_and(|value| value == PODS))
            .filter_map(|class| Some((class.uid()?, (class.namespace()?, class.name_any()))))
            .collect();
        let statuses = self.api::<SecretProviderClassPodStatus>(namespace).list(&ListParams::default()).await?;
        let mounted: HashSet<(String, String)> = statuses
            .into_iter()
            .filter_map(|status| Some((status.namespace()?, status.status.secret_provider_class_name.clone())))
            .collect();
        for secret in secrets {
            let Some(uid) = secret.uid() else { continue };
            let mut owners = secret.owner_references().iter().filter(|owner| owner.controller == Some(true));
            let class = owners.find_map(|owner| classes.get(&owner.uid));
            let Some(class) = class.filter(|class| !mounted.contains(class)) else {
                unused.remove(&uid);
                continue;
            };
            let since = *unused.entry(uid.clone()).or_insert_with(Instant::now);
            if since.elapsed() < self.patience {
                continue;
            }
            let (namespace, name) = (&class.0, secret.name_any());
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: secret.resource_version() };
            let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            match api.delete(&name, &DeleteParams::default().preconditions(preconditions)).await {
                Ok(_) => tracing::info!(
                    namespace,
                    secret = name,
                    class = class.1,
                    "no pod mounts the class: its Secret is deleted"
                ),
                // It was written meanwhile: somebody mounts it.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
            unused.remove(&uid);
        }
        Ok(())
    }

    fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}
