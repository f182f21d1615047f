//! What the cluster is: a real Kubernetes, with its authorizers, networks and leaks.
#![allow(clippy::unwrap_used, reason = "tests")]

mod authorizers;
mod baseline;
mod chart;
mod definitions;
mod example;
mod install;
mod lacks;
mod lifecycle;
mod network;
mod node;
mod operator;
mod pods;
mod sealing;
mod sealing_keys;
mod server;
mod webhook;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bulla_cluster_tests::kubeconfig;
use bulla_test_support::random::{Random, number};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
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

/// The way to an API server, for clients in Rust.
fn config(kubeconfig: &Path) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())).unwrap()
}

/// A configuration for clients that show a token, in a folder: its path.
fn with_token(folder: &Path, name: &str, token: &str) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&fs::read(kubeconfig()).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    let path = folder.join(format!("{name}.kubeconfig"));
    serde_json::to_writer(fs::File::create(&path).unwrap(), &config).unwrap();
    path
}
