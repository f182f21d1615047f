//! Changes metadata where it stands: of what is the same no byte moves.

use std::collections::HashMap;

use bulla_document::{Document, Kind, NodeId, Patch, Scalar, Syntax, Value};

use super::locate::PREFIX;
use super::write::escaped;
use super::{Located, flat};
use crate::sops::Error;

/// Makes the metadata of a document be `tree`.
///
/// # Errors
/// What the document cannot express.
pub(in crate::sops) fn update(
    patch: &mut Patch<'_>,
    document: &Document,
    located: &Located,
    tree: &Value,
) -> Result<(), Error> {
    match document.syntax() {
        Syntax::Dotenv => {
            let Some(&root) = document.roots().first() else { return Ok(()) };
            let wanted: Vec<_> =
                flat::flatten(tree).into_iter().map(|(name, text)| (format!("{PREFIX}{name}"), text)).collect();
            update_flat(patch, document, root, &located.nodes, &wanted)
        }
        Syntax::Ini => {
            let Some(&section) = located.nodes.first() else { return Ok(()) };
            let entries: Vec<_> = document.children(section).filter(|&id| document.kind(id) != Kind::Comment).collect();
            let wanted: Vec<_> = flat::flatten(tree).into_iter().map(|(name, text)| (name, escaped(&text))).collect();
            update_flat(patch, document, section, &entries, &wanted)
        }
        _ => located.nodes.iter().try_for_each(|&node| update_node(patch, document, node, tree)),
    }
}

fn update_flat(
    patch: &mut Patch<'_>,
    document: &Document,
    parent: NodeId,
    entries: &[NodeId],
    wanted: &[(String, String)],
) -> Result<(), Error> {
    let mut missing: HashMap<&str, &str> = wanted.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    for &entry in entries {
        match missing.remove(document.key(entry).unwrap_or_default()) {
            Some(text) if document.scalar(entry).as_bytes() == Some(text.as_bytes()) => {}
            Some(text) => patch.set_scalar(entry, &Scalar::str(text))?,
            // Empty entries (`sops_kms=`) are what older versions left; they say nothing and stay.
            None if document.scalar(entry).as_bytes().is_some_and(<[u8]>::is_empty) => {}
            None => patch.remove(entry)?,
        }
    }
    let entries: Vec<_> = wanted
        .iter()
        .filter(|(name, text)| missing.contains_key(name.as_str()) && !text.is_empty())
        .map(|(name, text)| (name.clone(), Value::str(text)))
        .collect();
    if !entries.is_empty() {
        patch.insert(parent, &entries)?;
    }
    Ok(())
}

fn update_node(patch: &mut Patch<'_>, document: &Document, node: NodeId, wanted: &Value) -> Result<(), Error> {
    let children = || document.children(node).filter(|&child| document.kind(child) != Kind::Comment);
    match (document.kind(node), wanted) {
        (Kind::Map, Value::Map(entries)) if children().next().is_some() => update_map(patch, document, node, entries),
        (Kind::Seq, Value::Seq(items)) if items.len() == children().count() => {
            children().zip(items).try_for_each(|(child, item)| update_node(patch, document, child, item))
        }
        (Kind::Scalar, wanted) if flat::text(wanted) == flat::text(&document.to_value(node)) => Ok(()),
        _ => Ok(patch.set_value(node, wanted)?),
    }
}

fn update_map(
    patch: &mut Patch<'_>,
    document: &Document,
    map: NodeId,
    entries: &[(String, Value)],
) -> Result<(), Error> {
    let mut missing: HashMap<&str, &Value> = entries.iter().map(|(name, value)| (name.as_str(), value)).collect();
    for child in document.children(map).filter(|&child| document.kind(child) != Kind::Comment) {
        match missing.remove(document.key(child).unwrap_or_default()) {
            Some(value) => update_node(patch, document, child, value)?,
            // `kms: []` and `gcp_kms: null` are what older versions left; they say nothing and stay.
            None if is_empty(&document.to_value(child)) => {}
            None => patch.remove(child)?,
        }
    }
    let missing: Vec<_> = entries
        .iter()
        .filter(|(name, value)| missing.contains_key(name.as_str()) && !is_empty(value))
        .cloned()
        .collect();
    if !missing.is_empty() {
        patch.insert(map, &missing)?;
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Str(bytes) => bytes.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Seq(items) => items.is_empty(),
        _ => false,
    }
}
