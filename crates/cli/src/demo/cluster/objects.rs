//! What the journey applies.

use bulla_core::SecretString;
use serde_json::{Value, json};

/// The service account of the pods.
const ACCOUNT: &str = "web";
/// The name of the Secret, the SealedSecret and the class.
const NAME: &str = "database";
/// Where the pod has it.
const FOLDER: &str = "/secrets";

/// How bulla stands in the cluster.
pub(super) struct Installation {
    /// The image of its pods.
    pub(super) image: String,
    /// The node service's driver.
    pub(super) driver: String,
    /// The namespace of the sealing operator.
    pub(super) namespace: String,
    /// Its Service.
    pub(super) service: String,
}

/// How the password comes into the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As a Secret.
    Secret,
    /// As a volume of this driver.
    Volume(String),
}

impl Way {
    /// The pod's name.
    pub(super) const fn pod(&self) -> &'static str {
        match self {
            Self::Secret => "with-a-secret",
            Self::Volume(_) => "with-bulla",
        }
    }
}

pub(super) fn namespace(name: &str) -> Value {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(super) fn account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": ACCOUNT, "namespace": namespace},
        "automountServiceAccountToken": false,
    })
}

/// What is left where no namespace can be deleted, by kind and name alone.
pub(super) fn others(namespace: &str) -> [Value; 4] {
    let named = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    [
        named("v1", "Secret", NAME),
        named("bitnami.com/v1alpha1", "SealedSecret", NAME),
        class(namespace),
        named("v1", "ServiceAccount", ACCOUNT),
    ]
}

/// The Secret of the control, as JSON.
pub(super) fn secret(namespace: &str, password: &SecretString) -> SecretString {
    let head =
        format!(r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{NAME}","namespace":"{namespace}"}},"#);
    // Hexadecimal digits need no escape.
    SecretString::from(format!(r#"{head}"stringData":{{"password":"{}"}}}}"#, password.expose()))
}

/// The Secret that is sealed for volumes, as YAML.
pub(super) fn manifest(namespace: &str, password: &SecretString) -> SecretString {
    SecretString::from(format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {NAME}\n  namespace: {namespace}\n  annotations:\n    \
         bulla.dev/deliver: volume\n    bulla.dev/service-accounts: {ACCOUNT}\nstringData:\n  password: {}\n",
        password.expose()
    ))
}

pub(super) fn class(namespace: &str) -> Value {
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"provider": "sealed", "parameters": {"objects": format!("- sealedSecret: {NAME}\n")}},
    })
}

/// A pod that has the password in its environment, from a volume.
pub(super) fn pod(namespace: &str, image: &str, way: &Way) -> Value {
    let volume = match way {
        Way::Secret => json!({"name": "secrets", "secret": {"secretName": NAME}}),
        Way::Volume(driver) => json!({
            "name": "secrets",
            "csi": {"driver": driver, "readOnly": true, "volumeAttributes": {"secretProviderClass": NAME}},
        }),
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": way.pod(), "namespace": namespace},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 1000,
                "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [volume],
            "containers": [{
                "name": "web",
                "image": image,
                "command": ["/bin/bulla", "env", "--from", FOLDER, "--", "/bin/bulla", "demo", "--application"],
                "volumeMounts": [{"name": "secrets", "mountPath": FOLDER, "readOnly": true}],
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}
