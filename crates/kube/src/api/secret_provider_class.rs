//! `SecretProviderClass`, `secrets-store.csi.x-k8s.io/v1`: which provider has the contents of a volume, and what it is told.
//!
//! The Secrets Store CSI driver's own (v1.6.0 is what it was compared with), whose definition has no rules at all. Ours has the few
//! without which nothing could ever be mounted; a class that the peer's own definition let in is read all the same. `v1alpha1` has the
//! same schema and is served from the same objects.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::null_as_default;

/// Asks for what is mounted to be fetched anew, whenever its value changes.
pub const REFRESH: &str = "bulla.dev/refresh";
/// How often it is fetched anew, in the place of the service's own interval: `90s`, `15m`, `1h`.
pub const INTERVAL: &str = "bulla.dev/rotation-interval";

/// What is asked for.
#[allow(clippy::duplicated_attributes, reason = "two columns of one type are no mistake")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "secrets-store.csi.x-k8s.io",
    version = "v1",
    kind = "SecretProviderClass",
    plural = "secretproviderclasses",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    doc = "What a volume of secrets has: the provider, and what it is asked for.",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SecretProviderClassSpec {
    /// The provider: `sealed`, `vault`, or one that runs on the nodes.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schemars(extend("nullable" = true, "maxLength" = 63))]
    pub provider: String,

    /// What the provider is told; each has its own.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub parameters: BTreeMap<String, String>,

    /// Secrets that are made of the mounted files, for those who cannot do without.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub secret_objects: Vec<SecretObject>,
}

/// A Secret that is made of mounted files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretObject {
    /// The Secret's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The Secret's type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The Secret's labels.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub labels: BTreeMap<String, String>,
    /// The Secret's annotations.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub annotations: BTreeMap<String, String>,
    /// The Secret's keys, each a mounted file.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub data: Vec<SecretObjectData>,
}

/// A key of a Secret that is made of mounted files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretObjectData {
    /// The file's path in the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_name: Option<String>,
    /// The Secret's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The definition, of both versions.
pub(super) fn definition() -> CustomResourceDefinition {
    let mut definition = SecretProviderClass::crd();
    let older = definition.spec.versions.first().cloned().map(|mut version| {
        "v1alpha1".clone_into(&mut version.name);
        version.storage = false;
        version.deprecated = Some(true);
        let instead = "secrets-store.csi.x-k8s.io/v1alpha1 is deprecated. Use secrets-store.csi.x-k8s.io/v1 instead.";
        version.deprecation_warning = Some(instead.to_owned());
        version
    });
    definition.spec.versions.extend(older);
    definition
}
