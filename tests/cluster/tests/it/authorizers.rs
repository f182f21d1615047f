//! Least privilege is real here: what the Node authorizer, `NodeRestriction` and RBAC refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bulla_cluster_tests::{Namespace, Outcome, kubectl_as, own_cluster, own_name, xtask};
use serde_json::json;

use crate::{ALONE, pod, pod_with_secret, secret, with_token};

#[test]
fn a_node_gets_the_secrets_of_its_own_pods_and_no_others() {
    let namespace = Namespace::new("node");
    namespace.apply(&secret("mine", "a")).ok();
    namespace.apply(&secret("others", "b")).ok();
    namespace.apply(&secret("nobodys", "c")).ok();
    namespace.apply(&pod_with_secret("here", "mine", "sleep 1000")).ok();
    let mut elsewhere = pod_with_secret("elsewhere", "others", "sleep 1000");
    elsewhere["spec"]["nodeName"] = json!("another-node");
    namespace.apply(&elsewhere).ok();
    namespace.wait_for_pod("here", "Running");
    let node = own_cluster("node1/node.kubeconfig");
    namespace.kubectl_as(&node, &["get", "secret", "mine"]).ok();
    for secret in ["others", "nobodys"] {
        let refusal = namespace.kubectl_as(&node, &["get", "secret", secret]).refused();
        assert!(refusal.contains("Forbidden") && refusal.contains("no relationship found"), "{refusal}");
    }
    let refusal = namespace.kubectl_as(&node, &["get", "secrets"]).refused();
    assert!(refusal.contains("Forbidden"), "{refusal}");
}

#[test]
fn a_node_cannot_change_another_or_pods_of_another() {
    let namespace = Namespace::new("restriction");
    let mut elsewhere = pod("elsewhere", "sleep 1000");
    elsewhere["spec"]["nodeName"] = json!("another-node");
    namespace.apply(&elsewhere).ok();
    let node = own_cluster("node1/node.kubeconfig");
    let refusal = namespace.kubectl_as(&node, &["delete", "pod", "elsewhere", "--wait=false"]).refused();
    assert!(refusal.contains("Forbidden"), "{refusal}");
    let itself = format!("{}-1", own_name());
    let refusal =
        namespace.kubectl_as(&node, &["label", "node", &itself, "node-restriction.kubernetes.io/x=y"]).refused();
    assert!(refusal.contains("is not allowed to modify labels"), "{refusal}");
}

#[test]
fn a_pod_s_service_account_may_not_read_secrets() {
    let namespace = Namespace::new("account");
    namespace.apply(&secret("s", "a")).ok();
    let token = namespace.kubectl(&["create", "token", "default"]).ok();
    let folder = tempfile::tempdir().unwrap();
    let file = with_token(folder.path(), "account", token.trim());
    assert!(namespace.kubectl_as(&file, &["auth", "whoami"]).ok().contains("system:serviceaccount:"));
    let refusal = namespace.kubectl_as(&file, &["get", "secret", "s"]).refused();
    assert!(refusal.contains("Forbidden"), "{refusal}");
}

/// A cluster of two nodes, gone with the test.
struct Pair;

impl Pair {
    fn start() -> Self {
        xtask(["up", "--name", "pair", "--nodes", "2"]).ok();
        Self
    }

    fn file(name: &str) -> PathBuf {
        Path::new("/var/tmp/bulla-cluster/pair").join(name)
    }

    /// kubectl as a node, or as the administrator.
    fn kubectl(who: &str, arguments: &[&str]) -> Outcome {
        let output = kubectl_as(&Self::file(who)).args(arguments).output().unwrap();
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn eventually(what: &str, is_true: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_true() {
            assert!(since.elapsed() < Duration::from_mins(1), "{what} did not come true");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs a pod on a node, with the secret as a volume.
    fn run(pod: &str, node: &str) {
        let mut object = pod_with_secret(pod, "s", "sleep 1000");
        object["spec"]["nodeName"] = json!(node);
        Self::apply(&object);
        let phase = ["get", "pod", pod, "--output", "jsonpath={.status.phase}"];
        Self::eventually("the pod runs", || Self::kubectl(ADMIN, &phase).stdout == "Running");
    }

    fn apply(object: &serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("object.json");
        serde_json::to_writer(fs::File::create(&file).unwrap(), object).unwrap();
        Self::kubectl(ADMIN, &["apply", "--filename", file.to_str().unwrap()]).ok();
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = xtask(["down", "--name", "pair"]);
    }
}

const ADMIN: &str = "pki/admin.kubeconfig";
const FIRST: &str = "node1/node.kubeconfig";
const SECOND: &str = "node2/node.kubeconfig";

#[test]
fn a_second_node_gets_a_secret_once_a_pod_on_it_uses_it_and_no_longer() {
    let _alone = ALONE.lock();
    let _pair = Pair::start();
    let read = ["get", "secret", "s"];
    Pair::apply(&secret("s", "a"));
    Pair::run("one", "pair-1");
    Pair::kubectl(FIRST, &read).ok();
    let refusal = Pair::kubectl(SECOND, &read).refused();
    assert!(refusal.contains("no relationship found between node 'pair-2'"), "{refusal}");
    Pair::run("two", "pair-2");
    Pair::kubectl(SECOND, &read).ok();
    Pair::kubectl(ADMIN, &["delete", "pod", "two", "--now"]).ok();
    Pair::eventually("the second node is refused again", || !Pair::kubectl(SECOND, &read).success);
    Pair::kubectl(FIRST, &read).ok();
}
