//! Opening without a cluster: the Secret of a `SealedSecret`, with keys from a backup.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bulla_core::SecretBytes;
use bulla_document::{Document, Syntax, Value};
use bulla_format::sealed::{Binding, Candidates, Diagnosis, Fingerprint, KeyRing, OpenError, SealedValue, diagnose};
use bulla_template::{Limits, Options, Template, Text, Value as Templated};
use zeroize::Zeroizing;

use super::object::KIND;
use super::{SealedObject, Secret};
use crate::error::Failure;
use crate::exit::Code;

/// The annotation in a template that keeps the Secret from having an owner.
const NO_OWNER: &str = "sealedsecrets.bitnami.com/skip-set-owner-references";

/// Opens a `SealedSecret`: the Secret as a tree, its fields in the order of kubeseal's JSON.
///
/// # Errors
/// [`Code::CannotDecryptTree`], a line for each item that does not open, with why.
pub(crate) fn open(name: &str, ring: &KeyRing, sealed: &SealedObject) -> Result<Value, Failure> {
    if let Some(blob) = &sealed.blob {
        return open_blob(name, ring, sealed, blob);
    }
    let mut data = BTreeMap::new();
    let mut wrong = Vec::new();
    // Items of one object are sealed to one key, as a rule.
    let mut hint = None;
    for (item, text) in &sealed.encrypted {
        match open_item(ring, sealed, item, text, hint.as_ref()) {
            Ok((plain, key)) => {
                hint = Some(key);
                data.insert(item.clone(), plain);
            }
            Err(why) => wrong.push(format!("{name}: {item:?}: {why}")),
        }
    }
    if wrong.is_empty() {
        render(name, sealed, &mut data, &mut wrong);
    }
    if !wrong.is_empty() {
        return Err(Failure::new(Code::CannotDecryptTree, wrong.join("\n")));
    }
    Ok(secret(sealed, &sealed.template.to_value(), sealed.secret_type.as_deref(), sealed.immutable, &data))
}

/// Renders the templates over the opened values, as the controller does, and puts the results among them.
fn render(name: &str, sealed: &SealedObject, data: &mut BTreeMap<String, SecretBytes>, wrong: &mut Vec<String>) {
    let mut rendered = Vec::new();
    for (item, text) in &sealed.template_data {
        let run = || {
            let template = Template::parse(item, text, &Options::default()).map_err(|error| error.to_string())?;
            // Each gets a map of its own: a template can change it.
            let values = data.iter().map(|(key, plain)| (Text::from(key.as_str()), Text::from(plain.expose())));
            template.execute(&Templated::string_map(values), &Limits::default()).map_err(|error| error.to_string())
        };
        match run() {
            Ok(plain) => rendered.push((item.clone(), plain)),
            Err(why) => wrong.push(format!("{name}: {item:?}: {why}")),
        }
    }
    data.extend(rendered);
}

fn open_item(
    ring: &KeyRing,
    sealed: &SealedObject,
    item: &str,
    text: &str,
    hint: Option<&Fingerprint>,
) -> Result<(SecretBytes, Fingerprint), String> {
    let value = SealedValue::parse(text).map_err(|error| error.to_string())?;
    let binding = sealed.binding(item);
    match ring.open(&value, &binding, hint) {
        Ok(opened) => Ok((opened.plaintext, opened.key)),
        Err(error) => Err(why(ring, sealed, &value, &binding, &error)),
    }
}

fn why(ring: &KeyRing, sealed: &SealedObject, value: &SealedValue, binding: &Binding<'_>, error: &OpenError) -> String {
    let items: Vec<&str> = sealed.encrypted.iter().map(|(item, _)| item.as_str()).take(32).collect();
    let places = [(sealed.template.namespace.as_str(), sealed.template.name.as_str())];
    match diagnose(ring, value, binding, &Candidates { places: &places, items: &items, ..Candidates::default() }) {
        Diagnosis::SealedFor(place) => format!("it does not open here: {place}"),
        Diagnosis::Unknown(error) => error.to_string(),
        _ => error.to_string(),
    }
}

/// `spec.data`, as versions before 0.8 sealed: the Secret as JSON, in one value.
fn open_blob(name: &str, ring: &KeyRing, sealed: &SealedObject, blob: &str) -> Result<Value, Failure> {
    let failed = |what: String| Failure::new(Code::CannotDecryptTree, format!("{name}: spec.data: {what}"));
    if !sealed.encrypted.is_empty() {
        return Err(failed("cannot stand beside spec.encryptedData".to_owned()));
    }
    let value = SealedValue::parse(blob).map_err(|error| failed(error.to_string()))?;
    let binding = sealed.binding("");
    let opened = ring.open(&value, &binding, None);
    let opened = opened.map_err(|error| failed(why(ring, sealed, &value, &binding, &error)))?;
    let document =
        Document::parse(Syntax::Json, opened.plaintext).map_err(|_| failed("what is sealed is no JSON".to_owned()))?;
    let object = document.roots().first().map_or(Value::Null, |root| document.to_value(*root));
    let inner = Secret::read(&object).map_err(failed)?;
    let data = inner.data.into_iter().collect();
    Ok(secret(sealed, &inner.metadata.to_value(), inner.type_name.as_deref(), inner.immutable, &data))
}

fn secret(
    sealed: &SealedObject,
    metadata: &Value,
    secret_type: Option<&str>,
    immutable: Option<bool>,
    data: &BTreeMap<String, SecretBytes>,
) -> Value {
    let field = |key: &str, value: Value| (key.to_owned(), value);
    let mut meta = vec![field("name", Value::str(sealed.metadata.name.as_str()))];
    if !sealed.metadata.namespace.is_empty() {
        meta.push(field("namespace", Value::str(sealed.metadata.namespace.as_str())));
    }
    if let Value::Map(entries) = metadata {
        meta.extend(entries.iter().filter(|(key, _)| key != "name" && key != "namespace").cloned());
    }
    if sealed.template.annotations.get(NO_OWNER).map(String::as_str) != Some("true") {
        let owner = vec![
            field("apiVersion", Value::str(KIND.0)),
            field("kind", Value::str(KIND.1)),
            field("name", Value::str(sealed.metadata.name.as_str())),
            field("uid", Value::str("")),
            field("controller", Value::Bool(true)),
        ];
        let before = meta.iter().position(|(key, _)| key == "finalizers").unwrap_or(meta.len());
        meta.insert(before, field("ownerReferences", Value::Seq(vec![Value::Map(owner)])));
    }
    let mut fields = vec![
        field("kind", Value::str("Secret")),
        field("apiVersion", Value::str("v1")),
        field("metadata", Value::Map(meta)),
    ];
    fields.extend(immutable.map(|immutable| field("immutable", Value::Bool(immutable))));
    if !data.is_empty() {
        let encoded =
            |plain: &SecretBytes| Value::Str(Zeroizing::new(BASE64_STANDARD.encode(plain.expose()).into_bytes()));
        let entries = data.iter().map(|(key, plain)| (key.clone(), encoded(plain))).collect();
        fields.push(field("data", Value::Map(entries)));
    }
    if let Some(secret_type) = secret_type.filter(|text| !text.is_empty()) {
        fields.push(field("type", Value::str(secret_type)));
    }
    Value::Map(fields)
}
