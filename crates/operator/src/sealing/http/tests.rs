//! What verify and rotate do with an object, without a cluster; who may ask is tested on one.

use bulla_format::sealed::{Algorithm, PrivateKey, Scope};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::*;
use crate::api::sealing_key::KeyState;
use crate::sealing::ring::Key;

fn key(algorithm: Algorithm, hours_old: i64) -> Arc<Key> {
    Arc::new(Key {
        private: PrivateKey::generate(algorithm).unwrap(),
        certificate: None,
        not_before: Timestamp::now() - SignedDuration::from_hours(hours_old),
        state: KeyState::Active,
    })
}

fn sealed(key: &Key, scope: Scope, plain: &str) -> String {
    let binding = Binding::new(scope, "n", "a", "password");
    seal_value(key.private.public_key(), &binding, plain.as_bytes()).unwrap()
}

fn sent(annotations: &Value, template: &Value, value: &str) -> Result<Sent, Failure> {
    let object = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": "a", "namespace": "n", "annotations": annotations, "labels": {"kept": "yes"}},
        "spec": {"encryptedData": {"password": value}, "template": template},
    });
    read(object.to_string().as_bytes())
}

fn status(failure: Failure) -> StatusCode {
    failure.into_response().status()
}

#[test]
fn a_rotated_value_is_sealed_to_the_newest_key_and_nothing_else_is_changed() {
    for algorithm in [Algorithm::Rsa, Algorithm::Hybrid] {
        let (old, new) = (key(algorithm, 100), key(algorithm, 1));
        let keys = Keys::new(vec![old.clone(), new.clone()], 1);
        let before = sent(&json!({}), &json!({}), &sealed(&old, Scope::Strict, "s3cret")).unwrap();
        let mut expected = before.text.clone();
        let after: Value = serde_json::from_str(&seal_anew(&keys, before).unwrap()).unwrap();
        let value = after["spec"]["encryptedData"]["password"].as_str().unwrap().to_owned();
        let binding = Binding::new(Scope::Strict, "n", "a", "password");
        let parsed = SealedValue::parse(&value).unwrap();
        assert_eq!(parsed.open(&new.private, &binding).unwrap().expose(), b"s3cret");
        assert!(parsed.open(&old.private, &binding).is_err());
        expected["spec"]["encryptedData"]["password"] = value.into();
        assert_eq!(after, expected);
    }
}

#[test]
fn a_template_cannot_widen_the_scope_cve_2026_22728() {
    let key = key(Algorithm::Rsa, 1);
    let keys = Keys::new(vec![key.clone()], 1);
    for wide in ["sealedsecrets.bitnami.com/cluster-wide", "sealedsecrets.bitnami.com/namespace-wide"] {
        let template = json!({"metadata": {"annotations": {wide: "true"}}});
        let object = sent(&json!({}), &template, &sealed(&key, Scope::Strict, "s3cret")).unwrap();
        let after: Value = serde_json::from_str(&seal_anew(&keys, object).unwrap()).unwrap();
        let value = SealedValue::parse(after["spec"]["encryptedData"]["password"].as_str().unwrap()).unwrap();
        for (scope, opens) in [(Scope::Strict, true), (Scope::NamespaceWide, false), (Scope::ClusterWide, false)] {
            let binding = Binding::new(scope, "n", "a", "password");
            assert_eq!(value.open(&key.private, &binding).is_ok(), opens, "{scope}");
        }
        // With the annotation on the object itself it is another place, where the value does not open.
        let moved = sent(&json!({wide: "true"}), &json!({}), &sealed(&key, Scope::Strict, "s3cret")).unwrap();
        assert_eq!(status(seal_anew(&keys, moved).unwrap_err()), StatusCode::CONFLICT);
    }
}

#[test]
fn verify_says_only_whether_values_open_whatever_a_template_asks() {
    let key = key(Algorithm::Rsa, 1);
    let keys = Keys::new(vec![key.clone()], 1);
    // sealed-secrets #2019: a template that fails for one plaintext and not for another tells them apart.
    let template = json!({"data": {"x": "{{ if eq .password \"s3cret\" }}{{ fail \"yes\" }}{{ end }}"}});
    for plain in ["s3cret", "another"] {
        let object = sent(&json!({}), &template, &sealed(&key, Scope::Strict, plain)).unwrap();
        assert!(check(&keys, &object).is_ok());
        let rotated = seal_anew(&keys, object).unwrap();
        assert!(!rotated.contains(plain) || plain == "s3cret" && rotated.contains("eq .password"));
    }
    let stranger = sealed(&self::key(Algorithm::Rsa, 1), Scope::Strict, "s3cret");
    let refusal = check(&keys, &sent(&json!({}), &template, &stranger).unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("\"password\": no key at hand opens it"), "{refusal}");
    assert_eq!(status(refusal), StatusCode::CONFLICT);
}

#[test]
fn what_is_no_sealed_secret_is_refused_and_not_quoted() {
    let plain = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "s3cret"}}).to_string();
    let odd = json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "spec": {"encryptedData": "s3cret"}});
    for body in [plain.as_str(), &odd.to_string(), "s3cret", "", "[]", "{\"kind\":"] {
        let failure = read(body.as_bytes()).err().unwrap();
        assert!(!failure.to_string().contains("s3cret"), "{failure}");
        assert_eq!(status(failure), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn who_asks_too_often_waits() {
    let start = Instant::now();
    let mut bucket = Bucket { rate: Rate { burst: 2, per_second: 10 }, left: 2.0, since: start };
    assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
    assert!(bucket.take(start + Duration::from_millis(100)) && !bucket.take(start + Duration::from_millis(110)));
    assert!(bucket.take(start + Duration::from_hours(1)) && bucket.take(start + Duration::from_hours(1)));
    assert!(!bucket.take(start + Duration::from_hours(1)));
}
