//! Secrets that are made of mounted files: whose they are, when they change, when they go, and which are left alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, kubectl};
use serde_json::{Value, json};

use super::{Door, class};

/// A class whose file `password` is to be the key of a Secret.
fn synced(name: &str, contents: &str, secret: &str) -> Value {
    let mut class = class(
        name,
        &json!([{"objectName": "password", "contents": contents}, {"objectName": "other", "contents": "x"}]),
    );
    class["spec"]["secretObjects"] = json!([{
        "secretName": secret, "type": "Opaque", "labels": {"app": "shop"}, "annotations": {"note": "from a class"},
        "data": [{"objectName": "password", "key": "DATABASE_PASSWORD"}],
    }]);
    class
}

fn value(namespace: &Namespace, secret: &str) -> String {
    let text = namespace.field(&format!("secret/{secret}"), ".data.DATABASE_PASSWORD");
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

#[test]
fn a_secret_is_its_class_s_changes_with_it_and_outlives_every_pod() {
    let door = Door::with_operator();
    let namespace = Namespace::new("sync");
    namespace.apply(&synced("app", "old", "database")).ok();
    // A container that wants the Secret starts when it is there.
    let mut pod = door.pod("p", "app");
    pod["spec"]["containers"][0]["envFrom"] = json!([{"secretRef": {"name": "database"}}]);
    namespace.apply(&pod).ok();
    namespace.wait_for_pod("p", "Running");
    assert_eq!(value(&namespace, "database"), "old");
    let of = |path: &str| namespace.field("secret/database", path);
    assert_eq!(of(".type"), "Opaque");
    assert_eq!(of(".metadata.annotations.note"), "from a class");
    let labels: Value = serde_json::from_str(&of(".metadata.labels")).unwrap();
    assert_eq!(
        labels,
        json!({"app": "shop", "bulla.dev/plain": "secret-provider-class", "secrets-store.csi.k8s.io/managed": "true"})
    );
    let uid = namespace.field("secretproviderclass/app", ".metadata.uid");
    assert_eq!(of(".metadata.ownerReferences[*]['kind','uid']"), format!("SecretProviderClass {uid}"));
    assert_eq!(of(".data").matches(':').count(), 1);

    // What others put there stays, what changes in the class comes.
    namespace.kubectl(&["label", "secret", "database", "theirs=yes"]).ok();
    namespace.apply(&synced("app", "new", "database")).ok();
    namespace.eventually("the new value", || value(&namespace, "database") == "new");
    assert_eq!(of(".metadata.labels.theirs"), "yes");

    // The last pod goes, as between two of a rollout: the Secret is the class's.
    namespace.kubectl(&["delete", "pod", "p", "--wait"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(10));
    assert_eq!(value(&namespace, "database"), "new");
    namespace.kubectl(&["delete", "secretproviderclass", "app"]).ok();
    namespace.eventually("the Secret's end", || of(".metadata.name").is_empty());
}

#[test]
fn a_secret_of_somebody_else_is_left_alone_and_the_pod_is_told() {
    let door = Door::with_operator();
    let namespace = Namespace::new("foreign");
    let labels = json!({"bulla.dev/plain": "secret-provider-class", "secrets-store.csi.k8s.io/managed": "true"});
    let foreign = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database", "labels": labels},
        "stringData": {"DATABASE_PASSWORD": "theirs"},
    });
    namespace.apply(&foreign).ok();
    namespace.apply(&synced("app", "ours", "database")).ok();
    namespace.apply(&door.pod("p", "app")).ok();
    namespace.wait_for_pod("p", "Running");
    let of = "--field-selector=involvedObject.name=p,reason=SecretSyncFailed";
    let told = || namespace.kubectl(&["get", "events", of, "--output", "jsonpath={.items[*].message}"]).ok();
    namespace.eventually("the complaint", || told().contains("does not belong to SecretProviderClass app"));
    assert_eq!(value(&namespace, "database"), "theirs");
    // Nor is one of another class.
    namespace.kubectl(&["delete", "secret", "database"]).ok();
    namespace.kubectl(&["annotate", "secretproviderclass", "app", "bulla.dev/refresh=1"]).ok();
    namespace.eventually("the Secret", || namespace.kubectl(&["get", "secret", "database"]).success);
    namespace.apply(&synced("second", "second", "database")).ok();
    namespace.apply(&door.pod("q", "second")).ok();
    namespace.wait_for_pod("q", "Running");
    let of = "--field-selector=involvedObject.name=q,reason=SecretSyncFailed";
    let told = || namespace.kubectl(&["get", "events", of, "--output", "jsonpath={.items[*].message}"]).ok();
    namespace.eventually("the complaint", || told().contains("does not belong to SecretProviderClass second"));
    assert_eq!(value(&namespace, "database"), "ours");
}

#[test]
fn a_class_that_says_so_has_its_secret_for_as_long_as_pods_mount_it() {
    let door = Door::with_operator();
    let namespace = Namespace::new("lifetime");
    let mut class = synced("app", "x", "database");
    class["metadata"]["annotations"] = json!({"bulla.dev/secret-lifetime": "pods"});
    namespace.apply(&class).ok();
    for pod in ["a", "b"] {
        namespace.apply(&door.pod(pod, "app")).ok();
        namespace.wait_for_pod(pod, "Running");
    }
    let is_there = || !namespace.field("secret/database", ".metadata.name").is_empty();
    namespace.eventually("the Secret", is_there);
    namespace.kubectl(&["delete", "pod", "a", "--wait"]).ok();
    std::thread::sleep(std::time::Duration::from_secs(10));
    assert!(is_there(), "another pod mounts it");
    namespace.kubectl(&["delete", "pod", "b", "--wait"]).ok();
    namespace.eventually("the Secret's end", || !is_there());
}

#[test]
fn a_secret_that_would_be_more_than_one_is_not_made_and_no_node_may_write_any() {
    let door = Door::with_operator();
    let namespace = Namespace::new("more");
    let mut class = synced("app", "x", "token");
    class["spec"]["secretObjects"][0]["type"] = json!("kubernetes.io/service-account-token");
    class["spec"]["secretObjects"][0]["annotations"] = json!({"kubernetes.io/service-account.name": "default"});
    namespace.apply(&class).ok();
    namespace.apply(&door.pod("p", "app")).ok();
    namespace.wait_for_pod("p", "Running");
    let of = "--field-selector=involvedObject.name=p,reason=SecretSyncFailed";
    let told = || namespace.kubectl(&["get", "events", of, "--output", "jsonpath={.items[*].message}"]).ok();
    namespace.eventually("the complaint", || told().contains("would be more than a Secret"));
    assert_eq!(namespace.kubectl(&["get", "secrets", "--output", "name"]).ok(), "");
    let home = door.driver.trim_end_matches(".bulla.test");
    let node = format!("system:serviceaccount:{home}:asks-bulla-node");
    for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
        let may =
            kubectl().args(["auth", "can-i", verb, "secrets", "--as", &node, "--all-namespaces"]).output().unwrap();
        assert!(!may.status.success(), "{verb}");
    }
}
