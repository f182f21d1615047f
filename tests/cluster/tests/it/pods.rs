//! Pods run: volumes, logs, exec.

use bulla_cluster_tests::Namespace;

use crate::{pod, pod_with_secret, secret};

#[test]
fn every_node_is_ready() {
    let namespace = Namespace::new("nodes");
    let path = ".items[*].status.conditions[?(@.type==\"Ready\")].status";
    let ready = namespace.kubectl(&["get", "nodes", "--output", &format!("jsonpath={{{path}}}")]).ok();
    assert!(!ready.is_empty() && ready.split(' ').all(|status| status == "True"), "{ready}");
}

#[test]
fn a_pod_reads_a_secret_from_its_volume_and_logs_it() {
    let namespace = Namespace::new("volume");
    namespace.apply(&secret("s", "from the volume")).ok();
    namespace.apply(&pod_with_secret("reader", "s", "cat /secret/password")).ok();
    namespace.eventually("the log", || namespace.kubectl(&["logs", "reader"]).stdout == "from the volume");
}

#[test]
fn a_command_runs_in_a_pod_with_input_output_and_status() {
    let namespace = Namespace::new("exec");
    namespace.apply(&pod("p", "sleep 1000")).ok();
    namespace.wait_for_pod("p", "Running");
    assert_eq!(namespace.kubectl(&["exec", "p", "--", "echo", "here"]).ok(), "here\n");
    let failed = namespace.kubectl(&["exec", "p", "--", "sh", "-c", "echo there >&2; exit 3"]);
    assert!(!failed.success && failed.stderr.contains("there") && failed.stderr.contains("exit code 3"), "{failed:?}");
}
