//! SealedSecrets sealed and written without a program for each: thousands of processes would be most of a test's time.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_format::sealed::{Binding, Certificate, Scope, seal_value};
use bulla_kube::api::SealedSecret;
use bulla_test_support::http;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use serde_json::json;
use tokio::runtime::Runtime;

use super::Operator;

/// Seals to the key of a controller.
pub(super) struct Sealer(Certificate);

impl Sealer {
    /// For who has been ready.
    pub(super) fn of(operator: &Operator) -> Self {
        let (status, text) = http(operator.api, "GET", "/v1/cert.pem", &[], "");
        assert_eq!(status, 200, "{text}");
        Self(Certificate::from_pem(text.as_bytes()).unwrap().remove(0))
    }

    /// A SealedSecret with one value, `password`.
    pub(super) fn seal(&self, namespace: &str, name: &str, value: &str) -> SealedSecret {
        let binding = Binding::new(Scope::Strict, namespace, name, "password");
        let sealed = seal_value(self.0.public_key(), &binding, value.as_bytes()).unwrap();
        object(namespace, name, &sealed)
    }

    /// One that no key opens.
    pub(super) fn broken(namespace: &str, name: &str) -> SealedSecret {
        object(namespace, name, &STANDARD.encode([0; 600]))
    }
}

fn object(namespace: &str, name: &str, sealed: &str) -> SealedSecret {
    let object = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"encryptedData": {"password": sealed}},
    });
    serde_json::from_value(object).unwrap()
}

/// A client, and where its requests run.
pub(super) fn client(kubeconfig: &Path) -> (Runtime, Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = crate::config(kubeconfig);
    let client = runtime.block_on(async { Client::try_from(config).unwrap() });
    (runtime, client)
}

/// A Secret's value, if it has one.
pub(super) fn password(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(&secret.data.as_ref()?.get("password")?.0).ok()
}

/// What a SealedSecret's status says of its newest generation: `None` if it does not speak of that.
pub(super) fn is_synced(sealed: &SealedSecret) -> Option<bool> {
    let status = sealed.status.as_ref()?;
    let condition = status.conditions.first()?;
    let is_new = status.observed_generation == sealed.metadata.generation;
    is_new.then_some(condition.type_ == "Synced" && condition.status == "True")
}
