//! `SealedSecret`, `bitnami.com/v1alpha1`: ciphertext in Git, from which the controller makes a Secret.
//!
//! The schema takes every object that sealed-secrets' own does (its v0.36.6 is what it was compared with), and is a little more
//! lenient: `encryptedData` may be left out beside the old `data`. `status` has three fields that are ours: `written`,
//! `sealedWith` and the conditions' `observedGeneration`.
//! Under sealed-secrets' own definition the API server drops them, which costs work at a restart and nothing else.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::null_as_default;

/// On a Secret that nobody owns: the controller may take it over.
pub const MANAGED: &str = "sealedsecrets.bitnami.com/managed";
/// On a Secret of somebody else: the controller may add to it and change its own part.
pub const PATCH: &str = "sealedsecrets.bitnami.com/patch";
/// In the template: the Secret outlives its SealedSecret.
pub const SKIP_SET_OWNER_REFERENCES: &str = "sealedsecrets.bitnami.com/skip-set-owner-references";
/// The condition's type.
pub const SYNCED: &str = "Synced";

/// What is asked for.
#[allow(clippy::duplicated_attributes, reason = "two columns of one type are no mistake")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "bitnami.com",
    version = "v1alpha1",
    kind = "SealedSecret",
    namespaced,
    status = "SealedSecretStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "A Secret whose values only the cluster opens.",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[0].message"),
    printcolumn(name = "Synced", type_ = "string", json_path = ".status.conditions[0].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretSpec {
    /// The values, each sealed and in base64, by the Secret's keys.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schemars(schema_with = "encrypted_data")]
    pub encrypted_data: BTreeMap<String, String>,

    /// Deprecated: a whole Secret, sealed at once and in base64. Use encryptedData.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes")]
    pub data: Option<String>,

    /// What else the Secret has.
    #[serde(default, deserialize_with = "null_as_default")]
    pub template: SecretTemplate,
}

/// What the Secret has besides the sealed values.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("nullable" = true))]
pub struct SecretTemplate {
    /// Labels and annotations of the Secret.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "TemplateMetadata::is_empty")]
    #[schemars(schema_with = "template_metadata")]
    pub metadata: TemplateMetadata,

    /// The Secret's type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,

    /// Whether the Secret's data can never be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,

    /// Further keys of the Secret: Go templates over the opened values.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("nullable" = true))]
    pub data: BTreeMap<String, String>,
}

/// The metadata of the Secret that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct TemplateMetadata {
    /// Not used: the Secret has the SealedSecret's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Not used: the Secret is in the SealedSecret's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The Secret's labels.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The Secret's annotations.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The Secret's finalizers.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// What else was written there (`creationTimestamp: null`, as `kubeseal` does): kept when the object is written again.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl TemplateMetadata {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretStatus {
    /// The generation that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int64")]
    pub observed_generation: Option<i64>,

    /// Conditions; `Synced` is the first, because sealed-secrets' columns show the first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<SealedSecretCondition>,

    /// The Secret as it was last written. A Secret that still is at that version needs no opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,

    /// The fingerprint of the sealing key by the Secret's keys: the key to try first.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed_with: BTreeMap<String, String>,

    /// What a SealedSecret for volumes was, the latest last: a digest of its values and of whom they are for. One that comes again is an old one applied once more.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
}

/// A version of the Secret that came from a version of the SealedSecret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The SealedSecret's generation.
    #[serde(default)]
    #[schemars(schema_with = "int64")]
    pub generation: i64,
    /// A digest of what the generation leaves out and the Secret depends on: the SealedSecret's own annotations of scope and delivery.
    #[serde(default)]
    pub annotations: String,
    /// The Secret's uid.
    #[serde(default)]
    pub uid: String,
    /// The Secret's resourceVersion.
    #[serde(default)]
    pub resource_version: String,
}

/// One thing that is true, false or unknown of a SealedSecret.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecretCondition {
    /// What: `Synced`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One sentence for people: what is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the status last became another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_transition_time: Option<Time>,
    /// When the condition was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub last_update_time: Option<Time>,
    /// The generation that this is said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "int64")]
    pub observed_generation: Option<i64>,
}

fn encrypted_data(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "additionalProperties": {"type": "string"},
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn template_metadata(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "finalizers": {"type": "array", "items": {"type": "string"}},
        },
    })
}

fn bytes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "byte"})
}

fn int64(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64"})
}

fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}
