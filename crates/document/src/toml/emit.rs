//! TOML for whole trees, and for what is added to a text.

use bulla_core::SecretBytes;

use super::scalar::{self, Style};
use crate::sink::Sink;
use crate::{EmitOptions, Error, ErrorKind, Scalar, Value};

/// One map as one text: single values and lists first, then tables, each with its header.
pub(crate) fn emit(values: &[Value], _options: EmitOptions) -> Result<SecretBytes, Error> {
    let [Value::Map(entries)] = values else {
        return Err(ErrorKind::Unrepresentable("a TOML text holds one table".into()).into());
    };
    let mut out = SecretBytes::new();
    let style = Lines { newline: b"\n", delimiter: b" = " };
    style.entries(entries, b"", &mut out)?;
    style.tables(entries, &mut Vec::new(), &mut out)?;
    Ok(out)
}

/// How lines are written.
pub(super) struct Lines<'l> {
    pub(super) newline: &'l [u8],
    pub(super) delimiter: &'l [u8],
}

impl Lines<'_> {
    /// The entries that are not tables, a line each.
    pub(super) fn entries(
        &self,
        entries: &[(String, Value)],
        indent: &[u8],
        out: &mut SecretBytes,
    ) -> Result<(), Error> {
        for (key, value) in entries.iter().filter(|(_, value)| !is_table(value)) {
            out.put(indent);
            self.entry(b"", key, value, out)?;
        }
        Ok(())
    }

    /// One line. `prefix` is what stands before the key: `a.b.` where dotted keys are used.
    pub(super) fn entry(&self, prefix: &[u8], key: &str, value: &Value, out: &mut SecretBytes) -> Result<(), Error> {
        out.put(prefix);
        scalar::write_key(key, out);
        out.put(self.delimiter);
        self.value(key, value, out)?;
        out.put(self.newline);
        Ok(())
    }

    /// The entries that are tables, each below its header. `path` is where they are, as it is written.
    pub(super) fn tables(
        &self,
        entries: &[(String, Value)],
        path: &mut Vec<u8>,
        out: &mut SecretBytes,
    ) -> Result<(), Error> {
        for (key, value) in entries.iter().filter(|(_, value)| is_table(value)) {
            let len = path.len();
            push_key(path, key);
            let result = match value {
                Value::Map(entries) => self.table(b"[", path, b"]", entries, out),
                Value::Seq(items) => items.iter().try_for_each(|item| match item {
                    Value::Map(entries) => self.table(b"[[", path, b"]]", entries, out),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            };
            path.truncate(len);
            result?;
        }
        Ok(())
    }

    /// A table below its header, and those below it.
    pub(super) fn table(
        &self,
        open: &[u8],
        path: &mut Vec<u8>,
        close: &[u8],
        entries: &[(String, Value)],
        out: &mut SecretBytes,
    ) -> Result<(), Error> {
        if !out.is_empty() {
            out.put(self.newline);
        }
        for part in [open, path, close, self.newline] {
            out.put(part);
        }
        self.entries(entries, b"", out)?;
        self.tables(entries, path, out)
    }

    /// A value on a line. Of a string with line ends, the lines; not where the text's own line ends are other ones.
    fn value(&self, key: &str, value: &Value, out: &mut SecretBytes) -> Result<(), Error> {
        let style = match value {
            Value::Str(bytes) if self.newline == b"\n" && bytes.contains(&b'\n') => Style::Lines,
            _ => Style::Basic,
        };
        write_value(value, style, out).map_err(|kind| at(key, kind))
    }
}

/// Appends `"key" = value` as it stands in an inline table.
pub(super) fn write_inline_entry(
    key: &str,
    delimiter: &[u8],
    value: &Value,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    scalar::write_key(key, out);
    out.put(delimiter);
    write_inline(value, out).map_err(|kind| at(key, kind))
}

/// Appends a value on one line.
pub(super) fn write_inline(value: &Value, out: &mut SecretBytes) -> Result<(), ErrorKind> {
    write_value(value, Style::Basic, out)
}

/// Appends a key to a path.
pub(super) fn push_key(path: &mut Vec<u8>, key: &str) {
    let mut written = SecretBytes::new();
    scalar::write_key(key, &mut written);
    if !path.is_empty() {
        path.push(b'.');
    }
    path.extend_from_slice(written.expose());
}

fn write_value(value: &Value, style: Style, out: &mut SecretBytes) -> Result<(), ErrorKind> {
    match value {
        Value::Seq(items) => {
            out.put(b"[");
            for (at, item) in items.iter().enumerate() {
                out.put(if at > 0 { b", " } else { b"" });
                write_inline(item, out)?;
            }
            out.put(b"]");
        }
        Value::Map(entries) if entries.is_empty() => out.put(b"{}"),
        Value::Map(entries) => {
            for (at, (key, value)) in entries.iter().enumerate() {
                out.put(if at > 0 { b", " } else { b"{ " });
                scalar::write_key(key, out);
                out.put(b" = ");
                write_inline(value, out)?;
            }
            out.put(b" }");
        }
        single => scalar::write(&single.as_scalar().unwrap_or(Scalar::Null), style, out)?,
    }
    Ok(())
}

/// Whether the value is written below a header: a map, or a list of nothing but maps.
pub(super) fn is_table(value: &Value) -> bool {
    match value {
        Value::Map(_) => true,
        Value::Seq(items) => !items.is_empty() && items.iter().all(|item| matches!(item, Value::Map(_))),
        _ => false,
    }
}

fn at(key: &str, kind: ErrorKind) -> Error {
    match kind {
        ErrorKind::Unrepresentable(message) => ErrorKind::Unrepresentable(format!("{key:?}: {message}")).into(),
        other => other.into(),
    }
}
