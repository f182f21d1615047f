//! Which Secret a class wants, as far as it can be said without a cluster.

use serde_json::{Value, json};

use super::*;

fn class(objects: &Value) -> SecretProviderClass {
    serde_json::from_value(json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass", "metadata": {"name": "database", "uid": "1"},
        "spec": {"provider": "test", "secretObjects": objects},
    }))
    .unwrap()
}

fn wanted(secret: &str, keys: &[&str]) -> Wanted {
    let data = keys.iter().map(|key| ((*key).to_owned(), SecretBytes::from(&b"x"[..]))).collect();
    Wanted { class: "database".to_owned(), secret: secret.to_owned(), data }
}

fn object(name: &str, type_: &str) -> Value {
    json!({"secretName": name, "type": type_, "data": [{"objectName": "a", "key": "password"}]})
}

#[test]
fn type_labels_and_keys_are_the_class_s_own() {
    let mut db = object("db", "Opaque");
    db["labels"] = json!({"app": "web"});
    db["annotations"] = json!({"note": "y"});
    let class = class(&json!([object("other", "Opaque"), db]));
    let plain = plain(&class, &wanted("db", &["password"])).unwrap();
    assert_eq!(
        (plain.type_.as_str(), plain.labels["app"].as_str(), plain.annotations["note"].as_str()),
        ("Opaque", "web", "y")
    );
    assert_eq!(plain.data.len(), 1);
}

#[test]
fn what_the_class_does_not_ask_for_is_not_written() {
    let no_type = json!({"secretName": "db", "data": [{"objectName": "a", "key": "password"}]});
    let no_key = json!({"secretName": "db", "type": "Opaque", "data": [{"objectName": "a"}]});
    let mut key_of_sealing = object("db", "Opaque");
    key_of_sealing["labels"] = json!({KEY_LABEL: "active"});
    for (objects, secret, keys, says) in [
        (json!([]), "db", vec!["password"], "not once"),
        (json!([object("db", "Opaque")]), "other", vec!["password"], "not once"),
        (json!([object("db", "Opaque"), object("db", "Opaque")]), "db", vec!["password"], "not once"),
        (json!([object("db", "Opaque")]), "db", vec!["password", "more"], "names now"),
        (json!([object("db", "Opaque")]), "db", vec!["other"], "names now"),
        (json!([object("db", "Opaque")]), "db", vec![], "names now"),
        (json!([no_key]), "db", vec![], "names now"),
        (json!([no_type]), "db", vec!["password"], "write Opaque"),
        (json!([object("db", "kubernetes.io/service-account-token")]), "db", vec!["password"], "more than a Secret"),
        (json!([object("db", "bootstrap.kubernetes.io/token")]), "db", vec!["password"], "more than a Secret"),
        (json!([key_of_sealing]), "db", vec!["password"], "more than a Secret"),
    ] {
        let Err(refused) = plain(&class(&objects), &wanted(secret, &keys)) else { panic!("{objects}") };
        assert!(refused.code == Code::Denied && refused.message.contains(says), "{objects}: {}", refused.message);
    }
}

#[test]
fn a_pod_mounts_the_class_that_its_volume_names() {
    let pod: KubePod = serde_json::from_value(json!({
        "metadata": {},
        "spec": {"containers": [], "volumes": [
            {"name": "a", "csi": {"driver": "d", "volumeAttributes": {"secretProviderClass": "database"}}},
            {"name": "b", "emptyDir": {}},
        ]},
    }))
    .unwrap();
    assert!(mounts(&pod, "database"));
    assert!(!mounts(&pod, "data") && !mounts(&KubePod::default(), "database"));
}

#[tokio::test]
async fn the_name_of_the_sealing_keys_is_not_a_node_s_to_write() {
    // Nobody is there to be asked, and nobody is asked.
    let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let own_key = ("bulla".to_owned(), "sealed-secrets-key".to_owned());
    let sync = Sync::new(client, [], own_key);
    for (namespace, code) in [("bulla", Code::Denied), ("shop", Code::Unavailable)] {
        let [service_account, name, uid, node] = ["web", "p", "u", "n"].map(str::to_owned);
        let pod = Pod { namespace: namespace.to_owned(), service_account, name, uid, node };
        let refused = sync.sync(&pod, &wanted("sealed-secrets-key", &["tls.crt"])).await.unwrap_err();
        assert_eq!(refused.code, code, "{}", refused.message);
    }
}
