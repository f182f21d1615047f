//! Changes of a dotenv text, and whole texts.

use bulla_core::SecretBytes;

use super::MULTILINE;
use crate::sink::Sink;
use crate::{Document, EmitOptions, Error, ErrorKind, Kind, NodeId, Patch, Scalar, Value, lines, number};

pub(crate) fn restores(document: &Document, id: NodeId) -> bool {
    // On one line, `\n` and line end stand for each other both ways.
    document.node(id).style != MULTILINE
}

pub(crate) fn render_scalar(
    document: &Document,
    id: NodeId,
    value: &Scalar<'_>,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    match (document.kind(id), value.as_bytes()) {
        (Kind::Comment, Some(text)) => {
            if text.contains(&b'\n') || text.contains(&0) {
                return Err(unrepresentable("a comment cannot hold a line end or a NUL byte"));
            }
            out.put(text);
            Ok(())
        }
        _ => write_value(value, out),
    }
}

pub(crate) fn set_value(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    match (patch.document.kind(id), value) {
        (Kind::Map, Value::Map(entries)) => {
            let start = patch.buffer.len();
            entries.iter().try_for_each(|(key, value)| write_entry(key, value, &mut patch.buffer))?;
            patch.splice(patch.document.node(id).span.range(), start);
            Ok(())
        }
        (Kind::Map, _) => Err(ErrorKind::Root("a dotenv text is a map of names to values".into()).into()),
        _ => Err(unrepresentable("dotenv has no lists and no maps")),
    }
}

pub(crate) fn insert(patch: &mut Patch<'_>, _map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let start = patch.buffer.len();
    for (key, value) in entries {
        if let Err(error) = write_entry(key, value, &mut patch.buffer) {
            patch.buffer.truncate(start);
            return Err(error);
        }
    }
    lines::append(patch, start, b"\n");
    Ok(())
}

pub(crate) fn remove(patch: &mut Patch<'_>, id: NodeId) -> Result<(), Error> {
    if patch.document.parent(id).is_none() {
        return Err(ErrorKind::Path("the root cannot be removed".into()).into());
    }
    patch.lines.push(patch.document.node(id).entry.range());
    Ok(())
}

/// One map of scalars as one text. Numbers and truth values are written as sops writes them.
///
/// `null` is an error: sops writes `<nil>`, which is a value that nobody meant.
pub(crate) fn emit(values: &[Value], _options: EmitOptions) -> Result<SecretBytes, Error> {
    let [Value::Map(entries)] = values else {
        return Err(unrepresentable("a dotenv text holds one map of names to values"));
    };
    let mut out = SecretBytes::new();
    entries.iter().try_for_each(|(key, value)| write_entry(key, value, &mut out))?;
    Ok(out)
}

fn write_entry(key: &str, value: &Value, out: &mut SecretBytes) -> Result<(), Error> {
    if key.is_empty() || key.starts_with('#') || key.contains(['=', '\n', '\0']) {
        let message = format!("dotenv has no form for the name {key:?}");
        return Err(unrepresentable(&message));
    }
    let Some(scalar) = value.as_scalar() else {
        return Err(unrepresentable(&format!("dotenv has no lists and no maps, which {key:?} is")));
    };
    out.put(key.as_bytes());
    out.put(b"=");
    write_value(&scalar, out).map_err(|error| unrepresentable(&format!("{key:?}: {error}")))?;
    out.put(b"\n");
    Ok(())
}

fn write_value(value: &Scalar<'_>, out: &mut impl Sink) -> Result<(), Error> {
    match value {
        Scalar::Null => return Err(unrepresentable("dotenv has no null")),
        Scalar::Bool(value) => out.put(if *value { b"true" } else { b"false" }),
        Scalar::Int(value) => out.put(value.to_string().as_bytes()),
        Scalar::Float(value) => out.put(number::go_typeless(*value).as_bytes()),
        Scalar::Time(text) => out.put(text.as_bytes()),
        Scalar::Str(bytes) => {
            if bytes.contains(&0) {
                return Err(unrepresentable("a dotenv value cannot hold a NUL byte"));
            }
            for (at, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
                if at > 0 {
                    out.put(b"\\n");
                }
                out.put(line);
            }
        }
    }
    Ok(())
}

fn unrepresentable(message: &str) -> Error {
    ErrorKind::Unrepresentable(message.into()).into()
}
