//! Least privilege is real here: what the Node authorizer, `NodeRestriction` and RBAC refuse.

use std::fs;

use bulla_cluster_tests::{Namespace, own_cluster, own_name};
use serde_json::json;

use crate::{pod, pod_with_secret, secret};

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
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(bulla_cluster_tests::kubeconfig()).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    serde_json::to_writer(fs::File::create(&file).unwrap(), &config).unwrap();
    assert!(namespace.kubectl_as(&file, &["auth", "whoami"]).ok().contains("system:serviceaccount:"));
    let refusal = namespace.kubectl_as(&file, &["get", "secret", "s"]).refused();
    assert!(refusal.contains("Forbidden"), "{refusal}");
}
