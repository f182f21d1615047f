//! Key services: none, two of which one is gone, others than before, a damaged object.

use std::fs;

use bulla_cluster_tests::Namespace;
use serde_json::json;

use super::{Keys, bulla, list, local_key, ran, sealing_keys};

const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

#[test]
fn without_a_key_service_nothing_starts_and_the_choices_are_named() {
    let mut command = bulla();
    command.args(["sealing-keys", "serve"]);
    let said = ran(command).refused();
    for choice in ["cloud's KMS", "Vault", "local:/", "shares", "plain-secret"] {
        assert!(said.contains(choice), "{choice}: {said}");
    }
}

#[test]
fn of_two_key_services_one_may_be_lost_and_the_keys_are_wrapped_for_others() {
    let namespace = Namespace::new("keys-two");
    let folder = tempfile::tempdir().unwrap();
    let (first, first_key) = local_key(folder.path(), "first");
    let (_, second_key) = local_key(folder.path(), "second");
    let (_, third_key) = local_key(folder.path(), "third");
    let flags = ["--key-service", &first_key, "--key-service", &second_key];
    let keys = Keys::ready(&namespace, &flags);
    let certificate = keys.certificate();
    drop(keys);

    fs::remove_file(first).unwrap();
    let keys = Keys::ready(&namespace, &flags);
    assert_eq!(keys.certificate(), certificate);
    drop(keys);

    // The lost one is replaced: the same key, other recipients.
    let flags = ["--key-service", &second_key, "--key-service", &third_key, "--rewrap-keys"];
    let keys = Keys::ready(&namespace, &flags);
    namespace.eventually("the new recipients", || list(&namespace)[0]["keyGroups"].to_string().contains("third"));
    assert!(!list(&namespace)[0]["keyGroups"].to_string().contains("first"));
    assert_eq!(keys.certificate(), certificate);
    drop(keys);
    let keys = Keys::ready(&namespace, &["--key-service", &third_key]);
    assert_eq!(keys.certificate(), certificate);
}

#[test]
fn a_recipient_that_was_not_named_is_not_asked_and_the_object_is() {
    let namespace = Namespace::new("keys-trust");
    let folder = tempfile::tempdir().unwrap();
    let (_, one) = local_key(folder.path(), "one");
    let (_, other) = local_key(folder.path(), "other");
    drop(Keys::ready(&namespace, &["--key-service", &one]));
    let name = list(&namespace)[0]["name"].as_str().unwrap().to_owned();
    let keys = Keys::start(&namespace, &["--key-service", &other]);
    namespace.eventually("the reason", || keys.get("/readyz").1.contains("was not told to use"));
    let (status, said) = keys.get("/readyz");
    assert!(status == 503 && said.contains(&name) && said.contains("one"), "{said}");
    drop(keys);
    Keys::ready(&namespace, &["--key-service", &other, "--old-key-service", &one]);
}

#[test]
fn a_damaged_object_is_named_and_the_others_work() {
    let namespace = Namespace::new("keys-damaged");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key]);
    let name = list(&namespace)[0]["name"].as_str().unwrap().to_owned();
    sealing_keys(&namespace, &["renew"]).ok();
    // The ciphertext of one key in the other's object.
    let object = format!("sealingkey/{name}");
    let other = list(&namespace).iter().find(|one| one["name"] != name.as_str()).unwrap()["name"].clone();
    let ciphertext = namespace.field(&format!("sealingkey/{}", other.as_str().unwrap()), ".spec.wrapped.ciphertext");
    let patch = json!({"spec": {"wrapped": {"ciphertext": ciphertext}}}).to_string();
    namespace.kubectl(&["patch", &object, "--type", "merge", "--patch", &patch]).ok();
    // A key that waits to be unwrapped is unavailable, too: only the log says that it was tried.
    let damaged = "belongs to another object, or was changed";
    namespace.eventually("the damage is named", || {
        keys.log().lines().any(|line| line.contains(damaged) && line.contains(&name))
    });
    assert_eq!(keys.metric("bulla_sealing_keys_unavailable"), Some(1));
    assert_eq!(keys.get("/readyz").0, 200);
}

#[test]
fn what_somebody_puts_among_the_keys_is_not_sealed_to() {
    let namespace = Namespace::new("keys-planted");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    let keys = Keys::ready(&namespace, &["--key-service", &key]);
    let ours = keys.certificate();
    // Somebody else's key pair, which is newer: as a key Secret, and shown by an object whose ciphertext is another key's.
    let other = Namespace::new("keys-their-own");
    let theirs = Keys::ready(&other, &["--key-service", "plain-secret"]).certificate();
    let secret = other.kubectl(&["get", "secret", "-l", KEY_LABEL, "-o", "json"]).ok();
    let mut secret = serde_json::from_str::<serde_json::Value>(&secret).unwrap()["items"][0].take();
    secret["metadata"] = json!({"name": "planted", "labels": {KEY_LABEL: "active"}});
    namespace.apply(&secret).ok();
    let object = namespace.kubectl(&["get", "sealingkey", "-o", "json"]).ok();
    let mut object = serde_json::from_str::<serde_json::Value>(&object).unwrap()["items"][0].take();
    object["metadata"] = json!({"name": "a-planted"});
    object["spec"]["certificate"] = json!(theirs);
    object["spec"]["fingerprint"] = list(&other)[0]["fingerprint"].clone();
    object["spec"]["notBefore"] = list(&other)[0]["notBefore"].clone();
    namespace.apply(&object).ok();
    // An old key again, as if it were of a day to come.
    object["metadata"] = json!({"name": "b-planted"});
    object["spec"]["certificate"] = json!(ours);
    object["spec"]["fingerprint"] =
        list(&namespace).iter().find(|key| key["certificate"] == ours.as_str()).unwrap()["fingerprint"].clone();
    object["spec"]["notBefore"] = json!("2126-01-02T03:04:05Z");
    namespace.apply(&object).ok();
    namespace.eventually("they are seen", || {
        keys.metric("bulla_sealing_keys_plain") == Some(1) && keys.metric("bulla_sealing_keys_unavailable") == Some(2)
    });
    namespace.eventually("they were tried", || keys.log().matches("cannot be unwrapped").count() >= 2);
    assert_eq!(keys.certificate(), ours);
    assert!(keys.log().contains("stands plain in a Secret"));
    sealing_keys(&namespace, &["renew"]).ok();
    namespace.eventually("a key of our own", || ![&ours, &theirs].contains(&&keys.certificate()));
}
