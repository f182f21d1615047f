//! Shares given by people, from their making to an open controller.

use std::io::Write;
use std::process::Stdio;

use bulla_cluster_tests::Namespace;
use serde_json::{Value, json};

use super::{Keys, Ran, bulla, list, sealing_keys};

/// Gives a share on standard input.
fn give(keys: &Keys, share: &str) -> Ran {
    let mut command = bulla();
    command.args(["sealing-keys", "unseal", "--address", &keys.server.url(), "--output", "json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(share.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

fn state(text: &str) -> (bool, u64) {
    let value: Value = serde_json::from_str(text).unwrap();
    let state = &value[0]["state"];
    (state["sealed"].as_bool().unwrap(), state["given"].as_u64().unwrap())
}

#[test]
fn people_unseal_the_controller_with_their_shares() {
    let namespace = Namespace::new("keys-shares");
    let said = sealing_keys(&namespace, &["serve", "--key-service", "shares"]).refused();
    assert!(said.contains("init-shares"), "{said}");
    let text = sealing_keys(&namespace, &["init-shares", "--shares", "3", "--threshold", "2"]).ok();
    let shares: Vec<&str> = text.lines().collect();
    assert_eq!(shares.len(), 3);
    sealing_keys(&namespace, &["init-shares", "--shares", "3", "--threshold", "2"]).refused();
    let kept = namespace.kubectl(&["get", "configmap", "bulla-sealing-shares", "--output", "yaml"]).ok();
    assert!(shares.iter().all(|share| !kept.contains(&share[50..80])), "a share is in the cluster");

    let keys = Keys::start(&namespace, &["--key-service", "shares"]);
    namespace.eventually("it says that it is sealed", || keys.get("/readyz").1.contains("0 of 2 shares given"));
    assert_eq!(state(&give(&keys, shares[2]).ok()), (true, 1));
    assert_eq!(state(&give(&keys, shares[2]).ok()), (true, 1));
    let wrong = shares[0].replace(&shares[0][60..62], if &shares[0][60..62] == "00" { "11" } else { "00" });
    assert!(give(&keys, &wrong).refused().contains("typing error"));
    assert!(give(&keys, "hunter2").refused().contains("not a share"));
    assert!(keys.get("/readyz").1.contains("1 of 2 shares given"));
    assert_eq!(state(&give(&keys, shares[0]).ok()), (false, 0));
    namespace.eventually("it is ready", || keys.get("/readyz").0 == 200);
    let certificate = keys.certificate();
    assert!(list(&namespace)[0]["keyGroups"].to_string().contains("shares"));
    assert!(shares.iter().all(|share| !keys.log().contains(&share[50..80])), "a share is in the log");
    drop(keys);

    // After a restart it is sealed again, and still gives out its certificate.
    let keys = Keys::start(&namespace, &["--key-service", "shares"]);
    namespace.eventually("it is sealed again", || keys.get("/readyz").1.contains("0 of 2 shares given"));
    namespace.eventually("the certificate", || keys.get("/v1/cert.pem") == (200, certificate.clone()));
    for share in &shares[..2] {
        give(&keys, share).ok();
    }
    namespace.eventually("it is ready again", || keys.get("/readyz").0 == 200);
    assert_eq!(keys.certificate(), certificate);
    assert_eq!(list(&namespace).len(), 1);
    drop(keys);

    // Somebody puts in a set whose shares they hold.
    let theirs = Namespace::new("keys-shares-theirs");
    let said = sealing_keys(&theirs, &["init-shares", "--shares", "3", "--threshold", "2"]);
    assert!(said.stderr.contains("--key-service shares:"), "{}", said.stderr);
    let set = theirs.field("configmap/bulla-sealing-shares", r".data.set\.json");
    let patch = json!({"data": {"set.json": set}}).to_string();
    namespace.kubectl(&["patch", "configmap/bulla-sealing-shares", "--type", "merge", "--patch", &patch]).ok();
    let said = sealing_keys(&namespace, &["serve", "--key-service", "shares"]).refused();
    assert!(said.contains("is the one that keys are wrapped for"), "{said}");
}
