//! The kubelet is killed and started again. On a cluster of its own: others need theirs.

use std::fs;
use std::process::Command;

use bulla_cluster_tests::{Namespace, bulla_image_for, definitions_for, kubeconfig_of, xtask};
use serde_json::json;

use super::{Door, cat, class, start_provider};
use crate::ALONE;

const CLUSTER: &str = "kubelet";

/// The kubelet of the cluster's node, on this machine.
fn kubelet() -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').nth(1) == Some("kubelet") && line.contains(&format!("/{CLUSTER}/node1/"))
    })
}

#[test]
fn a_kubelet_that_starts_again_finds_driver_and_volumes() {
    let _alone = ALONE.lock();
    xtask(["up", "--name", CLUSTER]).ok();
    let config = kubeconfig_of(CLUSTER);
    definitions_for(&config);
    let namespace = Namespace::new_in(config, "kubelet");
    start_provider(&namespace, CLUSTER);
    let door = Door::open("kubelet", &namespace, &bulla_image_for(CLUSTER));
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    namespace.apply(&door.pod("before", "app")).ok();
    namespace.wait_for_pod("before", "Running");
    let halves = door.halves();

    let old = kubelet().expect("a kubelet");
    assert!(Command::new("kill").args(["-KILL", &old.to_string()]).status().unwrap().success());
    namespace.eventually("another kubelet", || kubelet().is_some_and(|new| new != old));
    namespace.apply(&door.pod("after", "app")).ok();
    namespace.wait_for_pod("after", "Running");
    assert_eq!(cat(&namespace, "after", "/secrets/a") + &cat(&namespace, "before", "/secrets/a"), "xx");
    assert_eq!(door.halves(), halves, "the service was started again");
    // What it did not mount itself, it has taken away.
    namespace.kubectl(&["delete", "pod", "before", "after", "--wait", "--timeout=60s"]).ok();
    drop(door);
    xtask(["down", "--name", CLUSTER]).ok();
}
