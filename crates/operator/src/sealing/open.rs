//! From a SealedSecret to the contents of its Secret: pure, on the processor alone. No error shows what a value contains.
//!
//! **What it may cost.** Who writes a SealedSecret decides how many values and templates it has, and a value that no key opens costs a
//! private operation for each key. So after eight problems no more are looked for, all templates together give no more than a
//! Secret holds, and there is an end to [`Patience`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bulla_core::SecretBytes;
use bulla_format::sealed::{
    Binding, Candidates, Diagnosis, Fingerprint, OpenError, Scope, SealedValue, Template, diagnose,
};
use bulla_kube::api::SealedSecret;
use bulla_kube::api::sealed_secret::SKIP_SET_OWNER_REFERENCES;
use bulla_template::{Limits, Options, Text, Value};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::ring::Keys;

/// Private operations that are spent, at most, to find out for which place a value was sealed.
const DIAGNOSIS: usize = 64;
/// After so many problems no more are looked for: none of it is written then.
const PROBLEMS: usize = 8;
/// What a Secret holds at most, as the API server has it.
const SECRET: usize = 1 << 20;
/// What is said when there is an end to patience.
const TOO_LONG: &str = "its values and templates take longer than is given to one object; make several of it";

/// How long opening may take, and whether anybody waits for it. What runs on a thread of its own cannot be stopped from outside.
pub struct Patience {
    until: Option<Instant>,
    gone: Arc<AtomicBool>,
}

/// Whoever waits. Dropped, there is an end to [`Patience`].
pub struct Waiting(Arc<AtomicBool>);

impl Patience {
    /// While the other half is kept; without a limit until it [begins](Self::begin).
    pub fn new() -> (Self, Waiting) {
        let gone = Arc::new(AtomicBool::new(false));
        (Self { until: None, gone: gone.clone() }, Waiting(gone))
    }

    /// From now on for as long as `limit`.
    #[must_use]
    pub fn begin(self, limit: Duration) -> Self {
        Self { until: Instant::now().checked_add(limit), ..self }
    }

    /// Whether there is an end to it.
    pub fn is_over(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is to be known of values that do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whether all open: the first that does not is enough.
    Whether,
    /// Why they do not, and where they would.
    Why,
}

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
    /// How many private operations it took to open those that opened.
    pub operations: u64,
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
        finalizers: template.metadata.finalizers.clone(),
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
pub fn open_items(
    sealed: &SealedSecret,
    keys: &Keys,
    wanted: Wanted,
    patience: &Patience,
    mut each: impl FnMut(&str, SecretBytes),
) -> Opening {
    let most = if wanted == Wanted::Why { PROBLEMS } else { 1 };
    let (binding, hints) = (binding(sealed), hints(sealed));
    let mut opening = Opening::default();
    // Items are mostly sealed at once, to one key.
    let mut last = None;
    for (at, (item, text)) in sealed.spec.encrypted_data.iter().enumerate() {
        if patience.is_over() {
            opening.problems.push(TOO_LONG.to_owned());
            break;
        }
        if opening.problems.len() >= most {
            opening.problems.push(format!("{} values more were not tried", sealed.spec.encrypted_data.len() - at));
            break;
        }
        let place = binding.with_item(item);
        let hint = hints.get(item.as_str()).or(last.as_ref());
        let opened = SealedValue::parse(text).map_err(|error| explain(item, &error, keys)).and_then(|value| {
            keys.opening().open(&value, &place, hint).map_err(|error| match wanted {
                Wanted::Why => find_out(sealed, keys, &value, &place, &error),
                Wanted::Whether => explain(item, &error, keys),
            })
        });
        match opened {
            Ok(opened) => {
                last = Some(opened.key);
                opening.operations += opened.tries as u64;
                opening.keys.insert(item.clone(), opened.key);
                each(item, opened.plaintext);
            }
            Err(problem) => opening.problems.push(problem),
        }
    }
    opening
}

/// Opens a SealedSecret and makes its Secret's contents, templates included.
pub fn contents(
    sealed: &SealedSecret,
    keys: &Keys,
    old_data: OldData,
    patience: &Patience,
) -> (Option<Contents>, Opening) {
    if sealed.spec.data.as_ref().is_some_and(|data| !data.is_empty()) {
        return whole(sealed, keys, old_data);
    }
    let mut data = BTreeMap::new();
    let mut opening = open_items(sealed, keys, Wanted::Why, patience, |item, value| {
        data.insert(item.to_owned(), value);
    });
    if opening.problems.is_empty() {
        render(sealed, &mut data, patience, &mut opening.problems);
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
    opening.operations += opened.tries as u64;
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
fn render(
    sealed: &SealedSecret,
    data: &mut BTreeMap<String, SecretBytes>,
    patience: &Patience,
    problems: &mut Vec<String>,
) {
    let templates = &sealed.spec.template.data;
    if templates.is_empty() {
        return;
    }
    let options = Options::default();
    let mut rendered = Vec::new();
    let values: Vec<(Text, Text)> =
        data.iter().map(|(key, value)| (Text::from(key.as_str()), Text::from(value.expose()))).collect();
    // What a template takes the place of counts no more.
    let sealed_alone = data.iter().filter(|(key, _)| !templates.contains_key(*key));
    let mut room = SECRET.saturating_sub(sealed_alone.map(|(_, value)| value.len()).sum());
    for (key, text) in templates {
        if patience.is_over() {
            problems.push(TOO_LONG.to_owned());
            return;
        }
        if problems.len() >= PROBLEMS {
            return;
        }
        let limits = Limits { output: room.min(Limits::default().output), ..Limits::default() };
        let result = bulla_template::Template::parse(key, text, &options).map_err(|error| error.to_string()).and_then(
            |template| {
                // Each gets a map of its own: a template can change it.
                let values = Value::string_map(values.iter().cloned());
                template.execute(&values, &limits).map_err(|error| error.to_string())
            },
        );
        match result {
            Ok(value) => {
                room = room.saturating_sub(value.len());
                rendered.push((key.clone(), value));
            }
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

#[cfg(test)]
mod tests {
    use bulla_format::sealed::{PrivateKey, RsaSize, seal_value};
    use serde_json::json;

    use super::*;
    use crate::sealing::ring::Key;
    use bulla_kube::api::sealing_key::KeyState;

    fn keys() -> (Keys, PrivateKey) {
        let private = PrivateKey::generate_rsa(RsaSize::Bits2048).unwrap();
        let key = Key {
            private: private.clone(),
            certificate: None,
            not_before: jiff::Timestamp::UNIX_EPOCH,
            state: KeyState::Active,
        };
        (Keys::new(vec![Arc::new(key)], 0), private)
    }

    fn object(items: &[(String, String)], templates: &[(String, String)]) -> SealedSecret {
        let map = |pairs: &[(String, String)]| pairs.iter().cloned().collect::<BTreeMap<_, _>>();
        serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"encryptedData": map(items), "template": {"data": map(templates)}},
        }))
        .unwrap()
    }

    fn opened(sealed: &SealedSecret, keys: &Keys) -> (Option<Contents>, Opening) {
        let (patience, _waiting) = Patience::new();
        contents(sealed, keys, OldData::Refused, &patience.begin(Duration::from_mins(1)))
    }

    #[test]
    fn templates_together_give_no_more_than_a_secret_holds() {
        let (keys, _) = keys();
        // Each alone is within the limits of a template: together they would take the process' memory.
        let large = "{{ range until 300 }}{{ repeat 1000 \"x\" }}{{ end }}";
        let templates = |count: usize| (0..count).map(|n| (format!("k{n}"), large.to_owned())).collect::<Vec<_>>();
        assert!(opened(&object(&[], &templates(3)), &keys).0.is_some());
        let (contents, opening) = opened(&object(&[], &templates(200)), &keys);
        assert!(contents.is_none() && opening.problems[0].contains("output is too large"), "{:?}", opening.problems);
        assert_eq!(opening.problems.len(), PROBLEMS);
    }

    #[test]
    fn a_template_may_take_the_place_of_a_large_value() {
        let (keys, private) = keys();
        let place = Binding::new(Scope::Strict, "n", "a", "x");
        let text = seal_value(private.public_key(), &place, &vec![b'x'; 600_000]).unwrap();
        let item = [("x".to_owned(), text)];
        let template = |name: &str| object(&item, &[(name.to_owned(), "{{ .x }}".to_owned())]);
        assert!(opened(&template("x"), &keys).0.is_some());
        assert!(opened(&template("y"), &keys).0.is_none());
    }

    #[test]
    fn of_many_values_that_do_not_open_some_are_tried() {
        let (keys, _) = keys();
        let other = PrivateKey::generate_rsa(RsaSize::Bits2048).unwrap();
        let text = seal_value(other.public_key(), &Binding::new(Scope::Strict, "n", "a", "x"), b"v").unwrap();
        let items: Vec<_> = (0..50).map(|n| (format!("k{n}"), text.clone())).collect();
        let (_, opening) = opened(&object(&items, &[]), &keys);
        assert_eq!(
            (opening.problems.len(), &*opening.problems[PROBLEMS]),
            (PROBLEMS + 1, "42 values more were not tried")
        );
        let (patience, _waiting) = Patience::new();
        let whether = open_items(&object(&items, &[]), &keys, Wanted::Whether, &patience, |_, _| {});
        assert_eq!(whether.problems.len(), 2);
    }

    #[test]
    fn there_is_an_end_to_patience() {
        let (keys, private) = keys();
        let place = Binding::new(Scope::Strict, "n", "a", "x");
        let text = seal_value(private.public_key(), &place, b"v").unwrap();
        let sealed = object(&[("x".to_owned(), text)], &[("y".to_owned(), "{{ .x }}".to_owned())]);
        let with = |patience: &Patience| contents(&sealed, &keys, OldData::Refused, patience).1.problems;
        let (patience, waiting) = Patience::new();
        let patience = patience.begin(Duration::from_mins(1));
        assert!(with(&patience).is_empty());
        drop(waiting);
        assert_eq!(with(&patience), [TOO_LONG]);
        let (patience, _waiting) = Patience::new();
        assert_eq!(with(&patience.begin(Duration::ZERO)), [TOO_LONG]);
    }
}
