//! `SecretProviderClassPodStatus`, `secrets-store.csi.x-k8s.io/v1`: what is mounted for a pod, and in which versions.
//!
//! The Secrets Store CSI driver's own. It has no `spec`, and its `status` is no subresource.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::Resource;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::null_as_default;

/// The label by which a node finds its own.
pub const NODE_LABEL: &str = "internal.secrets-store.csi.k8s.io/node-name";

const GROUP: &str = "secrets-store.csi.x-k8s.io";
const VERSION: &str = "v1";
const KIND: &str = "SecretProviderClassPodStatus";
const PLURAL: &str = "secretproviderclasspodstatuses";

/// What is mounted for a pod by a class.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct SecretProviderClassPodStatus {
    /// The object's metadata; the name is the pod's, the namespace and the class' with `-` between them.
    pub metadata: ObjectMeta,
    /// The rest.
    #[serde(default, deserialize_with = "null_as_default")]
    pub status: PodStatus,
}

/// What is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// The pod's name.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
    /// The class' name.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub secret_provider_class_name: String,
    /// Whether it is mounted.
    #[serde(default, deserialize_with = "null_as_default")]
    pub mounted: bool,
    /// Where, on the node.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub target_path: String,
    /// The objects and their versions, as the provider says them.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub objects: Vec<MountedObject>,
}

/// An object that is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct MountedObject {
    /// What the provider calls it.
    #[serde(default, deserialize_with = "null_as_default")]
    pub id: String,
    /// Its version.
    #[serde(default, deserialize_with = "null_as_default")]
    pub version: String,
}

impl Resource for SecretProviderClassPodStatus {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The definition, of `v1` and, from the same objects, `v1alpha1`.
pub(super) fn definition() -> CustomResourceDefinition {
    let status = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator()
        .into_root_schema_for::<PodStatus>();
    let mut status = status.to_value();
    if let Some(object) = status.as_object_mut() {
        object.remove("title");
    }
    let version = |name: &str, storage: bool| {
        json!({
            "name": name,
            "served": true,
            "storage": storage,
            "deprecated": (!storage).then_some(true),
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "description": "What is mounted for a pod by a SecretProviderClass, and in which versions.",
                "properties": {"status": status},
            }},
            "additionalPrinterColumns": [
                {"name": "Pod", "type": "string", "jsonPath": ".status.podName"},
                {"name": "Class", "type": "string", "jsonPath": ".status.secretProviderClassName"},
                {"name": "Mounted", "type": "boolean", "jsonPath": ".status.mounted"},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
            ],
        })
    };
    let definition = json!({
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {"kind": KIND, "plural": PLURAL, "singular": KIND.to_lowercase()},
            "scope": "Namespaced",
            "versions": [version(VERSION, true), version("v1alpha1", false)],
        },
    });
    // Written above: a test reads it.
    serde_json::from_value(definition).unwrap_or_default()
}
