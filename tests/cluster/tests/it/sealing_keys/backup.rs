//! Backups, rehearsed: everything is deleted, and old SealedSecrets open again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bulla_cluster_tests::Namespace;
use bulla_test_support::program;

use super::{Keys, list, local_key, sealing_keys};

pub(super) const SECRET: &str = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "stringData": {"password": "hunter2"}}"#;

/// The real kubeseal.
pub(super) fn kubeseal(folder: &Path, input: &str, arguments: &[&str]) -> String {
    let file = folder.join("input");
    fs::write(&file, input).unwrap();
    let output = Command::new(program("bin/kubeseal"))
        .args(arguments)
        .env("KUBECONFIG", bulla_cluster_tests::kubeconfig())
        .stdin(fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Seals with what a controller gives out.
fn seal(folder: &Path, keys: &Keys) -> String {
    let certificate = folder.join("cert.pem");
    fs::write(&certificate, keys.certificate()).unwrap();
    kubeseal(folder, SECRET, &["--cert", certificate.to_str().unwrap()])
}

/// Whether the namespace's keys open a SealedSecret, by the real program.
pub(super) fn opens(folder: &Path, namespace: &Namespace, sealed: &str) -> bool {
    let plain = folder.join("plain.json");
    fs::write(&plain, sealing_keys(namespace, &["backup", "--danger-plaintext"]).ok()).unwrap();
    let secret = kubeseal(folder, sealed, &["--recovery-unseal", "--recovery-private-key", plain.to_str().unwrap()]);
    secret.contains("aHVudGVyMg==")
}

#[test]
fn keys_come_back_from_a_backup_and_an_old_sealed_secret_opens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, key) = local_key(folder, "key");
    let (_, safe) = local_key(folder, "safe");
    let lost = Namespace::new("keys-lost");
    let keys = Keys::ready(&lost, &["--key-service", &key]);
    let sealed = seal(folder, &keys);
    sealing_keys(&lost, &["renew"]).ok();
    drop(keys);
    let as_is = folder.join("as-is.json");
    let rewrapped = folder.join("rewrapped.json");
    sealing_keys(&lost, &["backup", "--file", as_is.to_str().unwrap()]).ok();
    sealing_keys(&lost, &["backup", "--to", &safe, "--file", rewrapped.to_str().unwrap()]).ok();
    for file in [&as_is, &rewrapped] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(file).unwrap().contains("PRIVATE"));
    }
    drop(lost);

    for (file, key) in [(&as_is, &key), (&rewrapped, &safe)] {
        let new = Namespace::new("keys-restored");
        sealing_keys(&new, &["restore", file.to_str().unwrap()]).ok();
        // A second time changes nothing.
        let again = sealing_keys(&new, &["restore", file.to_str().unwrap()]).ok();
        assert_eq!(again.matches("was there already").count(), 2, "{again}");
        let keys = Keys::ready(&new, &["--key-service", key]);
        new.eventually("all open", || keys.metric("bulla_sealing_keys_unavailable") == Some(0));
        assert_eq!(list(&new).len(), 2, "no new key was made");
        assert!(opens(folder, &new, &sealed));
    }
}

#[test]
fn a_backup_of_sealed_secrets_itself_is_restored_wrapped() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, key) = local_key(folder, "key");
    let old = Namespace::new("keys-peer");
    let keys = Keys::ready(&old, &["--key-service", "plain-secret"]);
    let sealed = seal(folder, &keys);
    drop(keys);
    let said = sealing_keys(&old, &["backup"]).refused();
    assert!(said.contains("--danger-plaintext"), "{said}");
    // As sealed-secrets' page tells to: the Secrets by their label, as YAML.
    let label = "sealedsecrets.bitnami.com/sealed-secrets-key";
    let file = folder.join("peer.yaml");
    fs::write(&file, old.kubectl(&["get", "secret", "-l", label, "-o", "yaml"]).ok()).unwrap();
    drop(old);

    let new = Namespace::new("keys-from-peer");
    let path = file.to_str().unwrap();
    let refused = sealing_keys(&new, &["restore", path]);
    assert!(!refused.success && refused.stdout.contains("--key-service"), "{}", refused.stdout);
    sealing_keys(&new, &["restore", path, "--key-service", &key]).ok();
    let _keys = Keys::ready(&new, &["--key-service", &key]);
    assert!(opens(folder, &new, &sealed));
    assert_eq!(new.kubectl(&["get", "secret", "-l", label, "-o", "name"]).ok(), "");
}
