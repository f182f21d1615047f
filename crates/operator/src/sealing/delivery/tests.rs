//! Who may have what, as far as it can be said without a cluster.

use serde_json::{Value, json};

use super::*;

fn sealed(annotations: &Value, data: &Value) -> SealedSecret {
    let metadata = json!({"name": "db", "namespace": "shop", "uid": "u", "generation": 3, "annotations": annotations});
    let spec = json!({"encryptedData": data});
    let object =
        json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

#[test]
fn an_object_is_for_the_service_accounts_that_it_names_and_for_volumes() {
    let may = |annotations: &Value, account: &str| may_have(&sealed(annotations, &json!({})), account).is_ok();
    let named = json!({DELIVER: VOLUME, SERVICE_ACCOUNTS: "web, worker"});
    assert!(may(&named, "web") && may(&named, "worker"));
    assert!(!may(&named, "we") && !may(&named, "web, worker") && !may(&named, "") && !may(&named, "default"));
    assert!(!may(&json!({DELIVER: VOLUME}), "web"), "none named is nobody");
    assert!(!may(&json!({DELIVER: VOLUME, SERVICE_ACCOUNTS: "*"}), "web"), "no patterns");
    for deliver in ["secret", "", "Volume", "volume,secret"] {
        assert!(!may(&json!({DELIVER: deliver, SERVICE_ACCOUNTS: "web"}), "web"), "{deliver}");
    }
    assert!(!may(&json!({SERVICE_ACCOUNTS: "web"}), "web"));
}

#[test]
fn the_version_changes_with_the_values_and_who_may_have_them_alone() {
    let named = |accounts: &str| json!({DELIVER: VOLUME, SERVICE_ACCOUNTS: accounts, "other": accounts});
    let one = sealed(&named("web"), &json!({"a": "b"}));
    let mut said = one.clone();
    said.metadata.resource_version = Some("77".to_owned());
    said.status = Some(bulla_kube::api::SealedSecretStatus::default());
    said.annotations_mut().insert("other".to_owned(), "else".to_owned());
    assert_eq!(version(&one), version(&said));
    for other in [sealed(&named("web,b"), &json!({"a": "b"})), sealed(&named("web"), &json!({"a": "c"}))] {
        assert_ne!(version(&one), version(&other));
    }
    let mut anew = one.clone();
    anew.metadata.uid = Some("v".to_owned());
    assert_ne!(version(&one), version(&anew));
}

#[test]
fn an_old_version_that_comes_again_is_known() {
    let named = json!({DELIVER: VOLUME, SERVICE_ACCOUNTS: "web"});
    let mut remembered: Vec<String> = Vec::new();
    let mut see = |value: &str| {
        let mut object = sealed(&named, &json!({"a": value}));
        let versions = std::mem::take(&mut remembered);
        object.status = Some(bulla_kube::api::SealedSecretStatus { versions, ..Default::default() });
        let (versions, is_old) = history(&object);
        remembered = versions;
        assert_eq!(remembered.last(), Some(&digest(&object)));
        is_old
    };
    assert!(!see("1") && !see("1") && !see("2"));
    assert!(see("1") && !see("1") && see("2") && !see("3"));
    for n in 0..2 * REMEMBERED {
        assert!(!see(&format!("n{n}")));
    }
    assert!(!see("1"), "that long nothing is remembered");
    assert_eq!(remembered.len(), REMEMBERED);
}
