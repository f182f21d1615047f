//! The service is killed, started again, and taken away.

use std::path::Path;
use std::process::Command;

use bulla_cluster_tests::{Namespace, bulla_image, kubectl, on_node};
use serde_json::json;

use super::{Door, cat, class, mounts_of};

/// Whether the cluster's nodes have a driver.
fn is_registered(driver: &str) -> bool {
    let names = "jsonpath={.items[*].spec.drivers[*].name}";
    let output = kubectl().args(["get", "csinodes", "--output", names]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').any(|name| name == driver)
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn pods_keep_their_files_when_it_is_killed_and_nothing_is_left_when_it_goes() {
    Door::shared();
    let namespace = Namespace::new("killed");
    let door = Door::open("killed", &namespace, &bulla_image());
    assert!(is_registered(&door.driver));
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    namespace.apply(&door.pod("before", "app")).ok();
    namespace.wait_for_pod("before", "Running");

    let halves = door.halves().expect("two processes");
    // The one may take the other with it before its own signal comes.
    Command::new("kill").arg("-KILL").args(halves.map(|pid| pid.to_string())).output().unwrap();
    namespace.eventually("their end", || !halves.iter().any(|pid| is_there(*pid)));
    assert_eq!(cat(&namespace, "before", "/secrets/a"), "x");
    namespace.apply(&door.pod("after", "app")).ok();
    namespace.wait_for_pod("after", "Running");
    assert_eq!(cat(&namespace, "after", "/secrets/a") + &cat(&namespace, "before", "/secrets/a"), "xx");
    assert!(door.halves().is_some_and(|new| !new.iter().any(|pid| halves.contains(pid))));

    // One half does not live without the other.
    let [mounting, serving] = door.halves().expect("two processes");
    Command::new("kill").args(["-KILL", &mounting.to_string()]).status().unwrap();
    namespace.eventually("the other's end", || !is_there(serving));
    assert_eq!(cat(&namespace, "before", "/secrets/a"), "x");
    let rollout = ["rollout", "status", "daemonset/killed-bulla-node", "--timeout=120s"];
    namespace.eventually("the service", || door.halves().is_some());
    namespace.kubectl(&rollout).ok();

    // What was mounted before it was killed goes as if nothing had been.
    let uids = ["before", "after"].map(|pod| namespace.field(&format!("pod/{pod}"), ".metadata.uid"));
    namespace.kubectl(&["delete", "pod", "before", "after", "--wait"]).ok();
    for uid in &uids {
        namespace.eventually("no mount", || mounts_of(uid).is_empty());
    }
    door.release.uninstall().ok();
    namespace.eventually("the driver's end", || !is_registered(&door.driver));
    let plugins = on_node(&["ls", "-R", "/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry"]).ok();
    let folder = format!("/var/lib/kubelet/plugins/{}:", door.driver);
    let sockets: Vec<&str> = plugins
        .split("\n\n")
        .filter(|listing| listing.contains(&folder))
        .flat_map(|listing| listing.lines().skip_while(|line| !line.ends_with(':')).skip(1))
        .collect();
    assert_eq!(sockets, Vec::<&str>::new(), "{plugins}");
    assert!(!plugins.contains(&format!("{}-reg.sock", door.driver)), "{plugins}");
}
