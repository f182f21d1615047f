//! The private key is looked for where it could be read.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, kubectl, own_cluster};
use serde_json::Value;

use super::{Keys, local_key, sealing_keys};

/// Pieces of a private key in the forms in which it could stand somewhere: as it is, as PEM, and as a Secret has PEM.
struct Markers(Vec<Vec<u8>>);

impl Markers {
    /// From a backup that was asked for by its risky name.
    fn of(namespace: &Namespace) -> Self {
        let backup = sealing_keys(namespace, &["backup", "--danger-plaintext"]).ok();
        let list: Value = serde_json::from_str(&backup).unwrap();
        let in_secret = list["items"][0]["data"]["tls.key"].as_str().unwrap().to_owned();
        let pem = String::from_utf8(STANDARD.decode(&in_secret).unwrap()).unwrap();
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(lines.concat()).unwrap();
        // Behind the modulus: the private exponent and the primes.
        let deep = der.len() * 2 / 3;
        let secret = in_secret.as_bytes();
        Self(vec![
            der[deep..deep + 32].to_vec(),
            lines[lines.len() * 2 / 3].as_bytes().to_vec(),
            secret[secret.len() * 2 / 3..secret.len() * 2 / 3 + 48].to_vec(),
        ])
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|marker| memchr::memmem::find(bytes, marker).is_some())
    }

    fn are_below(&self, folder: &Path) -> bool {
        fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { self.are_below(&path) } else { fs::read(&path).is_ok_and(|bytes| self.are_in(&bytes)) }
        })
    }
}

fn everything(kind: &str) -> Vec<u8> {
    let output = kubectl().args(["get", kind, "--all-namespaces", "--output", "yaml"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_private_key_is_in_no_object_not_in_etcd_not_in_the_log_and_not_in_the_environment() {
    let namespace = Namespace::new("keys-leaks");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key]);
    let markers = Markers::of(&namespace);

    assert!(!markers.are_in(&everything("secrets")), "in a Secret");
    let objects = everything("sealingkeys");
    assert!(!markers.are_in(&objects), "in a SealingKey");
    let certificate = keys.certificate();
    let line = certificate.lines().nth(3).unwrap();
    assert!(String::from_utf8_lossy(&objects).contains(line), "the public part is there");
    assert!(!markers.are_in(keys.log().as_bytes()), "in the log");
    for file in ["environ", "cmdline"] {
        let path = format!("/proc/{}/{file}", keys.server.id());
        assert!(!markers.are_in(&fs::read(path).unwrap()), "in {file}");
    }
    assert!(!markers.are_below(&own_cluster("node1/etcd")), "in etcd's files");

    // The search finds what is there: the plain form, which is asked for by name and warned of.
    let plain = Namespace::new("keys-plain");
    let keys = Keys::ready(&plain, &["--key-service", "plain-secret"]);
    let markers = Markers::of(&plain);
    assert!(markers.are_in(&everything("secrets")));
    assert!(markers.are_below(&own_cluster("node1/etcd")));
    assert!(keys.log().contains("whoever reads Secrets or etcd opens every SealedSecret"));
    assert_eq!(keys.metric("bulla_sealing_keys_plain"), Some(1));
    let labelled = plain.kubectl(&["get", "secret", "-l", "bulla.dev/plain=sealing-key", "-o", "name"]).ok();
    assert_eq!(labelled.lines().count(), 1);
}
