//! `bulla demo --cluster`, on a real cluster: what it looks for is where it must be, and nowhere else.

use std::process::Command;

use bulla_cluster_tests::{Namespace, bulla, kubeconfig};
use serde_json::Value;

use super::sealed::both_doors;

#[test]
fn the_demo_finds_its_secret_in_the_one_pod_alone() {
    let namespace = Namespace::new("demo");
    let _door = both_doors("demo", &namespace, &[]);
    let mut demo = Command::new(bulla());
    demo.args(["demo", "--cluster", "--output=json", "--namespace", &namespace.name, "--kubeconfig"]).arg(kubeconfig());
    let output = demo.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["ok"], true);
    let found = |run: usize| -> Vec<&str> {
        let places = outcome["runs"][run]["places"].as_array().unwrap().iter();
        places
            .filter(|place| place["found"] != serde_json::json!([]))
            .map(|place| place["place"].as_str().unwrap())
            .collect()
    };
    assert_eq!(found(0), ["api", "etcd", "pod-volume", "pod-memory", "other-memory"], "{outcome:#}");
    assert_eq!(found(1), ["pod-volume", "pod-memory"], "{outcome:#}");
    // Nothing of it is left.
    let left = namespace.kubectl(&["get", "pods,secrets,sealedsecrets", "--output=name"]).ok();
    assert!(!left.lines().any(|name| name.contains("database") || name.contains("pod/with-")), "{left}");
}
