//! `SealingKey`, `bulla.dev/v1alpha1`: a key pair that values are sealed to, its private half wrapped by key services.
//!
//! Nothing in it is secret: `wrapped.ciphertext` opens with the data key alone, and that with a key service alone.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The key pair.
#[allow(clippy::duplicated_attributes, reason = "two columns of one type are no mistake")]
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "bulla.dev",
    version = "v1alpha1",
    kind = "SealingKey",
    namespaced,
    status = "SealingKeyStatus",
    derive = "PartialEq",
    doc = "A key pair that values are sealed to. Its private half is wrapped by key services.",
    printcolumn(name = "Algorithm", type_ = "string", json_path = ".spec.algorithm"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Not before", type_ = "date", json_path = ".spec.notBefore"),
    printcolumn(name = "Values", type_ = "integer", json_path = ".status.values"),
    printcolumn(name = "Last used", type_ = "date", json_path = ".status.lastUsed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct SealingKeySpec {
    /// What it is a key of.
    pub algorithm: Algorithm,

    /// The fingerprint of the public key, by which values remember their key.
    #[schemars(length(min = 1, max = 256))]
    pub fingerprint: String,

    /// RSA: the certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub certificate: Option<String>,

    /// The others: the public key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub public_key: Option<String>,

    /// From when new values are sealed to it. The newest active key whose time has come is the one.
    pub not_before: Time,

    /// The private key, wrapped.
    pub wrapped: WrappedPrivateKey,

    /// What it may be used for.
    #[serde(default)]
    pub state: KeyState,
}

/// What a key pair is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    /// RSA of 2048 bits, as old installations have them: opens, is not made anew.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA of 4096 bits: what sealed-secrets has, and every version of it opens.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// RSA of 8192 bits.
    #[serde(rename = "rsa-8192")]
    Rsa8192,
    /// X25519 with ML-KEM-768 (X-Wing).
    #[serde(rename = "x25519-mlkem768")]
    X25519MlKem768,
}

/// What a key may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum KeyState {
    /// Opens, and new values are sealed to it if it is the newest.
    #[default]
    Active,
    /// Opens; nothing new is sealed to it.
    Retired,
    /// Does neither: it is known to others.
    Compromised,
}

/// A private key under a data key, which is wrapped for groups of keys of key services.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrappedPrivateKey {
    /// The groups. Any key of a group opens the group's share of the data key.
    #[schemars(length(min = 1, max = 255))]
    pub key_groups: Vec<KeyGroup>,

    /// How many groups must open. Without it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255), extend("format" = "int32"))]
    pub threshold: Option<u32>,

    /// `nonce (12 bytes) || AES-256-GCM ciphertext || tag (16 bytes)` of the private key, base64.
    #[schemars(length(min = 1))]
    pub ciphertext: String,
}

/// Keys of which any one is enough.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct KeyGroup {
    /// The keys.
    #[schemars(length(min = 1))]
    pub keys: Vec<WrappedDataKey>,
}

/// The data key (or a group's share of it) as one key of a key service wrapped it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct WrappedDataKey {
    /// The kind of service, by sops' names: `age`, `pgp`, `kms`, `gcp_kms`, `azure_kv`, `hckms`, `hc_vault`, and `local`.
    pub kind: String,
    /// Which key of the service: the kind's fields by their names.
    #[serde(default)]
    pub id: BTreeMap<String, String>,
    /// What the service gave back.
    #[schemars(length(min = 1))]
    pub wrapped: String,
}

/// How it is used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealingKeyStatus {
    /// When a value was last opened with it (to about a day).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Time>,
    /// How many values in the cluster are sealed to it, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<i64>,
}

/// What the API server refuses, whoever asks: a key that becomes another one under the same name, or that is trusted again after it was
/// not. Its wrapping may change (other recipients); that it can be opened then, only the key services can tell.
fn rules() -> Value {
    let unchanged = |field: &str| {
        let (now, before) = (format!("self.{field}"), format!("oldSelf.{field}"));
        let rule = if matches!(field, "certificate" | "publicKey") {
            format!("has({now}) == has({before}) && (!has({now}) || {now} == {before})")
        } else {
            format!("{now} == {before}")
        };
        json!({"rule": rule, "message": format!("{field} cannot change: make another SealingKey"), "reason": "FieldValueForbidden"})
    };
    let mut rules: Vec<Value> =
        ["algorithm", "fingerprint", "certificate", "publicKey", "notBefore"].into_iter().map(unchanged).collect();
    rules.push(json!({
        "rule": "self.algorithm.startsWith('rsa-') ? has(self.certificate) && !has(self.publicKey) : has(self.publicKey) && !has(self.certificate)",
        "message": "an RSA key has a certificate and no publicKey, any other a publicKey and no certificate",
    }));
    rules.push(json!({
        "rule": "self.state == oldSelf.state || oldSelf.state == 'Active' || self.state == 'Compromised'",
        "message": "state goes from Active to Retired to Compromised and never back: a key that was given up is not trusted again",
        "reason": "FieldValueForbidden",
    }));
    rules.push(json!({
        "rule": "!has(self.wrapped.threshold) || self.wrapped.threshold <= self.wrapped.keyGroups.size()",
        "message": "wrapped.threshold is more than there are keyGroups",
    }));
    rules.into()
}
