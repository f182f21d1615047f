//! Sealed values put into a `SealedSecret` that is there.
//!
//! The target says name, namespace and scope: what is put in opens beside what is in it, or is refused. Its text keeps order, comments
//! and layout; only the new values' bytes and the new labels and annotations of the template are written.

use std::collections::BTreeMap;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Patch, Step, Value};
use bulla_format::sealed::{Binding, PublicKey, Scope, SealedValue, seal_value};

use super::manifest::{self, Part, unreadable};
use super::secret::Metadata;
use super::{SealedObject, Secret};
use crate::error::Failure;
use crate::exit::Code;

/// The scope of a target, and its namespace.
///
/// # Errors
/// As [`merge`].
pub(crate) fn place(name: &str, text: &SecretBytes) -> Result<(Scope, String), Failure> {
    let parts = manifest::read(name, text)?;
    let (_, target) = target(name, &parts)?;
    Ok((target.scope(), target.metadata.namespace))
}

/// The one `SealedSecret` of a text.
fn target<'p>(name: &str, parts: &'p [Part]) -> Result<(&'p Part, SealedObject), Failure> {
    let mut with_objects = parts.iter().filter_map(|part| Some((part, part.object.as_ref()?)));
    let (Some((part, object)), None) = (with_objects.next(), with_objects.next()) else {
        return Err(unreadable(name, "it must hold exactly one SealedSecret"));
    };
    Ok((part, SealedObject::read(object).map_err(|what| unreadable(name, what))?))
}

/// The target's text with the values of `secret` sealed into it.
///
/// # Errors
/// A target that is not one `SealedSecret`; another scope; what [`Code`] says.
pub(crate) fn merge(
    name: &str,
    text: &SecretBytes,
    secret: &Secret,
    asked: Option<Scope>,
    key: &PublicKey,
) -> Result<SecretBytes, Failure> {
    let parts = manifest::read(name, text)?;
    let (part, mut target) = target(name, &parts)?;
    check_scope(name, &target, secret, asked)?;

    // A target that leaves its place to whoever applies it takes that of the Secret, as kubeseal has it.
    let (own, given) = (&target.metadata, &secret.metadata);
    let place = Metadata {
        name: if own.name.is_empty() { &given.name } else { &own.name }.clone(),
        namespace: if own.namespace.is_empty() { &given.namespace } else { &own.namespace }.clone(),
        ..Metadata::default()
    };
    if target.scope() == Scope::Strict && place.name.is_empty() {
        return Err(unreadable(name, "neither it nor the Secret has a metadata.name"));
    }

    let before = target.template_fields().hash();
    let labels = changed(&mut target.template.labels, &secret.metadata.labels);
    let annotations = changed(&mut target.template.annotations, &without_scope(&secret.metadata.annotations));
    if target.template_fields().hash() != before {
        check_bound(name, &target, secret)?;
    }

    let sealed = secret
        .data
        .iter()
        .map(|(item, plain)| {
            let place = Binding { namespace: &place.namespace, name: &place.name, ..target.binding(item) };
            let value = seal_value(key, &place, plain.expose());
            Ok((
                item.clone(),
                value.map_err(|error| Failure::new(Code::CannotEncryptTree, format!("{item:?}: {error}")))?,
            ))
        })
        .collect::<Result<Vec<_>, Failure>>()?;

    let cannot = |what: String| Failure::new(Code::CannotDump, format!("{name}: {what}"));
    let changed = edit(part, &sealed, &labels, &annotations).map_err(cannot)?;
    for (item, value) in sealed {
        match target.encrypted.iter_mut().find(|(known, _)| *known == item) {
            Some((_, known)) => *known = value,
            None => target.encrypted.push((item, value)),
        }
    }
    check(name, &changed, &target).map_err(cannot)?;
    let mut out = SecretBytes::new();
    for each in &parts {
        let text = if std::ptr::eq(each, part) { &changed } else { each.document.text() };
        out.extend_from_slice(text.expose());
    }
    Ok(out)
}

/// That the text says what it must, and nothing else moved with it: two places may share one by an alias.
fn check(name: &str, text: &SecretBytes, wanted: &SealedObject) -> Result<(), String> {
    let parts = manifest::read(name, text).map_err(|failure| failure.message)?;
    let object = parts.iter().find_map(|part| part.object.as_ref()).ok_or("it is empty")?;
    let mut found = SealedObject::read(object)?;
    found.encrypted.sort();
    let mut expected = wanted.encrypted.clone();
    expected.sort();
    let same = found.encrypted == expected
        && found.metadata == wanted.metadata
        && found.template_fields() == wanted.template_fields();
    if same {
        Ok(())
    } else {
        Err("its aliases (*name) tie places together that the merge would part; write them out".to_owned())
    }
}

/// A wider value than its object would not open; a narrower one neither. Nothing is widened on the way.
fn check_scope(name: &str, target: &SealedObject, secret: &Secret, asked: Option<Scope>) -> Result<(), Failure> {
    let wanted = asked.or_else(|| Some(secret.scope()).filter(|scope| *scope != Scope::Strict));
    match wanted {
        Some(wanted) if wanted != target.scope() => {
            let what =
                format!("{name} has {} scope, and the new values are asked to have {wanted} scope", target.scope());
            Err(Failure::new(Code::ConflictingFlags, what)
                .with_hint("one SealedSecret has one scope; seal the whole Secret anew to change it"))
        }
        _ => Ok(()),
    }
}

/// Hybrid values are bound to the template: one that stays would no longer open.
fn check_bound(name: &str, target: &SealedObject, secret: &Secret) -> Result<(), Failure> {
    let stays = target.encrypted.iter().find(|(item, value)| {
        !secret.data.iter().any(|(new, _)| new == item)
            && SealedValue::parse(value).is_ok_and(|value| value.is_hybrid())
    });
    match stays {
        None => Ok(()),
        Some((item, _)) => {
            let what =
                format!("{name}: {item:?} is bound to the template, which the new labels or annotations would change");
            Err(Failure::new(Code::ConflictingFlags, what).with_hint("seal the whole Secret anew"))
        }
    }
}

fn without_scope(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let is_scope = |key: &String| Scope::ALL.into_iter().any(|scope| scope.annotation() == Some(key.as_str()));
    annotations.iter().filter(|(key, _)| !is_scope(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Puts `new` over `old`; the answer is what that changed.
fn changed(old: &mut BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut changes = Vec::new();
    for (key, value) in new {
        if old.get(key) != Some(value) {
            old.insert(key.clone(), value.clone());
            changes.push((key.clone(), value.clone()));
        }
    }
    changes
}

fn edit(
    part: &Part,
    sealed: &[(String, String)],
    labels: &[(String, String)],
    annotations: &[(String, String)],
) -> Result<SecretBytes, String> {
    let Some(root) = part.root() else { return Err("it is empty".to_owned()) };
    let metadata = map([("labels", strings(labels)), ("annotations", strings(annotations))]);
    let spec = map([("encryptedData", strings(sealed)), ("template", map([("metadata", metadata)]))]);
    let Value::Map(changes) = map([("spec", spec)]) else { return Ok(part.document.text().clone()) };
    let mut patch = part.document.patch();
    put(&part.document, &mut patch, root, changes).map_err(|error| error.to_string())?;
    Ok(patch.finish())
}

/// Puts entries over those of a map: maps into maps, everything else in the place of what is there.
fn put(
    document: &Document,
    patch: &mut Patch<'_>,
    node: NodeId,
    entries: Vec<(String, Value)>,
) -> Result<(), bulla_document::Error> {
    let mut new = Vec::new();
    for (key, value) in entries {
        let old = document.child(node, &Step::Key(key.clone()));
        match (old, value) {
            (None, value) => new.push((key, value)),
            (Some(old), Value::Map(below)) if document.kind(old) == Kind::Map && !document.is_alias(old) => {
                put(document, patch, old, below)?;
            }
            (Some(old), value) => patch.set_value(old, &value)?,
        }
    }
    if new.is_empty() { Ok(()) } else { patch.insert(node, &new) }
}

/// A map of what is not empty.
fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let filled = entries.into_iter().filter(|(_, value)| !matches!(value, Value::Map(map) if map.is_empty()));
    Value::Map(filled.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn strings(entries: &[(String, String)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| (key.clone(), Value::str(value.as_str()))).collect())
}
