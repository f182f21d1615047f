//! A Secret's own text turned into its `SealedSecret`'s, so that order and comments stay.
//!
//! Works on YAML in block style, by whole lines: the values are replaced where they stand, then the blocks of `data`, `stringData`,
//! `metadata`, `type` and `immutable` move below `spec`, deeper by as many spaces. What comes out is read again and compared with the
//! tree that it must be. Where it is another (flow style, aliases, a layout of a kind not thought of), there is no answer, and the
//! object is written anew.

use std::collections::HashMap;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax, Value};

use super::SealedObject;
use super::manifest::Part;
use super::object::KIND;

/// The text of `part`, a Secret, as `sealed`. Nothing if its layout does not allow it.
pub(crate) fn keep(part: &Part, sealed: &SealedObject) -> Option<SecretBytes> {
    let root = part.root()?;
    if part.document.syntax() != Syntax::Yaml || part.document.has_aliases() {
        return None;
    }
    let replaced = replace_values(part, root, sealed)?;
    let text = std::str::from_utf8(replaced.expose()).ok()?;
    let moved = move_blocks(text, sealed)?;
    let result = Document::parse(Syntax::Yaml, SecretBytes::from(moved.as_bytes())).ok()?;
    let [root] = result.roots() else { return None };
    (normal(result.to_value(*root)) == normal(sealed.to_value())).then(|| result.into_text())
}

/// The text with ciphertext for values and without what does not go into a template.
fn replace_values(part: &Part, root: NodeId, sealed: &SealedObject) -> Option<SecretBytes> {
    let document = &part.document;
    let child = |node, key: &str| document.child(node, &Step::Key(key.to_owned()));
    let values: HashMap<&str, &str> =
        sealed.encrypted.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut patch = document.patch();
    for field in ["data", "stringData"] {
        for item in child(root, field).into_iter().flat_map(|map| document.children(map)) {
            if document.kind(item) == Kind::Comment {
                continue;
            }
            let value = values.get(document.key(item)?)?;
            let source = document.source(item);
            if source.starts_with(b"|") || source.starts_with(b">") {
                // A block of lines becomes one: base64 needs no quotes.
                let line_end = if source.ends_with(b"\n") { "\n" } else { "" };
                patch.set_source(item, format!("{value}{line_end}").as_bytes());
            } else {
                patch.set_scalar(item, &Scalar::Str(value.as_bytes().into())).ok()?;
            }
        }
    }
    let metadata = child(root, "metadata")?;
    for field in document.children(metadata).filter(|&field| document.kind(field) != Kind::Comment) {
        match document.key(field)? {
            "name" => set_text(&mut patch, field, &sealed.template.name)?,
            "namespace" => set_text(&mut patch, field, &sealed.template.namespace)?,
            "labels" | "finalizers" => {}
            "annotations" => {
                let left_out = |entry: &NodeId| {
                    let key = document.key(*entry).unwrap_or_default();
                    document.kind(*entry) != Kind::Comment && !sealed.template.annotations.contains_key(key)
                };
                let entries: Vec<_> =
                    document.children(field).filter(|&entry| document.kind(entry) != Kind::Comment).collect();
                if entries.iter().all(left_out) {
                    patch.remove(field).ok()?;
                    continue;
                }
                for entry in entries.into_iter().filter(left_out) {
                    patch.remove(entry).ok()?;
                }
            }
            _ => patch.remove(field).ok()?,
        }
    }
    let mut missing = Vec::new();
    for (key, value) in [("name", &sealed.template.name), ("namespace", &sealed.template.namespace)] {
        if child(metadata, key).is_none() && !value.is_empty() {
            missing.push((key.to_owned(), Value::str(value.as_str())));
        }
    }
    let annotations = child(metadata, "annotations").filter(|&node| document.kind(node) == Kind::Map);
    let new: Vec<_> = sealed
        .template
        .annotations
        .iter()
        .filter(|(key, _)| annotations.is_none_or(|map| child(map, key).is_none()))
        .map(|(key, value)| (key.clone(), Value::str(value.as_str())))
        .collect();
    match annotations {
        _ if new.is_empty() => {}
        Some(map) => patch.insert(map, &new).ok()?,
        None => missing.push(("annotations".to_owned(), Value::Map(new))),
    }
    if !missing.is_empty() {
        patch.insert(metadata, &missing).ok()?;
    }
    Some(patch.finish())
}

fn set_text(patch: &mut bulla_document::Patch<'_>, node: NodeId, text: &str) -> Option<()> {
    patch.set_scalar(node, &Scalar::Str(text.as_bytes().into())).ok()
}

/// A top-level entry: the comments before it, its own line, and those below it.
struct Block<'a> {
    key: &'a str,
    before: Vec<&'a str>,
    first: &'a str,
    rest: Vec<&'a str>,
}

fn move_blocks(text: &str, sealed: &SealedObject) -> Option<String> {
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let (head, blocks, tail) = blocks(text)?;
    let own = |key: &str| blocks.iter().find(|block| block.key == key);
    let mut out: String = head.concat();
    let line = |out: &mut String, depth: usize, text: &str| {
        out.push_str(&" ".repeat(depth));
        out.push_str(text);
        out.push_str(newline);
    };
    for block in &blocks {
        match block.key {
            "apiVersion" | "kind" => {
                push(&mut out, &block.before, 0, newline);
                let value = if block.key == "kind" { KIND.1 } else { KIND.0 };
                line(&mut out, 0, &format!("{}: {value}{}", block.key, comment(block.first)));
            }
            "metadata" => {
                line(&mut out, 0, "metadata:");
                for (key, value) in metadata(sealed)? {
                    line(&mut out, 2, &format!("{key}{value}"));
                }
            }
            "data" | "stringData" | "type" | "immutable" => {}
            // A status, a field of no meaning: not the SealedSecret's.
            _ => return None,
        }
    }
    line(&mut out, 0, "spec:");
    line(&mut out, 2, if sealed.encrypted.is_empty() { "encryptedData: {}" } else { "encryptedData:" });
    for block in ["data", "stringData"].into_iter().filter_map(own) {
        push(&mut out, &block.before, 4, newline);
        let comment = comment(block.first);
        if !comment.is_empty() {
            line(&mut out, 4, comment.trim_start());
        }
        let depth = indent(block.rest.iter().find(|line| is_entry(line)).copied().unwrap_or_default());
        for each in &block.rest {
            // Comments may stand less deep than the entries.
            let kept = each.get(depth.min(indent(each))..)?;
            push(&mut out, &[kept], 4, newline);
        }
    }
    line(&mut out, 2, "template:");
    for block in blocks.iter().filter(|block| ["metadata", "type", "immutable"].contains(&block.key)) {
        push(&mut out, &block.before, 4, newline);
        push(&mut out, &[block.first], 4, newline);
        push(&mut out, &block.rest, 4, newline);
    }
    out.push_str(&tail.concat());
    Some(out)
}

/// Lines before the first entry (markers, directives), the entries, and what follows the document's end.
fn blocks(text: &str) -> Option<(Vec<&str>, Vec<Block<'_>>, Vec<&str>)> {
    let mut lines = text.split_inclusive('\n').peekable();
    let mut head = Vec::new();
    let is_marker = |line: &str| line.starts_with("---") || line.starts_with('%');
    let mut waiting: Vec<&str> = Vec::new();
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut tail = Vec::new();
    while let Some(line) = lines.next() {
        if is_marker(line) && blocks.is_empty() {
            head.append(&mut waiting);
            head.push(line);
        } else if line.starts_with("...") {
            tail.append(&mut waiting);
            tail.push(line);
            tail.extend(lines);
            break;
        } else if line.trim().is_empty() || line.starts_with('#') {
            waiting.push(line);
        } else if is_entry(line) && indent(line) == 0 {
            let (key, _) = line.split_once(':')?;
            blocks.push(Block {
                key: key.trim_matches(['"', '\'']),
                before: std::mem::take(&mut waiting),
                first: line,
                rest: Vec::new(),
            });
        } else {
            // Comments and blank lines that stood in the middle of the block.
            let block = blocks.last_mut()?;
            block.rest.append(&mut waiting);
            block.rest.push(line);
        }
    }
    if tail.is_empty() {
        tail = waiting;
    }
    Some((head, blocks, tail))
}

/// The `SealedSecret`'s own metadata, one entry a line, behind their spaces.
fn metadata(sealed: &SealedObject) -> Option<Vec<(String, String)>> {
    let scalar = |text: &str| {
        let text = bulla_document::emit(
            &[Value::Map(vec![("k".to_owned(), Value::str(text))])],
            Syntax::Yaml,
            bulla_document::EmitOptions::default(),
        );
        let text = String::from_utf8(text.ok()?.expose().to_vec()).ok()?;
        Some(text.strip_prefix("k:")?.trim_end().to_owned())
    };
    let mut lines = vec![("name:".to_owned(), scalar(&sealed.metadata.name)?)];
    if !sealed.metadata.namespace.is_empty() {
        lines.push(("namespace:".to_owned(), scalar(&sealed.metadata.namespace)?));
    }
    if !sealed.metadata.annotations.is_empty() {
        lines.push(("annotations:".to_owned(), String::new()));
        for (key, value) in &sealed.metadata.annotations {
            lines.push((format!("  {key}:"), scalar(value)?));
        }
    }
    Some(lines)
}

/// Appends lines, deeper by `depth`.
fn push(out: &mut String, lines: &[&str], depth: usize, newline: &str) {
    for line in lines {
        if !line.trim().is_empty() {
            out.push_str(&" ".repeat(depth));
        }
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str(newline);
        }
    }
}

/// ` # …` behind a value on its line. That a `#` may stand in the value does not matter for the keys that are asked about.
fn comment(line: &str) -> &str {
    line.find(" #").map_or("", |start| line[start..].trim_end())
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_entry(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && !text.starts_with(['#', '-', '{', '[', '?'])
}

/// Without what is empty, and with keys sorted: what means the same is the same.
fn normal(value: Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .into_iter()
                .map(|(key, value)| (key, normal(value)))
                .filter(|(_, value)| {
                    !matches!(value, Value::Null) && !matches!(value, Value::Map(map) if map.is_empty())
                })
                .filter(|(_, value)| !matches!(value, Value::Seq(items) if items.is_empty()))
                .collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Map(entries)
        }
        Value::Seq(items) => Value::Seq(items.into_iter().map(normal).collect()),
        other => other,
    }
}
