//! Keys, values and whole texts of INI, written as sops writes them where that can be read again.

use bulla_core::SecretBytes;
use zeroize::Zeroizing;

use super::DEFAULT;
use super::read::{self, Contents, Style};
use crate::sink::Sink;
use crate::{EmitOptions, Error, ErrorKind, Scalar, Value, number};

/// One map of sections as one text, laid out as sops does it: equals signs in a column, a blank line between sections.
///
/// Values that sops writes so that it cannot read them again (`"x"` with its quotes, a backslash at the end) are quoted.
/// `null` is an error: sops writes `<nil>`, which is a value that nobody meant.
pub(crate) fn emit(values: &[Value], _options: EmitOptions) -> Result<SecretBytes, Error> {
    let [Value::Map(sections)] = values else {
        return Err(unrepresentable("an INI text holds one map of sections"));
    };
    let mut out = SecretBytes::new();
    for (at, (name, section)) in sections.iter().enumerate() {
        let entries = entries_of(name, section)?;
        if at > 0 || name != DEFAULT {
            write_header(name, b"\n", &mut out)?;
        } else if entries.is_empty() {
            continue;
        }
        let keys: Vec<Vec<u8>> = entries.iter().map(|(key, _)| key_source(key)).collect::<Result<_, _>>()?;
        let width = keys.iter().map(Vec::len).max().unwrap_or_default();
        for ((key, value), source) in entries.iter().zip(&keys) {
            out.put(source);
            out.put(&vec![b' '; width - source.len()]);
            out.put(b" = ");
            write_value(key, value, None, b"\n", &mut out)?;
            out.put(b"\n");
        }
        if at + 1 < sections.len() {
            out.put(b"\n");
        }
    }
    Ok(out)
}

/// The entries of a section.
pub(super) fn entries_of<'v>(name: &str, section: &'v Value) -> Result<&'v [(String, Value)], Error> {
    match section {
        Value::Map(entries) => Ok(entries),
        _ => Err(unrepresentable(&format!("{name:?} stands outside of any section, which INI has no form for"))),
    }
}

pub(super) fn write_header(name: &str, newline: &[u8], out: &mut SecretBytes) -> Result<(), Error> {
    if name.is_empty() || name.contains('\n') {
        return Err(unrepresentable(&format!("INI has no form for the section {name:?}")));
    }
    for part in [b"[", name.as_bytes(), b"]", newline] {
        out.put(part);
    }
    Ok(())
}

/// A key as it is written: bare if it can be, else in quotes.
pub(super) fn key_source(key: &str) -> Result<Vec<u8>, Error> {
    let first: &[u8] = if key.contains(['"', '=', ':']) {
        b"`"
    } else if key.contains('`') {
        b"\"\"\""
    } else {
        b""
    };
    for quotes in [first, b"", b"`", b"\"", b"\"\"\""] {
        let source = [quotes, key.as_bytes(), quotes].concat();
        let line = [&source[..], b" = \n"].concat();
        let is_other = quotes.is_empty() && key.starts_with(['[', '#', ';']);
        // A dash counts up, in quotes too.
        if !is_other
            && key != "-"
            && !key.contains('\n')
            && line[0] != b' '
            && matches!(read::key(&line, 0..line.len()), Ok((name, _)) if &line[name.clone()] == key.as_bytes())
        {
            return Ok(source);
        }
    }
    Err(unrepresentable(&format!("INI has no form for the name {key:?}")))
}

/// Appends the value of `key`.
pub(super) fn write_value(
    key: &str,
    value: &Value,
    style: Option<Style>,
    rest: &[u8],
    out: &mut impl Sink,
) -> Result<(), Error> {
    let Some(scalar) = value.as_scalar() else {
        return Err(unrepresentable(&format!("INI has no lists and no maps in sections, which {key:?} is")));
    };
    write_scalar(&scalar, style, rest, out).map_err(|error| unrepresentable(&format!("{key:?}: {error}")))
}

/// Appends a value: in its `style` if it is read again from that, else in the style that sops chooses, else in any.
/// `rest` is what follows on the line.
pub(super) fn write_scalar(
    value: &Scalar<'_>,
    style: Option<Style>,
    rest: &[u8],
    out: &mut impl Sink,
) -> Result<(), Error> {
    let typeless = match value {
        Scalar::Null => return Err(unrepresentable("INI has no null")),
        Scalar::Str(_) => String::new(),
        Scalar::Bool(value) => value.to_string(),
        Scalar::Int(value) => value.to_string(),
        Scalar::Float(value) => number::go_typeless(*value),
        Scalar::Time(text) => text.to_string(),
    };
    let bytes = value.as_bytes().unwrap_or(typeless.as_bytes());
    if style.is_none_or(|style| style == Style::Bare) && is_plain(bytes) {
        out.put(bytes);
        return Ok(());
    }
    let styles = [Style::Bare, Style::Double, Style::Single, Style::Backtick, Style::Triple];
    for style in style.into_iter().chain([sops_style(bytes)]).chain(styles).filter(|style| *style != Style::Odd) {
        // What follows may go: a backslash at the end would then continue the line.
        if reads_back(bytes, style, rest) && reads_back(bytes, style, b"\n") {
            for part in [style.quotes(), bytes, style.quotes()] {
                out.put(part);
            }
            return Ok(());
        }
    }
    Err(unrepresentable("INI has no form for this value: too many kinds of quotes or line ends in it"))
}

fn sops_style(bytes: &[u8]) -> Style {
    if bytes.iter().any(|byte| matches!(byte, b'\n' | b'`')) {
        Style::Triple
    } else if bytes.iter().any(|byte| matches!(byte, b'#' | b';')) {
        Style::Backtick
    } else if super::trimmed(bytes).len() != bytes.len() {
        Style::Double
    } else {
        Style::Bare
    }
}

/// Whether nothing in the value has a meaning of its own.
fn is_plain(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && super::trimmed(bytes).len() == bytes.len()
        && !bytes.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'`' | b'#' | b';' | b'\\' | b'\n'))
}

fn reads_back(bytes: &[u8], style: Style, rest: &[u8]) -> bool {
    let quotes = style.quotes();
    let rest = if rest.is_empty() { b"\n" } else { rest };
    let mut text = Zeroizing::new(Vec::with_capacity(2 * quotes.len() + bytes.len() + rest.len()));
    for part in [quotes, bytes, quotes, rest] {
        text.extend_from_slice(part);
    }
    match read::value(&text, 0) {
        Ok(read) => {
            read.style == style
                && read.next == text.len()
                && read.span == (0..text.len() - rest.len())
                && matches!(read.contents, Contents::Source(range) if &text[range.clone()] == bytes)
        }
        Err(_) => false,
    }
}

pub(super) fn unrepresentable(message: &str) -> Error {
    ErrorKind::Unrepresentable(message.into()).into()
}
