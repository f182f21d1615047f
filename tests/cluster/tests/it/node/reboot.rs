//! A node loses its power and comes up again. On a cluster of its own: others need theirs.

use bulla_cluster_tests::{Namespace, bulla_image_for, definitions_for, kubeconfig_of, xtask};
use serde_json::json;

use super::{Door, cat, class, start_provider};
use crate::ALONE;

const CLUSTER: &str = "reboot";

/// How many mounts of ours the node has for a pod.
fn mounts(uid: &str) -> usize {
    let table = xtask(["enter", "--name", CLUSTER, "--", "cat", "/proc/self/mountinfo"]).ok();
    table.lines().filter(|line| line.contains(uid) && line.contains(" - tmpfs bulla ")).count()
}

#[test]
fn after_a_reboot_pods_come_back_with_their_volumes() {
    let _alone = ALONE.lock();
    xtask(["up", "--name", CLUSTER]).ok();
    let config = kubeconfig_of(CLUSTER);
    definitions_for(&config);
    let namespace = Namespace::new_in(config, "reboot");
    start_provider(&namespace, CLUSTER);
    let door = Door::open("reboot", &namespace, &bulla_image_for(CLUSTER));
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    for pod in ["stays", "goes"] {
        namespace.apply(&door.pod(pod, "app")).ok();
        namespace.wait_for_pod(pod, "Running");
    }
    let uids = ["stays", "goes"].map(|pod| namespace.field(&format!("pod/{pod}"), ".metadata.uid"));
    let started = || namespace.field("pod/stays", ".status.containerStatuses[0].state.running.startedAt");
    let before = started();

    xtask(["reboot", "--name", CLUSTER]).ok();
    namespace.eventually("another start", || !started().is_empty() && started() != before);
    namespace.wait_for_pod("stays", "Running");
    assert_eq!(namespace.field("pod/stays", ".metadata.uid"), uids[0]);
    assert_eq!(cat(&namespace, "stays", "/secrets/a"), "x");
    assert_eq!(mounts(&uids[0]), 1);

    namespace.kubectl(&["delete", "pod", "stays", "goes", "--wait", "--timeout=90s"]).ok();
    for uid in &uids {
        namespace.eventually("no mount", || mounts(uid) == 0);
        let folder = format!("/var/lib/kubelet/pods/{uid}");
        namespace.eventually("no folder", || !xtask(["enter", "--name", CLUSTER, "--", "ls", &folder]).success);
    }
    drop(door);
    xtask(["down", "--name", CLUSTER]).ok();
}
