//! People unseal controllers in pods: through the API server, with what the chart lets them do and no more.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bulla_cluster_tests::{Namespace, Release, bulla, bulla_image, definitions, kubectl};
use serde_json::Value;
use tempfile::TempDir;

use super::{Ran, sealing_keys};
use crate::with_token;

/// Makes a set of three shares of which two open, before the controller is installed.
pub(crate) fn shares(namespace: &Namespace) -> Vec<String> {
    definitions();
    let text = sealing_keys(namespace, &["init-shares", "--shares", "3", "--threshold", "2"]).ok();
    text.lines().map(str::to_owned).collect()
}

/// Gives a share to every replica of a release, as whoever the configuration names.
pub(crate) fn give(namespace: &Namespace, kubeconfig: &Path, share: &str) -> Ran {
    let mut command = unseal(namespace, kubeconfig);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(share.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn unseal(namespace: &Namespace, kubeconfig: &Path) -> Command {
    let mut command = Command::new(bulla());
    command.args(["sealing-keys", "unseal", "--output", "json", "--controller-namespace", &namespace.name]);
    command.arg("--kubeconfig").arg(kubeconfig);
    command
}

/// Waits until all pods of a release run, sealed or not.
pub(crate) fn wait_for_pods(namespace: &Namespace, count: usize) {
    let running = ["get", "pods", "--selector", "app.kubernetes.io/name=bulla", "--output"];
    let running =
        [&running[..], &["jsonpath={.items[*].status.containerStatuses[0].state.running.startedAt}"]].concat();
    namespace.eventually("the pods run", || namespace.kubectl(&running).ok().split_whitespace().count() == count);
}

/// How many replicas are still sealed, and how many shares each has.
fn states(text: &str) -> Vec<(bool, u64)> {
    let states: Value = serde_json::from_str(text).unwrap();
    let one = |state: &Value| (state["state"]["sealed"].as_bool().unwrap(), state["state"]["given"].as_u64().unwrap());
    states.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn people_unseal_every_pod_through_the_api_server() {
    let namespace = Namespace::restricted("unseal");
    let shares = shares(&namespace);
    let release = Release::new("people", &namespace);
    let [repository, tag] = bulla_image();
    let namespaces = format!("sealing.namespaces={{{}}}", namespace.name);
    let group = format!("system:serviceaccounts:{}", namespace.name);
    let unsealers = format!("sealing.access.unseal={{{group}}}");
    let door = ["sealing.enabled=true", "sealing.keyService.shares=true", "crds.install=false"];
    release.set(&[&door[..], &[&repository, &tag, &namespaces, &unsealers]].concat()).ok();
    wait_for_pods(&namespace, 2);

    // Ann and Ben may give shares, and nothing else of the cluster is theirs. Somebody else may not.
    let folder = TempDir::new().unwrap();
    let people = ["ann", "ben"].map(|name| {
        namespace.kubectl(&["create", "serviceaccount", name]).ok();
        with_token(folder.path(), name, namespace.kubectl(&["create", "token", name]).ok().trim())
    });
    let other = Namespace::new("stranger");
    let stranger = with_token(folder.path(), "stranger", other.kubectl(&["create", "token", "default"]).ok().trim());
    let refusal = give(&namespace, &stranger, &shares[0]).refused();
    assert!(refusal.contains("forbidden") && refusal.contains("default"), "{refusal}");
    assert!(!namespace.kubectl_as(&people[0], &["get", "secrets"]).success);

    let ready = || {
        let path = "jsonpath={.status.readyReplicas}";
        let deployment = ["get", "deployment/people-bulla-operator", "--output", path];
        namespace.kubectl(&deployment).ok()
    };
    let said = give(&namespace, &people[0], &shares[0]);
    assert!(said.stderr.contains("has the key"), "no fingerprint: {}", said.stderr);
    assert_eq!(states(&said.ok()), [(true, 1), (true, 1)]);
    assert_eq!(ready(), "");
    assert_eq!(states(&give(&namespace, &people[1], &shares[2]).ok()), [(false, 0), (false, 0)]);
    namespace.eventually("both are ready", || ready() == "2");

    // The proxy saw ciphertext, and so did whoever reads the logs.
    let logs = ["logs", "--selector", "app.kubernetes.io/name=bulla", "--tail=-1"];
    let logs = namespace.kubectl(&logs).ok();
    assert!(logs.contains("enough shares were given"), "{logs}");
    assert!(shares.iter().all(|share| !logs.contains(&share[50..80])), "a share is in the log");

    // A pod that is made anew is sealed by itself; the other one works, and people open it alone.
    let pods =
        namespace.kubectl(&["get", "pods", "--selector", "app.kubernetes.io/name=bulla", "--output", "name"]).ok();
    namespace.kubectl(&["delete", pods.lines().next().unwrap(), "--wait=true"]).ok();
    wait_for_pods(&namespace, 2);
    let state = |text: &str| {
        let mut states = states(text);
        states.sort_unstable();
        states
    };
    assert_eq!(state(&give(&namespace, &people[1], &shares[1]).ok()), [(false, 0), (true, 1)]);
    assert_eq!(state(&give(&namespace, &people[0], &shares[0]).ok()), [(false, 0), (false, 0)]);
    namespace.eventually("both are ready again", || ready() == "2");
    let keys = kubectl().args(["get", "sealingkeys", "--output", "name", "--namespace", &namespace.name]).output();
    assert_eq!(String::from_utf8(keys.unwrap().stdout).unwrap().lines().count(), 1);
}
