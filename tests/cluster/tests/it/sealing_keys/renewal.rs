//! New keys: on a signal, by request, once although two replicas want one; states that take effect at once.

use std::process::Command;

use bulla_cluster_tests::Namespace;
use serde_json::json;

use super::{Keys, list, local_key, sealing_keys};

#[test]
fn two_replicas_that_start_together_make_one_key() {
    let namespace = Namespace::new("keys-race");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let flags = ["--key-service", &key];
    let replicas = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| Keys::ready(&namespace, &flags))).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(list(&namespace).len(), 1);
    // What one makes, the others have without a restart.
    let before = replicas[0].certificate();
    sealing_keys(&namespace, &["renew"]).ok();
    for replica in &replicas {
        namespace.eventually("the new certificate", || replica.certificate() != before);
    }
    let after = replicas[0].certificate();
    assert!(replicas.iter().all(|replica| replica.certificate() == after));
}

#[test]
fn a_signal_makes_a_new_key_and_the_old_one_still_opens() {
    let namespace = Namespace::new("keys-signal");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key, "--my-cn", "here", "--key-renew-period", "0"]);
    let pid = keys.server.id().to_string();
    assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
    namespace.eventually("a second key", || keys.metric("bulla_sealing_keys{state=\"active\"}") == Some(2));
    // The object is heard of before it is unwrapped.
    namespace.eventually("both open", || keys.metric("bulla_sealing_keys_unavailable") == Some(0));
}

#[test]
fn a_key_is_renewed_when_its_time_has_come() {
    let namespace = Namespace::new("keys-period");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key, "--key-renew-period", "8s"]);
    namespace.eventually("a renewal", || keys.metric("bulla_sealing_keys{state=\"active\"}") >= Some(2));
    drop(keys);
    let count = list(&namespace).len();
    let keys =
        Keys::ready(&namespace, &["--key-service", &key, "--key-cutoff-time", "Mon, 02 Jan 2006 15:04:05 -0700"]);
    assert_eq!(keys.metric("bulla_sealing_keys{state=\"active\"}"), i64::try_from(count).ok());
}

#[test]
fn a_compromised_key_is_blacklisted_without_a_restart() {
    let namespace = Namespace::new("keys-black");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key]);
    let first = list(&namespace)[0]["name"].as_str().unwrap().to_owned();
    let certificate = keys.certificate();
    // A value that is sealed to it would be lost, so that has to be said.
    let sealed = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": "s"},
        "spec": {"encryptedData": {"x": "AgA="}},
    });
    namespace.apply(&sealed).ok();
    let fingerprint = list(&namespace)[0]["fingerprint"].clone();
    let status = json!({"status": {"observedGeneration": 1, "sealedWith": {"x": fingerprint}}}).to_string();
    let patch = ["patch", "sealedsecret/s", "--subresource", "status", "--type", "merge", "--patch", &status];
    namespace.kubectl(&patch).ok();
    assert_eq!(list(&namespace)[0]["values"], 1);
    let said = sealing_keys(&namespace, &["retire", &first, "--state", "compromised"]).refused();
    assert!(said.contains("1 values are sealed to") && said.contains("--force"), "{said}");
    sealing_keys(&namespace, &["retire", &first, "--state", "compromised", "--force"]).ok();
    // The leader sees that no active key is left, and makes one.
    namespace.eventually("another certificate", || {
        let (status, text) = keys.get("/v1/cert.pem");
        status == 200 && text != certificate
    });
    assert_eq!(keys.metric("bulla_sealing_keys{state=\"compromised\"}"), Some(1));
}
