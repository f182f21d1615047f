//! An admission webhook that is served from a pod.

use std::process::Command;

use base64::Engine;
use bulla_cluster_tests::{Namespace, kubectl, own_name, xtask};
use serde_json::json;
use tempfile::tempdir;

use crate::pod;

const IMAGE: &str = "bulla.test/webhook:1";

#[test]
fn the_api_server_asks_a_webhook_in_a_pod() {
    let namespace = Namespace::new("webhook");
    let folder = tempdir().unwrap();
    let program = folder.path().join("webhook");
    let built = Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/webhook"))
        .env("CGO_ENABLED", "0")
        .status()
        .expect("go is not there; install Go 1.26");
    assert!(built.success());
    xtask(["load", "--name", &own_name(), "--image", IMAGE, program.to_str().unwrap()]).ok();

    let service = format!("webhook.{}.svc", namespace.name);
    let certified = rcgen::generate_simple_self_signed([service]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    namespace
        .apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"},
            "stringData": {"tls.crt": certificate, "tls.key": key},
        }))
        .ok();
    let mut server = pod("webhook", "");
    server["spec"]["volumes"] = json!([{"name": "tls", "secret": {"secretName": "tls"}}]);
    server["spec"]["containers"] = json!([{
        "name": "main",
        "image": IMAGE,
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }]);
    namespace.apply(&server).ok();
    namespace
        .apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "webhook"},
            "spec": {"selector": {"app": "webhook"}, "ports": [{"port": 443, "targetPort": 8443}]},
        }))
        .ok();
    namespace.wait_for_pod("webhook", "Running");
    let configuration = Configuration(namespace.name.clone());
    namespace
        .apply(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": configuration.0},
            "webhooks": [{
                "name": "refuse.bulla.test",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "clientConfig": {
                    "service": {"namespace": namespace.name, "name": "webhook"},
                    "caBundle": base64::engine::general_purpose::STANDARD.encode(&certificate),
                },
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            }],
        }))
        .ok();
    let map = |name: &str, labels| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}});
    // Until the API server has seen the configuration, it lets everything through.
    namespace.eventually("the refusal", || {
        let answer = namespace.apply(&map("refused", json!({"refused": "yes"})));
        if answer.success {
            namespace.kubectl(&["delete", "configmap", "refused"]).ok();
        }
        answer.stderr.contains("the label says that it is refused")
    });
    namespace.apply(&map("taken", json!({}))).ok();
}

/// A configuration stands outside of namespaces, so it does not go with one.
struct Configuration(String);

impl Drop for Configuration {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "validatingwebhookconfiguration", &self.0]).output();
    }
}
