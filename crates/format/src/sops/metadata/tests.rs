#![allow(clippy::unwrap_used, clippy::panic)]

use bulla_core::{KeyId, SecretBytes};
use bulla_document::{Document, EmitOptions, Syntax, Value};

use super::*;

fn read(syntax: Syntax, text: &str) -> Result<Metadata, Error> {
    locate(&Document::parse(syntax, SecretBytes::from(text.as_bytes())).unwrap()).map(|located| located.metadata)
}

fn json(fields: &str) -> Result<Metadata, Error> {
    read(
        Syntax::Json,
        &format!("{{\"sops\": {{\"lastmodified\": \"2020-01-02T03:04:05Z\", \"mac\": \"m\", {fields}}}}}"),
    )
}

const AGE: &str = "\"age\": [{\"recipient\": \"age1x\", \"enc\": \"e\"}]";

/// Every kind of key.
const ALL: &str = "\"kms\": [{\"arn\": \"arn:k\", \"role\": \"r\", \"context\": {\"b\": \"2\", \"a\": \"1\"}, \
    \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e1\", \"aws_profile\": \"p\"}], \
    \"gcp_kms\": [{\"resource_id\": \"g\", \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e2\"}], \
    \"hckms\": [{\"key_id\": \"r:u\", \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e3\"}], \
    \"azure_kv\": [{\"vault_url\": \"https://v\", \"name\": \"n\", \"version\": \"1\", \
    \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e4\"}], \
    \"hc_vault\": [{\"vault_address\": \"https://h\", \"engine_path\": \"t\", \"key_name\": \"k\", \
    \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e5\"}], \
    \"pgp\": [{\"fp\": \"F\", \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e6\"}], \
    \"age\": [{\"recipient\": \"age1x\", \"enc\": \"e7\"}], \
    \"local\": [{\"path\": \"/k\", \"created_at\": \"2020-01-02T03:04:05Z\", \"enc\": \"e8\"}]";

#[test]
fn every_kind_of_key_is_read_and_written() {
    let metadata = json(ALL).unwrap();
    let kinds: Vec<_> = metadata.groups[0].iter().map(|key| key.id.kind()).collect();
    assert_eq!(kinds, KINDS);
    for syntax in [Syntax::Json, Syntax::Yaml, Syntax::Dotenv, Syntax::Ini, Syntax::Toml] {
        let tree = to_tree(&metadata, &Extra::default());
        let text = bulla_document::emit(&[Value::Map(entries(&tree, syntax))], syntax, EmitOptions::default());
        let again = read(syntax, std::str::from_utf8(text.unwrap().expose()).unwrap()).unwrap();
        assert_eq!(again, metadata, "{syntax:?}");
    }
}

#[test]
fn older_files_have_empty_lists_nulls_and_no_version() {
    let metadata = json(&format!("\"kms\": [], \"gcp_kms\": null, \"pgp\": null, \"hc_vault\": [], {AGE}")).unwrap();
    assert_eq!((metadata.groups.len(), metadata.groups[0].len(), metadata.version.as_str()), (1, 1, ""));
}

#[test]
fn numbers_and_flags_may_be_strings() {
    for (fields, threshold, only) in [
        ("\"shamir_threshold\": 2, \"mac_only_encrypted\": true", Some(2), true),
        ("\"shamir_threshold\": \"2\", \"mac_only_encrypted\": \"true\"", Some(2), true),
        ("\"shamir_threshold\": \"2.0\", \"mac_only_encrypted\": \"\"", Some(2), false),
        ("\"shamir_threshold\": 0, \"mac_only_encrypted\": null", None, false),
        ("\"version\": 3.1", None, false),
    ] {
        let metadata = json(&format!("{fields}, {AGE}")).unwrap();
        assert_eq!((metadata.shamir_threshold, metadata.rules.mac_only_encrypted), (threshold, only), "{fields}");
    }
    assert_eq!(json(&format!("\"version\": 3.1, {AGE}")).unwrap().version, "3.1");
}

#[test]
fn groups_count_where_there_are_no_keys_beside_them() {
    let groups = "\"key_groups\": [{\"age\": [{\"recipient\": \"a\", \"enc\": \"1\"}], \"hc_vault\": []}, \
                  {\"pgp\": [{\"fp\": \"F\", \"created_at\": \"x\", \"enc\": \"2\"}], \"future\": [1]}]";
    let metadata = json(groups).unwrap();
    assert_eq!(metadata.groups.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    let tree = to_tree(&metadata, &Extra::default());
    let Some(Value::Seq(written)) = tree.get("key_groups") else { panic!("no groups") };
    assert_eq!(written[1].get("future"), Some(&Value::Seq(vec![Value::Int(1)])), "what is not known is kept");

    let both = json(&format!("{groups}, {AGE}")).unwrap();
    assert_eq!(both.groups, json(AGE).unwrap().groups);
}

#[test]
fn an_unquoted_date_in_yaml_is_one() {
    let text = "sops:\n  lastmodified: 2020-01-02T03:04:05Z\n  mac: m\n  age:\n  - recipient: age1x\n    enc: e\n";
    assert_eq!(read(Syntax::Yaml, text).unwrap().last_modified, "2020-01-02T03:04:05Z");
}

// sops 3.13.0 and 3.13.1 wrote INI values of several lines so; before and after, line ends are two characters.
#[test]
fn ini_has_line_ends_in_two_forms() {
    for enc in ["\"\"\"one\ntwo\n\"\"\"", "one\\ntwo\\n"] {
        let text = format!(
            "[sops]\nlastmodified = 2020-01-02T03:04:05Z\nmac = m\nage__list_0__map_recipient = a\nage__list_0__map_enc = {enc}\n"
        );
        assert_eq!(read(Syntax::Ini, &text).unwrap().groups[0][0].wrapped.as_str(), "one\ntwo\n");
    }
}

#[test]
fn what_is_missing_or_malformed_is_named() {
    for (fields, word) in [
        ("\"age\": [{\"enc\": \"e\"}]", "age[0].recipient"),
        ("\"age\": {\"recipient\": \"a\"}", "age"),
        ("\"age\": [\"a\"]", "age"),
        ("\"kms\": [{\"arn\": \"a\", \"context\": [1]}]", "context"),
        ("\"key_groups\": [1]", "key_groups"),
        ("\"mac_only_encrypted\": \"maybe\"", "mac_only_encrypted"),
        ("\"shamir_threshold\": -1", "shamir_threshold"),
        ("\"unencrypted_regex\": [1]", "unencrypted_regex"),
        ("\"kms\": []", "no key"),
    ] {
        let error = json(fields).unwrap_err().to_string();
        assert!(error.contains(word), "{fields}: {error}");
    }
    assert!(matches!(read(Syntax::Json, "{\"sops\": 1}"), Err(Error::Metadata(_))));
    assert!(matches!(read(Syntax::Yaml, "a: 1\n---\nsops: {}\n"), Err(Error::MetadataNotFound)));
}

#[test]
fn normalized_metadata_is_what_is_read_again() {
    let mut metadata = json(ALL).unwrap();
    metadata.groups[0].reverse();
    metadata.groups.push(Vec::new());
    let mut second = json(AGE).unwrap().groups.remove(0);
    if let KeyId::AwsKms { role, .. } = &mut metadata.groups[0][7].id {
        *role = Some(String::new());
    }
    second.truncate(1);
    metadata.groups.push(second);
    let normalized = metadata.normalized();
    assert_eq!(normalized.shamir_threshold, Some(2));
    let tree = to_tree(&normalized, &Extra::default());
    let text = bulla_document::emit(&[Value::Map(entries(&tree, Syntax::Json))], Syntax::Json, EmitOptions::default());
    assert_eq!(read(Syntax::Json, std::str::from_utf8(text.unwrap().expose()).unwrap()).unwrap(), normalized);
}
