//! Secrets that are made of mounted files, for those who cannot do without: `secretObjects` of a `SecretProviderClass`.
//!
//! A node service that mounts a volume sends what is to become a Secret ([`bulla_store::sync`] has the protocol). It may write none itself. Here it
//! is decided:
//!
//! 1. The node service and the pod: their tokens say that the one runs on the other's node ([`crate::nodes`]).
//! 2. The pod is there, and mounts the class.
//! 3. The class has a `secretObjects` entry of that name, and the keys are those of the entry: type, labels and annotations come from the class, never from
//!    the node.
//! 4. The Secret is not there, or is this class's ([`mod@write`]).
//!
//! **Whose it is.** The class owns the Secret: it comes with the first pod, stays through every rollout, whatever becomes of pods, and goes with the class. A class with
//! `bulla.dev/secret-lifetime: pods` gives it up when no pod has mounted it for some minutes ([`expiry`]).
//!
//! Every Secret has the label `bulla.dev/plain: secret-provider-class`. Every writing and every refusal is a line of the audit log.

pub mod expiry;
mod http;
pub mod pem;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use bulla_core::SecretBytes;
use bulla_kube::api::SecretProviderClass;
use bulla_kube::api::secret_provider_class::SecretObject;
use bulla_kube::client::{describe, is_unreachable};
use bulla_store::sealed::protocol::{Code, Refused};
use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use crate::nodes::{Nodes, Pod};
use crate::sealing::keys::secret::KEY_LABEL;
use write::{Plain, WriteError};

/// The room for all requests at once, in bytes.
const ROOM: usize = 16 << 20;
/// Types whose Secrets give more than their contents: the cluster fills the one with credentials, and lets machines in by the other.
const FORBIDDEN: [&str; 2] = ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"];
/// Whose `tls.crt` and `tls.key` may come from one file.
const TLS: &str = "kubernetes.io/tls";

/// Whoever decides and writes.
pub struct Sync {
    client: Client,
    nodes: Nodes,
    own_key: (String, String),
    room: Arc<Semaphore>,
}

/// What a node service wants to have written.
struct Wanted {
    class: String,
    secret: String,
    data: BTreeMap<String, SecretBytes>,
}

impl Sync {
    /// Writes for nodes whose service has one of these service accounts, `NAMESPACE/NAME`. Never the Secret `own_key`: sealing takes the one
    /// of that namespace and name for a key of its own, also without a label.
    pub fn new(
        client: Client,
        node_services: impl IntoIterator<Item = (String, String)>,
        own_key: (String, String),
    ) -> Self {
        let nodes = Nodes::new(client.clone(), node_services);
        Self { client, nodes, own_key, room: Arc::new(Semaphore::new(ROOM)) }
    }

    /// Writes one Secret for a pod.
    async fn sync(&self, pod: &Pod, wanted: &Wanted) -> Result<(), Refused> {
        let namespace = &pod.namespace;
        if (namespace, &wanted.secret) == (&self.own_key.0, &self.own_key.1) {
            let message = format!("Secret {namespace}/{} would be a sealing key by its name", wanted.secret);
            return Err(refused(Code::Denied, message));
        }
        let unreadable = |what: &str, error: &kube::Error| {
            let code = if is_unreachable(error) { Code::Unavailable } else { Code::Denied };
            refused(code, format!("{what} cannot be read: {}", describe(error)))
        };
        let pods: Api<KubePod> = Api::namespaced(self.client.clone(), namespace);
        let there = pods.get_opt(&pod.name).await.map_err(|error| unreadable("the pod", &error))?;
        let there = there.filter(|there| there.metadata.uid.as_deref() == Some(&pod.uid));
        if !there.is_some_and(|there| mounts(&there, &wanted.class)) {
            let message = format!("pod {namespace}/{} does not mount SecretProviderClass {}", pod.name, wanted.class);
            return Err(refused(Code::Denied, message));
        }
        let classes: Api<SecretProviderClass> = Api::namespaced(self.client.clone(), namespace);
        let class = classes.get_opt(&wanted.class).await.map_err(|error| unreadable("the class", &error))?;
        let class = class.filter(|class| class.metadata.deletion_timestamp.is_none()).ok_or_else(|| {
            refused(Code::NotFound, format!("SecretProviderClass {namespace}/{} does not exist", wanted.class))
        })?;
        let plain = plain(&class, wanted)?;
        write::write(&self.client, namespace, &class, &plain).await.map_err(|error| {
            let code = match &error {
                WriteError::Conflict => Code::Unavailable,
                WriteError::Api(error) if is_unreachable(error) => Code::Unavailable,
                WriteError::Foreign(_) | WriteError::Unchangeable(_) | WriteError::Api(_) => Code::Denied,
            };
            refused(code, format!("Secret {namespace}/{}: {error}", wanted.secret))
        })
    }
}

/// Whether a pod has a volume of a class.
fn mounts(pod: &KubePod, class: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let attributes = volumes.filter_map(|volume| volume.csi.as_ref()?.volume_attributes.as_ref());
    attributes.filter_map(|attributes| attributes.get("secretProviderClass")).any(|name| name == class)
}

/// The Secret that a class wants, with these values.
fn plain(class: &SecretProviderClass, wanted: &Wanted) -> Result<Plain, Refused> {
    let name = &wanted.secret;
    let denied = |why: &str| refused(Code::Denied, format!("SecretProviderClass {}: {why}", wanted.class));
    let objects = &class.spec.secret_objects;
    let mut named = objects.iter().filter(|object| object.secret_name.as_deref() == Some(name));
    let (Some(object), None) = (named.next(), named.next()) else {
        return Err(denied(&format!("its secretObjects name Secret {name} not once")));
    };
    let SecretObject { type_, labels, annotations, data, .. } = object;
    let type_ = type_.as_deref().filter(|type_| !type_.is_empty());
    let type_ = type_.ok_or_else(|| denied(&format!("secretObjects gives Secret {name} no type: write Opaque")))?;
    if FORBIDDEN.contains(&type_) || labels.contains_key(KEY_LABEL) {
        return Err(denied(&format!(
            "Secret {name} would be more than a Secret, by its type or its labels: none is made"
        )));
    }
    let keys: Vec<&str> = data.iter().filter_map(|entry| entry.key.as_deref()).collect();
    if keys.len() != data.len()
        || keys.len() != wanted.data.len()
        || !keys.iter().all(|key| wanted.data.contains_key(*key))
    {
        return Err(denied(&format!("what the node has for Secret {name} is not what secretObjects names now")));
    }
    let mut values = wanted.data.clone();
    if type_ == TLS {
        for (key, value) in &mut values {
            *value = pem::part(key, value);
        }
    }
    Ok(Plain {
        name: name.clone(),
        type_: type_.to_owned(),
        labels: labels.clone(),
        annotations: annotations.clone(),
        data: values,
    })
}

const fn refused(code: Code, message: String) -> Refused {
    Refused { code, message }
}

#[cfg(test)]
mod tests;
