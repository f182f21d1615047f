//! JSON for whole trees: what sops writes, byte for byte.

use bulla_core::SecretBytes;

use super::string::{Escapes, write_string};
use crate::sink::Sink;
use crate::{EmitOptions, Error, ErrorKind, Scalar, Value, number};

/// One tree as one JSON text with a line end. Any tree will do; that the root of a file is an object is asked of files
/// that are read.
pub(crate) fn emit(values: &[Value], options: EmitOptions) -> Result<SecretBytes, Error> {
    let [value] = values else {
        let message = format!("{} documents do not fit in one JSON text", values.len());
        return Err(ErrorKind::Unrepresentable(message).into());
    };
    let unit = options.indent.map_or_else(|| b"\t".to_vec(), |spaces| vec![b' '; usize::from(spaces)]);
    let style = Style {
        newline: Some(b"\n".to_vec()),
        comma: b",".to_vec(),
        colon: b": ".to_vec(),
        escapes: Escapes::Html,
        unit,
    };
    let mut out = SecretBytes::new();
    style.write(value, &mut Vec::new(), &mut out)?;
    out.extend_from_slice(b"\n");
    Ok(out)
}

/// How a tree is laid out.
pub(super) struct Style {
    /// What starts a new line for each entry, if anything does.
    pub(super) newline: Option<Vec<u8>>,
    /// What stands between two entries, before the new line.
    pub(super) comma: Vec<u8>,
    /// What stands between a key and its value.
    pub(super) colon: Vec<u8>,
    /// The indentation of one level.
    pub(super) unit: Vec<u8>,
    pub(super) escapes: Escapes,
}

impl Style {
    /// Appends `value`; `indent` is what its own line starts with.
    pub(super) fn write(&self, value: &Value, indent: &mut Vec<u8>, out: &mut SecretBytes) -> Result<(), Error> {
        match value {
            Value::Map(entries) if entries.is_empty() => out.extend_from_slice(b"{}"),
            Value::Seq(items) if items.is_empty() => out.extend_from_slice(b"[]"),
            Value::Map(entries) => {
                self.block(b"{", entries.iter(), b"}", indent, out, |(key, value), indent, out| {
                    self.entry(key, value, indent, out)
                })?;
            }
            Value::Seq(items) => {
                self.block(b"[", items.iter(), b"]", indent, out, |item, indent, out| self.write(item, indent, out))?;
            }
            scalar => {
                let Some(scalar) = scalar.as_scalar() else { return Ok(()) };
                write_scalar(&scalar, self.escapes, out)?;
            }
        }
        Ok(())
    }

    /// Appends `"key": value`.
    pub(super) fn entry(
        &self,
        key: &str,
        value: &Value,
        indent: &mut Vec<u8>,
        out: &mut SecretBytes,
    ) -> Result<(), Error> {
        let _ = write_string(key.as_bytes(), self.escapes, out);
        out.extend_from_slice(&self.colon);
        self.write(value, indent, out)
    }

    fn block<T>(
        &self,
        open: &[u8],
        entries: impl Iterator<Item = T>,
        close: &[u8],
        indent: &mut Vec<u8>,
        out: &mut SecretBytes,
        mut write: impl FnMut(T, &mut Vec<u8>, &mut SecretBytes) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.extend_from_slice(open);
        indent.extend_from_slice(&self.unit);
        for (at, entry) in entries.enumerate() {
            if at > 0 {
                out.extend_from_slice(&self.comma);
            }
            self.line(indent, out);
            write(entry, indent, out)?;
        }
        indent.truncate(indent.len() - self.unit.len());
        self.line(indent, out);
        out.extend_from_slice(close);
        Ok(())
    }

    fn line(&self, indent: &[u8], out: &mut SecretBytes) {
        if let Some(newline) = &self.newline {
            out.extend_from_slice(newline);
            out.extend_from_slice(indent);
        }
    }
}

pub(super) fn write_scalar(value: &Scalar<'_>, escapes: Escapes, out: &mut impl Sink) -> Result<(), Error> {
    match value {
        Scalar::Null => out.put(b"null"),
        Scalar::Bool(true) => out.put(b"true"),
        Scalar::Bool(false) => out.put(b"false"),
        Scalar::Int(value) => out.put(value.to_string().as_bytes()),
        Scalar::Float(value) => {
            let text = number::go_json(*value)
                .ok_or_else(|| ErrorKind::Unrepresentable("JSON has no form for NaN and infinite numbers".into()))?;
            out.put(text.as_bytes());
        }
        Scalar::Str(bytes) => write_string(bytes, escapes, out)
            .ok_or_else(|| ErrorKind::Unrepresentable("JSON has no form for bytes that are not UTF-8".into()))?,
        Scalar::Time(text) => {
            let _ = write_string(text.as_bytes(), escapes, out);
        }
    }
    Ok(())
}
