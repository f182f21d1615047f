//! The cluster by its API: what is installed, what is applied, and the look into every object that an administrator can list.

use std::collections::BTreeSet;
use std::time::Duration;

use bulla_core::SecretString;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::storage::v1::CSIDriver;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, Request, TypeMeta};
use kube::discovery::{ApiGroup, Discovery, verbs};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::objects::Installation;
use crate::demo::look::{Look, Place, Secret, note};
use crate::error::Failure;

/// Objects in one answer.
const PAGE: u32 = 500;
/// The labels of what the chart makes, for a door.
const NODE: &str = "app.kubernetes.io/name=bulla,app.kubernetes.io/component=node";

/// Which release of the chart.
const RELEASE: &str = "app.kubernetes.io/instance";

/// The cluster.
pub(super) struct Cluster(Client);

#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

fn failed(what: &str) -> impl Fn(kube::Error) -> Failure + '_ {
    move |error| Failure::generic(format!("{what}: {}", bulla_kube::client::describe(&error)))
}

impl Cluster {
    pub(super) const fn new(client: Client) -> Self {
        Self(client)
    }

    /// How bulla is installed: in this namespace, or else wherever it is.
    pub(super) async fn installation(&self, preferred: Option<&str>) -> Result<Installation, Failure> {
        let missing = |what: &str| {
            Failure::generic(format!("{what} is not in this cluster")).with_hint(
                "install the chart with both doors: helm install bulla deploy/chart --namespace bulla --set sealing.enabled=true \
                 --set node.enabled=true",
            )
        };
        let list = ListParams::default().labels(NODE);
        let sets = Api::<DaemonSet>::all(self.0.clone()).list(&list).await.map_err(failed("cannot list DaemonSets"))?;
        let mut sets = sets.items;
        sets.sort_by_key(|set| set.namespace().as_deref() != preferred);
        let set = sets.into_iter().next().ok_or_else(|| missing("bulla's node service"))?;
        let release = set.labels().get(RELEASE).cloned();
        let namespace = set.namespace().unwrap_or_default();
        let image = set.spec.and_then(|spec| spec.template.spec?.containers.into_iter().next()?.image);
        let drivers =
            Api::<CSIDriver>::all(self.0.clone()).list(&list).await.map_err(failed("cannot list CSIDrivers"))?;
        let mut drivers = drivers.items.into_iter();
        let driver = drivers.find(|driver| driver.labels().get(RELEASE) == release.as_ref());
        let driver = driver.ok_or_else(|| missing("bulla's driver"))?.name_any();
        let services = ListParams::default().labels("app.kubernetes.io/name=bulla");
        let services = Api::<Service>::namespaced(self.0.clone(), &namespace)
            .list(&services)
            .await
            .map_err(failed("cannot list Services"))?;
        // That which people's kubeseal asks.
        let service = services.items.into_iter().find(|service| {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            service.labels().get("app.kubernetes.io/component").is_some_and(|door| door != "node")
                && ports.into_iter().any(|port| port.port == 8080)
        });
        let service = service.ok_or_else(|| missing("bulla's sealing operator"))?;
        Ok(Installation {
            image: image.ok_or_else(|| missing("bulla's image"))?,
            driver,
            namespace,
            service: service.name_any(),
        })
    }

    /// Applies an object.
    pub(super) async fn apply(&self, object: &Value) -> Result<(), Failure> {
        let (api, name) = self.place(object)?;
        let what = format!("cannot apply {} {name}", object["kind"]);
        let parameters = PatchParams::apply("bulla-demo");
        api.patch(&name, &parameters, &Patch::Apply(object)).await.map(drop).map_err(failed(&what))
    }

    /// Deletes an object, in the background; it may be gone already.
    pub(super) async fn delete(&self, object: &Value) -> Result<(), Failure> {
        let (api, name) = self.place(object)?;
        match api.delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
            deleted => deleted.map(drop).map_err(failed(&format!("cannot delete {} {name}", object["kind"]))),
        }
    }

    /// Where an object is, and its name.
    fn place(&self, object: &Value) -> Result<(Api<DynamicObject>, String), Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::generic(format!("not an object of Kubernetes: {error}"));
        let types: TypeMeta = serde_json::from_value(object.clone()).map_err(|error| wrong(&error))?;
        let kind = GroupVersionKind::try_from(&types).map_err(|error| wrong(&error))?;
        let resource = ApiResource::from_gvk(&kind);
        let name = object["metadata"]["name"].as_str().ok_or_else(|| wrong(&"it has no name"))?.to_owned();
        let api = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.0.clone(), namespace, &resource),
            None => Api::all_with(self.0.clone(), &resource),
        };
        Ok((api, name))
    }

    /// Applies an object that is written as YAML.
    pub(super) async fn apply_text(&self, text: &str) -> Result<(), Failure> {
        let object: Value = serde_saphyr::from_str(text)
            .map_err(|error| Failure::generic(format!("what was sealed is no YAML: {error}")))?;
        self.apply(&object).await
    }

    /// Creates a Secret that is written as JSON.
    pub(super) async fn apply_secret(&self, text: &SecretString) -> Result<(), Failure> {
        let object: Zeroizing<Vec<u8>> = Zeroizing::new(text.expose().as_bytes().to_vec());
        let secret: DynamicObject =
            serde_json::from_slice(&object).map_err(|_| Failure::generic("not an object of Kubernetes"))?;
        let namespace = secret.namespace().unwrap_or_default();
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/secrets"))
            .create(&kube::api::PostParams::default(), object.to_vec())
            .map_err(|error| Failure::generic(error.to_string()))?;
        self.0.request_text(request).await.map(drop).map_err(failed("cannot create the Secret of the control"))
    }

    pub(super) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.0.clone(), namespace)
    }

    /// Waits until the pod runs.
    pub(super) async fn running(&self, pods: &Api<Pod>, name: &str, patience: Duration) -> Result<Pod, Failure> {
        let until = Instant::now() + patience;
        loop {
            let pod = pods.get(name).await.map_err(failed("cannot ask for the pod"))?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
            match phase {
                "Running" => return Ok(pod),
                "Failed" | "Succeeded" => {
                    let log = pods.logs(name, &LogParams::default()).await.unwrap_or_default();
                    return Err(Failure::generic(format!("the pod {name} has ended: {}", log.trim())));
                }
                _ if Instant::now() >= until => {
                    let seconds = patience.as_secs();
                    return Err(Failure::generic(format!("the pod {name} does not run after {seconds} s ({phase})"))
                        .with_hint(format!("kubectl describe pod {name}")));
                }
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    /// What the pod has said first.
    pub(super) async fn first_line(&self, pods: &Api<Pod>, name: &str, patience: Duration) -> Result<String, Failure> {
        let until = Instant::now() + patience;
        loop {
            let log = pods.logs(name, &LogParams::default()).await.unwrap_or_default();
            match log.split_once('\n') {
                Some((line, _)) => return Ok(line.to_owned()),
                None if Instant::now() >= until => {
                    return Err(Failure::generic(format!("the pod {name} says nothing")));
                }
                None => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// Deletes the pod and waits until it is gone.
    pub(super) async fn delete_pod(&self, pods: &Api<Pod>, name: &str) -> Result<(), Failure> {
        pods.delete(name, &DeleteParams::default()).await.map_err(failed("cannot delete the pod"))?;
        let until = Instant::now() + Duration::from_mins(1);
        while pods.get_opt(name).await.map_err(failed("cannot ask for the pod"))?.is_some() {
            if Instant::now() >= until {
                return Err(Failure::generic(format!("the pod {name} does not end")));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    /// Looks into every object of every kind that can be listed, as the API server writes it.
    pub(super) async fn look(&self, secrets: &[Secret]) -> Result<Look, Failure> {
        let discovery = Discovery::new(self.0.clone());
        let discovery = discovery.run().await.map_err(failed("cannot ask which kinds there are"))?;
        let (mut objects, mut kinds, mut found) = (0, 0, BTreeSet::new());
        for (resource, capabilities) in discovery.groups().flat_map(ApiGroup::recommended_resources) {
            if !capabilities.supports_operation(verbs::LIST) {
                continue;
            }
            let path = match &*resource.group {
                "" => format!("/api/{}/{}", resource.version, resource.plural),
                group => format!("/apis/{group}/{}/{}", resource.version, resource.plural),
            };
            kinds += 1;
            let mut list = ListParams::default().limit(PAGE);
            loop {
                let what = format!("cannot list {}", resource.plural);
                let request =
                    Request::new(&*path).list(&list).map_err(|error| Failure::generic(format!("{what}: {error}")))?;
                let text = Zeroizing::new(self.0.request_text(request).await.map_err(failed(&what))?);
                note(&mut found, secrets, text.as_bytes(), || format!("the {} of the API", resource.plural));
                let page: Page =
                    serde_json::from_str(&text).map_err(|error| Failure::generic(format!("{what}: {error}")))?;
                objects += page.items.len();
                if page.metadata.next.is_empty() {
                    break;
                }
                list = list.continue_token(&page.metadata.next);
            }
        }
        Ok(Look { place: Place::Api, looked: format!("{objects} objects, {kinds} kinds"), found })
    }
}
