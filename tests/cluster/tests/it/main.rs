//! What the cluster is: a real Kubernetes, with its authorizers, networks and leaks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod authorizers;
mod baseline;
mod chart;
mod definitions;
mod install;
mod lacks;
mod lifecycle;
mod network;
mod operator;
mod pods;
mod sealing;
mod sealing_keys;
mod webhook;

use std::sync::Mutex;

use serde_json::{Value, json};

/// Held by a test that starts clusters of its own: some count what clusters leave.
static ALONE: Mutex<()> = Mutex::new(());

/// A pod with one container of busybox that runs a text for its shell.
fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": bulla_cluster_tests::BUSYBOX, "command": ["sh", "-c", script]}],
        },
    })
}

/// A Secret with one value under `password`, as text.
fn secret(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": value}})
}

/// A pod that has a Secret as a volume at `/secret`.
fn pod_with_secret(name: &str, secret: &str, script: &str) -> Value {
    let mut pod = pod(name, script);
    pod["spec"]["volumes"] = json!([{"name": "secret", "secret": {"secretName": secret}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "secret", "mountPath": "/secret"}]);
    pod
}
