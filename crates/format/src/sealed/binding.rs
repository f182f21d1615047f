//! What a value is bound to.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Scope;

/// The place of a value: all that decides who gets it and what becomes of it.
///
/// An RSA value is bound to the first three fields alone, as its [label](Scope::label). A hybrid value is bound to all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding<'a> {
    /// How far the value may travel.
    pub scope: Scope,
    /// The `SealedSecret`'s namespace. Not bound when cluster-wide.
    pub namespace: &'a str,
    /// The `SealedSecret`'s name. Bound when strict.
    pub name: &'a str,
    /// The item's name: its key in `encryptedData`.
    pub item: &'a str,
    /// What the Secret is made from beside the values.
    pub template: TemplateHash,
    /// The `SealedSecret`'s own annotations that decide on delivery: `bulla.dev/deliver`, `bulla.dev/service-accounts`.
    pub delivery: BTreeMap<&'a str, &'a str>,
}

impl<'a> Binding<'a> {
    /// The annotations that decide on delivery.
    pub const DELIVERY: [&'static str; 2] = ["bulla.dev/deliver", "bulla.dev/service-accounts"];

    /// The place of an item of an object without a template or annotations of ours.
    pub fn new(scope: Scope, namespace: &'a str, name: &'a str, item: &'a str) -> Self {
        Self { scope, namespace, name, item, ..Self::default() }
    }

    /// The same object's place for another item.
    #[must_use]
    pub fn with_item(&self, item: &'a str) -> Self {
        Self { item, ..self.clone() }
    }

    /// The OAEP label.
    pub fn label(&self) -> Vec<u8> {
        self.scope.label(self.namespace, self.name)
    }

    /// The associated data of the hybrid algorithm: fields in a fixed order, each its length (u32, big-endian) and its bytes, so that
    /// no two places have the same bytes.
    ///
    /// Scope's name; namespace, or nothing when cluster-wide; name, or nothing unless strict; item; the template's hash (32 bytes);
    /// then each annotation's key and value, sorted by key.
    pub fn associated_data(&self) -> Vec<u8> {
        let (namespace, name) = match self.scope {
            Scope::Strict => (self.namespace, self.name),
            Scope::NamespaceWide => (self.namespace, ""),
            Scope::ClusterWide => ("", ""),
        };
        let mut out = Vec::with_capacity(128);
        for field in [self.scope.name(), namespace, name, self.item] {
            push(&mut out, field.as_bytes());
        }
        push(&mut out, &self.template.0);
        for (key, value) in &self.delivery {
            push(&mut out, key.as_bytes());
            push(&mut out, value.as_bytes());
        }
        out
    }
}

/// The typed fields of `spec.template`: what the Secret is made from beside the values.
///
/// Only these are bound, and only these may be used: what an API server adds or drops on the way changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `metadata.finalizers`, in their order.
    pub finalizers: Vec<String>,
    /// `type`.
    pub secret_type: Option<String>,
    /// `immutable`.
    pub immutable: Option<bool>,
    /// `data`: Go templates.
    pub data: BTreeMap<String, String>,
}

impl Template {
    /// SHA-256 of the canonical JSON: `{"data":…,"immutable":true,"metadata":{"annotations":…,"finalizers":[…],"labels":…},"type":…}`
    /// with keys sorted, no spaces, and whatever is empty, false or absent left out, since an absent field and an empty one mean the same.
    pub fn hash(&self) -> TemplateHash {
        // The fields stand in the order of their names; the maps sort themselves.
        let canonical = Canonical {
            data: &self.data,
            immutable: self.immutable == Some(true),
            metadata: CanonicalMetadata {
                annotations: &self.annotations,
                finalizers: &self.finalizers,
                labels: &self.labels,
            },
            secret_type: self.secret_type.as_deref().unwrap_or_default(),
        };
        // Strings and maps of strings always serialize.
        let text = serde_json::to_vec(&canonical).unwrap_or_default();
        TemplateHash(Sha256::digest(text).into())
    }
}

#[derive(Serialize)]
struct Canonical<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    data: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    immutable: bool,
    #[serde(skip_serializing_if = "CanonicalMetadata::is_empty")]
    metadata: CanonicalMetadata<'a>,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    secret_type: &'a str,
}

#[derive(Serialize)]
struct CanonicalMetadata<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    finalizers: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
}

impl CanonicalMetadata<'_> {
    fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.finalizers.is_empty() && self.labels.is_empty()
    }
}

/// A [`Template`]'s SHA-256. The default is that of no template, which is that of an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateHash([u8; 32]);

impl Default for TemplateHash {
    fn default() -> Self {
        Template::default().hash()
    }
}

/// A field, behind its length.
fn push(out: &mut Vec<u8>, field: &[u8]) {
    // No field is anywhere near 4 GiB: objects are limited to some megabytes. A longer one would get the wrong bytes, and not open.
    let len = u32::try_from(field.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(field);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_associated_data_has_each_field_behind_its_length() {
        let mut binding = Binding::new(Scope::Strict, "ns", "name", "item");
        binding.delivery.insert("bulla.dev/deliver", "csi");
        let expected = [
            "00000006",
            &hex(b"strict"),
            "00000002",
            &hex(b"ns"),
            "00000004",
            &hex(b"name"),
            "00000004",
            &hex(b"item"),
            // SHA-256 of `{}`.
            "00000020",
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "00000011",
            &hex(b"bulla.dev/deliver"),
            "00000003",
            &hex(b"csi"),
        ]
        .concat();
        assert_eq!(hex(&binding.associated_data()), expected);
    }

    #[test]
    fn a_scope_binds_what_it_names_and_no_more() {
        let data = |scope, namespace, name| Binding::new(scope, namespace, name, "item").associated_data();
        assert_ne!(data(Scope::Strict, "a", "b"), data(Scope::Strict, "a", "c"));
        assert_eq!(data(Scope::NamespaceWide, "a", "b"), data(Scope::NamespaceWide, "a", "c"));
        assert_ne!(data(Scope::NamespaceWide, "a", "b"), data(Scope::NamespaceWide, "b", "b"));
        assert_eq!(data(Scope::ClusterWide, "a", "b"), data(Scope::ClusterWide, "c", "d"));
        assert_ne!(data(Scope::ClusterWide, "", ""), data(Scope::NamespaceWide, "", ""));
    }

    fn template(labels: &[(&str, &str)]) -> Template {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Template { labels, ..Template::default() }
    }

    #[test]
    fn an_empty_field_of_a_template_is_an_absent_one() {
        let empty = Template { secret_type: Some(String::new()), immutable: Some(false), ..Template::default() };
        assert_eq!(empty.hash(), TemplateHash::default());
        assert_ne!(template(&[("a", "b")]).hash(), TemplateHash::default());
        assert_ne!(Template { immutable: Some(true), ..Template::default() }.hash(), TemplateHash::default());
        assert_ne!(Template { finalizers: vec!["a/b".into()], ..Template::default() }.hash(), TemplateHash::default());
    }

    #[test]
    fn the_same_pair_as_label_annotation_and_data_gives_three_hashes() {
        let map = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let hashes = [
            Template { labels: map.clone(), ..Template::default() }.hash(),
            Template { annotations: map.clone(), ..Template::default() }.hash(),
            Template { data: map, ..Template::default() }.hash(),
        ];
        assert!(hashes[0] != hashes[1] && hashes[1] != hashes[2] && hashes[0] != hashes[2]);
    }

    #[test]
    fn the_hash_is_that_of_the_canonical_json() {
        let full = Template {
            labels: BTreeMap::from([("l".into(), "1".into())]),
            annotations: BTreeMap::from([("b".into(), "2".into()), ("a".into(), "\"é\n".into())]),
            finalizers: vec!["y".into(), "x".into()],
            secret_type: Some("Opaque".into()),
            immutable: Some(true),
            data: BTreeMap::from([("k".into(), "{{ .v }}".into())]),
        };
        let json = r#"{"data":{"k":"{{ .v }}"},"immutable":true,"metadata":{"annotations":{"a":"\"é\n","b":"2"},"finalizers":["y","x"],"labels":{"l":"1"}},"type":"Opaque"}"#;
        assert_eq!(full.hash(), TemplateHash(Sha256::digest(json).into()));
    }

    proptest! {
        #[test]
        fn two_places_never_have_the_same_bytes(
            a in prop::array::uniform4("[a-c/.\\x00]{0,3}"),
            b in prop::array::uniform4("[a-c/.\\x00]{0,3}"),
        ) {
            let binding = |fields: &[String; 4]| {
                let mut binding = Binding::new(Scope::Strict, &fields[0], &fields[1], &fields[2]).associated_data();
                let mut delivery = Binding::new(Scope::Strict, &fields[0], &fields[1], &fields[2]);
                if !fields[3].is_empty() {
                    delivery.delivery.insert("k", &fields[3]);
                    binding = delivery.associated_data();
                }
                binding
            };
            prop_assert_eq!(binding(&a) == binding(&b), a == b);
        }
    }
}
