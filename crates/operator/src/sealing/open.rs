//! From a SealedSecret to the contents of its Secret: pure, on the processor alone. No error shows what a value contains.

use std::collections::BTreeMap;

use bulla_core::SecretBytes;
use bulla_format::sealed::{
    Binding, Candidates, Diagnosis, Fingerprint, OpenError, Scope, SealedValue, Template, diagnose,
};
use bulla_template::{Limits, Options, Text, Value};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::ring::Keys;
use crate::api::SealedSecret;
use crate::api::sealed_secret::SKIP_SET_OWNER_REFERENCES;

/// Private operations that are spent, at most, to find out for which place a value was sealed.
const DIAGNOSIS: usize = 64;

/// The contents of a Secret.
#[derive(Debug, Default)]
pub struct Contents {
    /// Its values.
    pub data: BTreeMap<String, SecretBytes>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// Its type.
    pub secret_type: Option<String>,
    /// Whether its values can never be changed.
    pub immutable: Option<bool>,
    /// Whether it goes with its SealedSecret.
    pub owned: bool,
}

/// What came of opening the values.
#[derive(Debug, Default)]
pub struct Opening {
    /// The key of each value that opened, by item.
    pub keys: BTreeMap<String, Fingerprint>,
    /// What is wrong, a sentence for each item.
    pub problems: Vec<String>,
}

/// What else is taken than `encryptedData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldData {
    /// The deprecated `spec.data`, too.
    Accepted,
    /// Nothing.
    Refused,
}

/// What decides where the values of `sealed` may be used. Its own metadata count, never the template's (CVE-2026-22728).
pub fn binding(sealed: &SealedSecret) -> Binding<'_> {
    let annotation = |name: &str| sealed.metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let namespace = sealed.metadata.namespace.as_deref().unwrap_or_default();
    let name = sealed.metadata.name.as_deref().unwrap_or_default();
    let template = &sealed.spec.template;
    let hash = Template {
        labels: template.metadata.labels.clone(),
        annotations: template.metadata.annotations.clone(),
        secret_type: template.type_.clone(),
        immutable: template.immutable,
        data: template.data.clone(),
    }
    .hash();
    let delivery = Binding::DELIVERY.iter().filter_map(|name| annotation(name).map(|value| (*name, value))).collect();
    Binding { template: hash, delivery, ..Binding::new(Scope::from_annotations(annotation), namespace, name, "") }
}

/// The key that each value was opened with the last time, as the status says.
pub fn hints(sealed: &SealedSecret) -> BTreeMap<&str, Fingerprint> {
    let known = sealed.status.iter().flat_map(|status| &status.sealed_with);
    known.filter_map(|(item, text)| Some((item.as_str(), text.parse().ok()?))).collect()
}

/// Opens every item, and tells of each that does not open why. The values go to `each`.
pub fn open_items(sealed: &SealedSecret, keys: &Keys, mut each: impl FnMut(&str, SecretBytes)) -> Opening {
    let (binding, hints) = (binding(sealed), hints(sealed));
    let mut opening = Opening::default();
    // Items are mostly sealed at once, to one key.
    let mut last = None;
    for (item, text) in &sealed.spec.encrypted_data {
        let place = binding.with_item(item);
        let hint = hints.get(item.as_str()).or(last.as_ref());
        let opened = SealedValue::parse(text).map_err(|error| explain(item, &error, keys)).and_then(|value| {
            keys.opening().open(&value, &place, hint).map_err(|error| find_out(sealed, keys, &value, &place, &error))
        });
        match opened {
            Ok(opened) => {
                last = Some(opened.key);
                opening.keys.insert(item.clone(), opened.key);
                each(item, opened.plaintext);
            }
            Err(problem) => opening.problems.push(problem),
        }
    }
    opening
}

/// Opens a SealedSecret and makes its Secret's contents, templates included.
pub fn contents(sealed: &SealedSecret, keys: &Keys, old_data: OldData) -> (Option<Contents>, Opening) {
    if sealed.spec.data.as_ref().is_some_and(|data| !data.is_empty()) {
        return whole(sealed, keys, old_data);
    }
    let mut data = BTreeMap::new();
    let mut opening = open_items(sealed, keys, |item, value| {
        data.insert(item.to_owned(), value);
    });
    if opening.problems.is_empty() {
        render(sealed, &mut data, &mut opening.problems);
    }
    let contents = opening.problems.is_empty().then(|| {
        let template = &sealed.spec.template;
        Contents {
            data,
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            secret_type: template.type_.clone(),
            immutable: template.immutable,
            owned: is_owned(sealed),
        }
    });
    (contents, opening)
}

/// The deprecated form: one value that is a whole Secret as JSON.
fn whole(sealed: &SealedSecret, keys: &Keys, old_data: OldData) -> (Option<Contents>, Opening) {
    let mut opening = Opening::default();
    let result = if old_data == OldData::Refused {
        Err("the deprecated field spec.data is not accepted here: seal the Secret again, or allow it with \
             --accept-deprecated-v1-data"
            .to_owned())
    } else if !sealed.spec.encrypted_data.is_empty() {
        Err("spec.encryptedData and the deprecated spec.data cannot both be used".to_owned())
    } else {
        open_whole(sealed, keys, &mut opening)
    };
    match result {
        Ok(contents) => (Some(contents), opening),
        Err(problem) => {
            opening.problems.push(problem);
            (None, opening)
        }
    }
}

/// What the old form's key is remembered under: no item can be called so.
const WHOLE: &str = "spec.data";

fn open_whole(sealed: &SealedSecret, keys: &Keys, opening: &mut Opening) -> Result<Contents, String> {
    let place = binding(sealed);
    let hint = hints(sealed).remove(WHOLE);
    let text = sealed.spec.data.as_deref().unwrap_or_default();
    let value = SealedValue::parse(text).map_err(|error| explain(WHOLE, &error, keys))?;
    let opened = keys
        .opening()
        .open(&value, &place, hint.as_ref())
        .map_err(|error| find_out(sealed, keys, &value, &place, &error))?;
    // The parser's own error could quote what it read.
    let secret: Secret = serde_json::from_slice(opened.plaintext.expose())
        .map_err(|_| "spec.data opens, but what is in it is not a Secret as JSON".to_owned())?;
    opening.keys.insert(WHOLE.to_owned(), opened.key);
    let mut data: BTreeMap<String, SecretBytes> =
        secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, SecretBytes::from(value.0))).collect();
    let texts = secret.string_data.unwrap_or_default().into_iter();
    data.extend(texts.map(|(key, value)| (key, SecretBytes::from(value.into_bytes()))));
    Ok(Contents {
        data,
        labels: secret.metadata.labels.unwrap_or_default(),
        annotations: secret.metadata.annotations.unwrap_or_default(),
        finalizers: Vec::new(),
        secret_type: secret.type_,
        immutable: secret.immutable,
        owned: is_owned(sealed),
    })
}

fn is_owned(sealed: &SealedSecret) -> bool {
    let annotations = &sealed.spec.template.metadata.annotations;
    annotations.get(SKIP_SET_OWNER_REFERENCES).is_none_or(|value| value != "true")
}

/// Renders the templates over the opened values, and puts the results among them.
fn render(sealed: &SealedSecret, data: &mut BTreeMap<String, SecretBytes>, problems: &mut Vec<String>) {
    let templates = &sealed.spec.template.data;
    if templates.is_empty() {
        return;
    }
    let options = Options::default();
    let mut rendered = Vec::new();
    for (key, text) in templates {
        // Each gets a map of its own: a template can change it.
        let values = data.iter().map(|(key, value)| (Text::from(key.as_str()), Text::from(value.expose())));
        let result = bulla_template::Template::parse(key, text, &options).map_err(|error| error.to_string()).and_then(
            |template| {
                let values = Value::string_map(values);
                template.execute(&values, &Limits::default()).map_err(|error| error.to_string())
            },
        );
        match result {
            Ok(value) => rendered.push((key.clone(), value)),
            Err(error) => problems.push(format!("{key}: {error}")),
        }
    }
    data.extend(rendered);
}

/// Why a value does not open, and if it can be found out, where it would.
fn find_out(sealed: &SealedSecret, keys: &Keys, value: &SealedValue, place: &Binding<'_>, error: &OpenError) -> String {
    let item = if place.item.is_empty() { WHOLE } else { place.item };
    // What kubeseal wrote beside the values says for which name they were sealed.
    let template = &sealed.spec.template.metadata;
    let named =
        (template.namespace.as_deref().unwrap_or(place.namespace), template.name.as_deref().unwrap_or(place.name));
    let items: Vec<&str> = sealed.spec.encrypted_data.keys().map(String::as_str).collect();
    let candidates = Candidates { places: &[named], items: &items, tries: DIAGNOSIS };
    match diagnose(keys.opening(), value, place, &candidates) {
        Diagnosis::SealedFor(found) => format!(
            "{item}: it is sealed for {found}, not for {} {}/{}; seal it anew for here, or give the object that place",
            place.scope, place.namespace, place.name
        ),
        _ => explain(item, error, keys),
    }
}

/// The error as a sentence, and what to do.
fn explain(item: &str, error: &OpenError, keys: &Keys) -> String {
    match error {
        OpenError::NoKey if keys.keys().is_empty() => {
            format!("{item}: no key could decrypt secret: there is no sealing key that can be used yet")
        }
        // The words that people and tools look for come first.
        OpenError::NoKey => {
            format!("{item}: no key could decrypt secret: {error} ({} keys were tried)", keys.keys().len())
        }
        OpenError::UnknownKey { .. } if keys.has_compromised() => {
            format!("{item}: {error}; keys that are marked as compromised open nothing")
        }
        _ => format!("{item}: {error}"),
    }
}

/// The name, for messages.
pub fn full_name(sealed: &SealedSecret) -> String {
    format!("{}/{}", sealed.namespace().unwrap_or_default(), sealed.name_any())
}
