//! A Secret as it is sealed: what the API server would make of the manifest.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bulla_core::SecretBytes;
use bulla_document::Value;
use bulla_format::sealed::{self, Scope};
use zeroize::Zeroizing;

use super::manifest;

/// As Go's decoder: bits behind the last byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Copies of the whole object that tools keep in an annotation: sealed, they would give its values away.
const COPIES: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "kubecfg.ksonnet.io/last-applied-configuration"];

/// A Secret.
pub(crate) struct Secret {
    /// Its metadata, without what belongs to the server.
    pub(crate) metadata: Metadata,
    /// `type`.
    pub(crate) type_name: Option<String>,
    /// `immutable`.
    pub(crate) immutable: Option<bool>,
    /// `data` decoded, with `stringData` over it, in the order of the manifest.
    pub(crate) data: Vec<(String, SecretBytes)>,
}

/// The metadata that goes into the template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// `name`.
    pub(crate) name: String,
    /// `namespace`; empty for none.
    pub(crate) namespace: String,
    /// `labels`.
    pub(crate) labels: BTreeMap<String, String>,
    /// `annotations`.
    pub(crate) annotations: BTreeMap<String, String>,
    /// `finalizers`.
    pub(crate) finalizers: Vec<String>,
}

impl Secret {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, without its values.
    pub(crate) fn read(object: &Value) -> Result<Self, String> {
        let type_name = optional_text(object, "type")?;
        let immutable = optional_bool(object, "immutable")?;
        let mut metadata = Metadata::read(object.get("metadata"))?;
        metadata.annotations.retain(|key, _| !COPIES.contains(&key.as_str()));
        let mut data = Vec::new();
        let mut places = HashMap::new();
        for (key, value) in entries(object, "data")? {
            places.insert(key.as_str(), data.len());
            data.push((key.clone(), decoded(key, value)?));
        }
        for (key, value) in entries(object, "stringData")? {
            let value = match value {
                Value::Str(bytes) => SecretBytes::from(bytes.as_slice()),
                Value::Null => SecretBytes::new(),
                _ => return Err(format!("stringData: {key:?} is not a string; put it in quotes")),
            };
            match places.get(key.as_str()) {
                Some(&place) => data[place].1 = value,
                None => data.push((key.clone(), value)),
            }
        }
        Ok(Self { metadata, type_name, immutable, data })
    }

    /// The scope that its annotations say.
    pub(crate) fn scope(&self) -> Scope {
        self.metadata.scope()
    }
}

impl Metadata {
    /// Reads what is taken of an object's `metadata`.
    ///
    /// # Errors
    /// A field of a wrong type.
    pub(crate) fn read(metadata: Option<&Value>) -> Result<Self, String> {
        let Some(metadata @ Value::Map(_)) = metadata else {
            return match metadata {
                None | Some(Value::Null) => Ok(Self::default()),
                Some(_) => Err("metadata is not a map".to_owned()),
            };
        };
        let finalizers = match metadata.get("finalizers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Seq(items)) => items
                .iter()
                .map(|item| string(item).ok_or("metadata.finalizers has an item that is not a string"))
                .collect::<Result<_, _>>()?,
            Some(_) => return Err("metadata.finalizers is not a list".to_owned()),
        };
        Ok(Self {
            name: optional_text(metadata, "name")?.unwrap_or_default(),
            namespace: optional_text(metadata, "namespace")?.unwrap_or_default(),
            labels: strings(metadata, "labels")?,
            annotations: strings(metadata, "annotations")?,
            finalizers,
        })
    }

    /// The scope that the annotations say.
    pub(crate) fn scope(&self) -> Scope {
        Scope::from_annotations(|key| self.annotations.get(key).map(String::as_str))
    }

    /// Makes the annotations say `scope`.
    pub(crate) fn set_scope(&mut self, scope: Scope) {
        self.annotations.remove(sealed::CLUSTER_WIDE);
        self.annotations.remove(sealed::NAMESPACE_WIDE);
        if let Some(annotation) = scope.annotation() {
            self.annotations.insert(annotation.to_owned(), "true".to_owned());
        }
    }
}

/// A string's text.
pub(super) fn string(value: &Value) -> Option<String> {
    match value {
        Value::Str(bytes) => str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    }
}

/// A field that is a string, or not there.
pub(super) fn optional_text(object: &Value, field: &str) -> Result<Option<String>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => string(value).map(Some).ok_or_else(|| format!("{field} is not a string; put it in quotes")),
    }
}

/// A field that is true or false, or not there.
pub(super) fn optional_bool(object: &Value, field: &str) -> Result<Option<bool>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(format!("{field} is neither true nor false")),
    }
}

/// A field that is a map of strings, or not there.
pub(super) fn strings(object: &Value, field: &str) -> Result<BTreeMap<String, String>, String> {
    let read = |(key, value): &(String, Value)| match value {
        Value::Null => Ok((key.clone(), String::new())),
        value => string(value)
            .map(|value| (key.clone(), value))
            .ok_or_else(|| format!("{field}: {key:?} is not a string; put it in quotes")),
    };
    entries(object, field)?.iter().map(read).collect()
}

/// The entries of a field that is a map, or not there.
pub(super) fn entries<'a>(object: &'a Value, field: &str) -> Result<&'a [(String, Value)], String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Map(entries)) => Ok(entries),
        Some(_) => Err(format!("{field} is not a map")),
    }
}

/// What a Secret must say that it is.
pub(super) fn check_kind(object: &Value, wanted: (&str, &str)) -> Result<(), String> {
    let (version, kind) = manifest::kind(object);
    if kind == wanted.1 && version == wanted.0 {
        return Ok(());
    }
    let found = if kind.is_empty() { "it has no kind".to_owned() } else { format!("it is a {kind:?} of {version:?}") };
    Err(format!("{found}, not a {} of {}", wanted.1, wanted.0))
}

fn decoded(key: &str, value: &Value) -> Result<SecretBytes, String> {
    let text = match value {
        Value::Str(bytes) => bytes,
        Value::Null => return Ok(SecretBytes::new()),
        _ => return Err(format!("data: {key:?} is not a string of base64")),
    };
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let mut plain = SecretBytes::zeroed(base64::decoded_len_estimate(packed.len()));
    let len = BASE64
        .decode_slice(&*packed, plain.expose_mut())
        .map_err(|_| format!("data: {key:?} is not base64; plain text goes under stringData"))?;
    plain.truncate(len);
    Ok(plain)
}
