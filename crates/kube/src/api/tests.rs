//! Objects of the peer are read, and the schemas are ones that an API server takes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::{Value, json};

use super::*;

#[test]
fn what_kubeseal_writes_is_read_and_written_again() {
    let object = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": "a", "namespace": "b", "creationTimestamp": null},
        "spec": {
            "encryptedData": {"password": "AgBy3i4OJSWK"},
            "template": {
                "metadata": {"name": "a", "namespace": "b", "creationTimestamp": null, "labels": {"x": "y"}},
                "type": "Opaque",
                "immutable": true,
                "data": null,
            },
        },
    });
    let sealed: SealedSecret = serde_json::from_value(object).unwrap();
    assert_eq!(sealed.spec.encrypted_data["password"], "AgBy3i4OJSWK");
    assert_eq!(sealed.spec.template.metadata.labels["x"], "y");
    let again = serde_json::to_value(&sealed).unwrap();
    assert_eq!(again["spec"]["template"]["metadata"]["creationTimestamp"], Value::Null);
    assert_eq!(again["spec"]["template"]["immutable"], true);
}

#[test]
fn nulls_and_gaps_read_as_empty() {
    for spec in [json!({"data": "AAAA"}), json!({"encryptedData": null, "template": null}), json!({})] {
        let object =
            json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {}, "spec": spec});
        let sealed: SealedSecret = serde_json::from_value(object).unwrap();
        assert!(
            sealed.spec.encrypted_data.is_empty() && sealed.spec.template == sealed_secret::SecretTemplate::default()
        );
    }
}

#[test]
fn every_schema_is_structural() {
    let definitions = custom_resources();
    assert_eq!(definitions.len(), 4);
    for definition in definitions {
        assert!(!definition.spec.versions.is_empty(), "{definition:?}");
        // The API server does not keep an empty list: whoever applied it owns nothing, and the next to apply it has a conflict.
        let names = &definition.spec.names;
        assert!([&names.categories, &names.short_names].iter().all(|list| list.as_ref().is_none_or(|l| !l.is_empty())));
        for version in &definition.spec.versions {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
            assert_structural(schema, &definition.spec.names.kind);
        }
    }
}

/// The rules that an API server refuses a definition by: a type at every node; properties and additional ones never both.
fn assert_structural(schema: &JSONSchemaProps, path: &str) {
    let any = schema.x_kubernetes_preserve_unknown_fields == Some(true);
    assert!(schema.type_.is_some() || any, "{path} has no type");
    assert!(schema.any_of.is_none() && schema.one_of.is_none() && schema.ref_path.is_none(), "{path}");
    assert!(!(schema.properties.is_some() && schema.additional_properties.is_some()), "{path} has both");
    for (name, property) in schema.properties.iter().flatten() {
        assert_structural(property, &format!("{path}.{name}"));
    }
}
