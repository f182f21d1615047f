//! The Secrets Store CSI driver's own program runs, with pods that have its volumes, and bulla comes in its place.

use std::time::{Duration, Instant};

use bulla_cluster_tests::{BUSYBOX, Namespace, bulla_image, on_node, own_name, xtask};
use bulla_test_support::program;
use serde_json::{Value, json};

use super::{AUDIENCE, Door, PROVIDERS, cat, class};
use crate::pod;

const IMAGE: &str = "bulla.test/secrets-store-csi-driver:1";
/// The kubelet asks for what is mounted each minute and a half, at the latest.
const ASKED: Duration = Duration::from_mins(3);

/// The driver and, in the place of its sidecar, who tells the kubelet of it.
fn peer(driver: &str) -> Value {
    let folder = format!("/var/lib/kubelet/plugins/{driver}");
    let path = |name: &str, path: &str| json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}});
    let mut peer = pod("peer", "");
    peer["spec"]["serviceAccountName"] = json!("peer");
    peer["spec"]["volumes"] = json!([
        path("csi", &folder),
        path("pods", "/var/lib/kubelet/pods"),
        path("registry", "/var/lib/kubelet/plugins_registry"),
        path("providers", PROVIDERS),
        {"name": "tools", "emptyDir": {}},
    ]);
    // The driver's own image has these two programs beside it.
    peer["spec"]["initContainers"] = json!([{
        "name": "tools",
        "image": BUSYBOX,
        "command": ["sh", "-c", "for name in mount umount; do cp /bin/busybox /tools/$name; done"],
        "volumeMounts": [{"name": "tools", "mountPath": "/tools"}],
    }]);
    let root = json!({"runAsUser": 0, "privileged": true});
    peer["spec"]["containers"] = json!([
        {
            "name": "main",
            "image": IMAGE,
            "args": [
                "--endpoint=unix:///csi/csi.sock", "--nodeid=$(NODE)", format!("--drivername={driver}"),
                "--provider-volume=/providers", "--additional-provider-volume-paths=/nowhere", "--metrics-addr=:18095",
            ],
            "env": [{"name": "PATH", "value": "/tools"}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "securityContext": root,
            "volumeMounts": [
                {"name": "csi", "mountPath": "/csi"},
                {"name": "pods", "mountPath": "/var/lib/kubelet/pods", "mountPropagation": "Bidirectional"},
                {"name": "providers", "mountPath": "/providers"},
                {"name": "tools", "mountPath": "/tools"},
            ],
        },
        {
            "name": "registrar",
            "image": "bulla.test/csi-provider:1",
            "args": [
                format!("-register={driver}={folder}/csi.sock"),
                format!("-endpoint=unix:///registration/{driver}-reg.sock"),
            ],
            "securityContext": root,
            "volumeMounts": [{"name": "registry", "mountPath": "/registration"}],
        },
    ]);
    peer
}

/// What the node's table says of a pod's volumes of this kind.
fn mounts(uid: &str) -> Vec<String> {
    let table = on_node(&["cat", "/proc/self/mountinfo"]).ok();
    table.lines().filter(|line| line.contains(uid) && line.contains("kubernetes.io~csi")).map(str::to_owned).collect()
}

#[test]
fn pods_of_the_secrets_store_csi_driver_keep_their_files_and_get_new_ones_from_bulla() {
    // It has the definitions, and the provider, which stays.
    Door::shared();
    let namespace = Namespace::new("takes");
    let driver = format!("{}.bulla.test", namespace.name);
    let program = program("bin/secrets-store-csi-driver");
    xtask(["load", "--name", &own_name(), "--image", IMAGE, program.to_str().unwrap()]).ok();
    let (name, account) = (format!("{}-peer", namespace.name), format!("{}:peer", namespace.name));
    namespace.kubectl(&["create", "serviceaccount", "peer"]).ok();
    let admin = ["create", "clusterrolebinding", &name, "--clusterrole=cluster-admin", "--serviceaccount", &account];
    namespace.kubectl(&admin).ok();
    let known = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": driver},
        "spec": {
            "attachRequired": false, "podInfoOnMount": true, "requiresRepublish": true,
            "volumeLifecycleModes": ["Ephemeral"], "tokenRequests": [{"audience": AUDIENCE}],
        },
    });
    namespace.apply(&known).ok();
    namespace.apply(&peer(&driver)).ok();
    namespace.wait_for_pod("peer", "Running");
    let counted =
        |contents: &str| json!([{"objectName": "a", "contents": contents}, {"objectName": "n", "counted": true}]);
    namespace.apply(&class("app", &counted("old"))).ok();

    let with_volume = |name: &str| {
        let attributes = json!({"secretProviderClass": "app"});
        let csi = json!({"driver": driver, "readOnly": true, "volumeAttributes": attributes});
        let mut with = pod(name, "sleep 1000");
        with["spec"]["volumes"] = json!([{"name": "secrets", "csi": csi}]);
        with["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "secrets", "mountPath": "/secrets"}]);
        with
    };
    namespace.apply(&with_volume("stays")).ok();
    namespace.apply(&with_volume("goes")).ok();
    let uids = ["stays", "goes"].map(|name| {
        namespace.wait_for_pod(name, "Running");
        assert_eq!(cat(&namespace, name, "/secrets/a"), "old");
        namespace.field(&format!("pod/{name}"), ".metadata.uid")
    });
    let theirs = mounts(&uids[0]);
    assert!(theirs.len() == 1 && !theirs[0].contains(" - tmpfs bulla "), "{theirs:?}");

    // As its chart goes: the driver, its rights and its CSIDriver object. Classes and volumes stay.
    namespace.kubectl(&["delete", "pod", "peer", "--wait"]).ok();
    namespace.kubectl(&["delete", "clusterrolebinding", &name]).ok();
    namespace.kubectl(&["delete", "csidriver", &driver]).ok();
    let door = Door::open("takes", &namespace, &bulla_image());
    assert_eq!(door.driver, driver);
    assert_eq!(cat(&namespace, "stays", "/secrets/a"), "old");
    // One that goes before the kubelet has asked for it again.
    namespace.kubectl(&["delete", "pod", "goes", "--wait"]).ok();
    // The kubelet takes volumes away after the pod's object has gone.
    namespace.eventually("the end of its mount", || mounts(&uids[1]).is_empty());

    namespace.apply(&class("app", &counted("new"))).ok();
    let begun = Instant::now();
    while cat(&namespace, "stays", "/secrets/a") != "new" {
        assert!(begun.elapsed() < ASKED, "{}", namespace.kubectl(&["describe", "pod", "stays"]).ok());
        std::thread::sleep(Duration::from_secs(1));
    }
    // From then on a change is there at once, as for any other volume.
    namespace.apply(&class("app", &counted("newer"))).ok();
    namespace.eventually("the next change", || cat(&namespace, "stays", "/secrets/a") == "newer");
    assert_eq!(namespace.field("pod/stays", ".status.containerStatuses[0].restartCount"), "0");
    namespace.apply(&door.pod("new", "app")).ok();
    namespace.wait_for_pod("new", "Running");
    assert_eq!(cat(&namespace, "new", "/secrets/a"), "newer");
    for pod in ["stays", "new"] {
        namespace.kubectl(&["delete", "pod", pod, "--wait"]).ok();
    }
    namespace.eventually("the end of all mounts", || mounts(&uids[0]).is_empty());
}
