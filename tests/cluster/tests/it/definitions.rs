//! The custom resource definitions on a real API server: what it accepts, what it refuses and how it says so.

use std::fs;

use bulla_cluster_tests::{Namespace, Outcome, definitions, kubectl};
use bulla_test_support::program;
use serde_json::{Value, json};

/// sealed-secrets' own definition, under another group so that both stand in one cluster.
struct Theirs;

const THEIR_GROUP: &str = "theirs.bulla.test";

impl Theirs {
    fn install(namespace: &Namespace) -> Self {
        let file = program("sealed-secrets").join("helm/sealed-secrets/crds/bitnami.com_sealedsecrets.yaml");
        let text = fs::read_to_string(file).unwrap().replace("bitnami.com", THEIR_GROUP);
        namespace.apply(&serde_saphyr::from_str(&text).unwrap()).ok();
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd/sealedsecrets.theirs.bulla.test"];
        namespace.kubectl(&wait).ok();
        Self
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "crd", "sealedsecrets.theirs.bulla.test"]).output();
    }
}

/// Has the API server look at an object; nothing is stored. What the definition does not know is an error, too.
fn offer(namespace: &Namespace, object: &Value) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("object.json");
    serde_json::to_writer(fs::File::create(&file).unwrap(), object).unwrap();
    namespace.kubectl(&["create", "--dry-run=server", "--validate=strict", "--filename", file.to_str().unwrap()])
}

fn sealed_secret(spec: &Value) -> Value {
    json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "s"}, "spec": spec})
}

#[test]
fn the_api_server_finds_no_fault_with_them() {
    definitions();
    for name in [
        "sealedsecrets.bitnami.com",
        "sealingkeys.bulla.dev",
        "secretproviderclasses.secrets-store.csi.x-k8s.io",
        "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
    ] {
        let output = kubectl().args(["get", "crd", name, "--output", "json"]).output().unwrap();
        let definition: Value = serde_json::from_slice(&output.stdout).unwrap();
        let conditions = definition["status"]["conditions"].as_array().unwrap();
        let is = |kind: &str| conditions.iter().any(|one| one["type"] == kind && one["status"] == "True");
        assert!(is("Established") && is("NamesAccepted"), "{conditions:?}");
        assert!(!is("NonStructuralSchema") && !is("Terminating"), "{conditions:?}");
    }
}

#[test]
fn every_sealed_secret_that_sealed_secrets_accepts_is_accepted() {
    definitions();
    let namespace = Namespace::new("accepted");
    let _theirs = Theirs::install(&namespace);
    let example = program("sealed-secrets").join("docs/examples/config-template/sealedsecret.yaml");
    let mut example: Value = serde_saphyr::from_str(&fs::read_to_string(example).unwrap()).unwrap();
    example["metadata"].as_object_mut().unwrap().remove("namespace");
    let specs = [
        json!({"encryptedData": {"a": "AgB="}}),
        json!({"encryptedData": {}}),
        json!({"encryptedData": {"a": ""}, "data": "AAAA"}),
        json!({"encryptedData": {"a": "AgB="}, "template": {}}),
        // As kubeseal prints it.
        json!({"encryptedData": {"a": "AgB="}, "template": {"metadata": {"creationTimestamp": null, "name": "s", "namespace": "n"}}}),
        json!({"encryptedData": {"a": "AgB="}, "template": {"metadata": null, "data": null, "type": "Opaque"}}),
        json!({"encryptedData": {"a": "AgB="}, "template": {"metadata": {"ownerReferences": [], "generateName": "x"}}}),
        json!({"encryptedData": {"a": "AgB="}, "template": {"immutable": true, "data": {"config": "{{ .a }}"}}}),
        json!({"encryptedData": {"a": "AgB="}, "template": {"metadata": {
            "labels": {"l": "1"}, "annotations": {"sealedsecrets.bitnami.com/managed": "true"}, "finalizers": ["f/x"],
        }}}),
    ];
    for mut object in specs.into_iter().map(|spec| sealed_secret(&spec)).chain([example]) {
        let ours = offer(&namespace, &object);
        object["apiVersion"] = json!(format!("{THEIR_GROUP}/v1alpha1"));
        let theirs = offer(&namespace, &object);
        assert!(theirs.success, "not even theirs: {object}: {}", theirs.stderr);
        assert!(ours.success, "{object}: {}", ours.stderr);
    }
    // Neither takes these, and says where.
    for (spec, place) in [
        (json!({"encryptedData": {"a": 1}}), "spec.encryptedData.a"),
        (json!({"encryptedData": {"a": "AgB="}, "template": {"immutable": "yes"}}), "spec.template.immutable"),
        (
            json!({"encryptedData": {"a": "AgB="}, "template": {"metadata": {"labels": {"l": 1}}}}),
            "spec.template.metadata.labels",
        ),
        (json!({"encryptedData": {"a": "AgB="}, "tmplate": {}}), "tmplate"),
    ] {
        let mut object = sealed_secret(&spec);
        let refusal = offer(&namespace, &object).refused();
        assert!(refusal.contains(place), "{refusal}");
        object["apiVersion"] = json!(format!("{THEIR_GROUP}/v1alpha1"));
        assert!(offer(&namespace, &object).refused().contains(place));
    }
}

#[test]
fn what_the_api_server_stores_is_what_it_was_given() {
    definitions();
    let namespace = Namespace::new("stored");
    let spec = json!({
        "encryptedData": {"a": "AgB="},
        "template": {"metadata": {"labels": {"l": "1"}, "generateName": "kept-though-unknown"}, "data": {"b": "{{ .a }}"}},
    });
    namespace.apply(&sealed_secret(&spec)).ok();
    let stored: Value =
        serde_json::from_str(&namespace.kubectl(&["get", "sealedsecret", "s", "--output", "json"]).ok()).unwrap();
    assert_eq!(stored["spec"], spec);
    let columns = namespace.kubectl(&["get", "sealedsecret", "s"]).ok();
    assert!(columns.starts_with("NAME") && columns.contains("SYNCED"), "{columns}");
}

fn sealing_key() -> Value {
    json!({
        "apiVersion": "bulla.dev/v1alpha1",
        "kind": "SealingKey",
        "metadata": {"name": "k"},
        "spec": {
            "algorithm": "rsa-4096",
            "fingerprint": "SHA256:abc",
            "certificate": "-----BEGIN CERTIFICATE-----",
            "notBefore": "2026-01-01T00:00:00Z",
            "wrapped": {
                "keyGroups": [{"keys": [{"kind": "local", "id": {"path": "/k"}, "wrapped": "AAAA"}]}],
                "ciphertext": "AAAA",
            },
        },
    })
}

#[test]
fn a_sealing_key_never_becomes_another_nor_is_trusted_again() {
    definitions();
    let namespace = Namespace::new("transitions");
    namespace.apply(&sealing_key()).ok();
    assert_eq!(namespace.field("sealingkey/k", ".spec.state"), "Active");
    let change = |patch: &Value| {
        namespace.kubectl(&[
            "patch",
            "sealingkey",
            "k",
            "--type",
            "merge",
            "--patch",
            &json!({"spec": patch}).to_string(),
        ])
    };
    for (patch, complaint) in [
        (json!({"fingerprint": "SHA256:def"}), "fingerprint cannot change"),
        (json!({"certificate": "another"}), "certificate cannot change"),
        (json!({"notBefore": "2027-01-01T00:00:00Z"}), "notBefore cannot change"),
        (json!({"algorithm": "rsa-2048"}), "algorithm cannot change"),
        (json!({"wrapped": {"ciphertext": ""}}), "spec.wrapped.ciphertext"),
        (json!({"wrapped": {"keyGroups": []}}), "spec.wrapped.keyGroups"),
        (json!({"wrapped": {"keyGroups": [{"keys": []}]}}), "keys"),
        (json!({"wrapped": {"threshold": 2}}), "wrapped.threshold is more than there are keyGroups"),
    ] {
        let refusal = change(&patch).refused();
        assert!(refusal.contains(complaint), "{patch}: {refusal}");
    }
    // Other recipients, and the way of a key's life.
    let recipients = json!({"keyGroups": [{"keys": [{"kind": "age", "wrapped": "BBBB"}]}], "ciphertext": "BBBB"});
    change(&json!({"wrapped": recipients})).ok();
    change(&json!({"state": "Retired"})).ok();
    let refusal = change(&json!({"state": "Active"})).refused();
    assert!(refusal.contains("never back"), "{refusal}");
    change(&json!({"state": "Compromised"})).ok();
    for state in ["Active", "Retired"] {
        assert!(change(&json!({"state": state})).refused().contains("never back"));
    }
}

#[test]
fn a_sealing_key_has_the_public_half_of_its_algorithm() {
    definitions();
    let namespace = Namespace::new("algorithm");
    offer(&namespace, &sealing_key()).ok();
    let mut hybrid = sealing_key();
    hybrid["spec"]["algorithm"] = json!("x25519-mlkem768");
    assert!(offer(&namespace, &hybrid).refused().contains("an RSA key has a certificate"));
    let certificate = hybrid["spec"].as_object_mut().unwrap().remove("certificate");
    hybrid["spec"]["publicKey"] = certificate.unwrap();
    offer(&namespace, &hybrid).ok();
    for (field, wrong, complaint) in [
        ("algorithm", json!("rsa-1024"), "Unsupported value: \"rsa-1024\""),
        ("state", json!("Lost"), "Unsupported value: \"Lost\""),
        ("notBefore", json!("yesterday"), "spec.notBefore"),
        ("wrapped", json!({}), "spec.wrapped.ciphertext: Required value"),
        ("privateKey", json!("AAAA"), "unknown field \"spec.privateKey\""),
    ] {
        let mut key = sealing_key();
        key["spec"][field] = wrong;
        let refusal = offer(&namespace, &key).refused();
        assert!(refusal.contains(complaint), "{field}: {refusal}");
    }
}
