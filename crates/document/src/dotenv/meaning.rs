//! What a program that reads dotenv takes an entry for: names without `export`, values without quotes.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::closing_quote;

/// The environment variable that a key stands for: without `export`, white space and a byte order mark.
pub fn variable_name(key: &str) -> &str {
    let key = key.trim_start_matches('\u{feff}').trim();
    match key.strip_prefix("export") {
        Some(name) if name.starts_with([' ', '\t']) => name.trim_start(),
        _ => key,
    }
}

/// What a value means: quotes taken off, escapes in double quotes (`\n \r \t \" \\ \$`) resolved, a comment and white
/// space behind it dropped. The value is one of a tree, where `\n` is a line end already, quoted or not.
///
/// Without quotes, a comment starts at a `#` that a space precedes; a value with line ends in it is taken as it is. A value that opens a quote and does not close it,
/// or goes on behind the closing one, is taken without quotes: a password may start with one.
///
/// The copy, where there is one, is the caller's to wipe.
pub fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let value = trim(value);
    let Some(&quote @ (b'"' | b'\'')) = value.first() else { return Cow::Borrowed(without_comment(value)) };
    // In quotes the two characters that a line end was read from matter: `\\n` is no line end.
    let source = Zeroizing::new(replace(value, b'\n', b"\\n"));
    match closing_quote(&source, 1, quote) {
        Some(closing) if ends_value(&source[closing + 1..]) => {
            let inner = &source[1..closing];
            Cow::Owned(if quote == b'"' { unescape(inner) } else { inner.to_vec() })
        }
        _ => Cow::Borrowed(without_comment(value)),
    }
}

/// Whether nothing but white space and a comment stands behind a closing quote.
pub(super) fn ends_value(rest: &[u8]) -> bool {
    let comment = rest.trim_ascii_start();
    comment.is_empty() || (comment[0] == b'#' && comment.len() < rest.len())
}

/// A value quoted over several lines as sops would have read it from one line, in double quotes: see the module.
pub(super) fn on_one_line(source: &[u8]) -> Zeroizing<Vec<u8>> {
    // Each byte gives two at most.
    let mut out = Zeroizing::new(Vec::with_capacity(2 * source.len()));
    let opening = source.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let quote = source[opening];
    let closing = closing_quote(source, opening + 1, quote).unwrap_or(source.len());
    let escaped: &[u8] = if quote == b'\'' { b"\\\"$" } else { b"" };
    out.extend_from_slice(&source[..opening]);
    out.push(b'"');
    let mut bytes = source[opening + 1..closing].iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let next = bytes.peek().copied();
        match (byte, next) {
            (b'\r', Some(b'\n')) => {}
            (b'\\', Some(b'n')) if quote == b'"' => {
                bytes.next();
                out.push(b'\n');
            }
            _ => {
                if escaped.contains(&byte) {
                    out.push(b'\\');
                }
                out.push(byte);
            }
        }
    }
    if closing < source.len() {
        out.push(b'"');
        out.extend_from_slice(&source[closing + 1..]);
    }
    out
}

/// Without the white space of a line at both ends: a line end belongs to the value.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

fn without_comment(value: &[u8]) -> &[u8] {
    if value.contains(&b'\n') {
        return value;
    }
    let comment = (0..value.len()).find(|&at| value[at] == b'#' && (at == 0 || matches!(value[at - 1], b' ' | b'\t')));
    comment.map_or(value, |at| trim(&value[..at]))
}

fn unescape(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(byte @ (b'"' | b'\\' | b'$')) => out.push(byte),
            Some(byte) => out.extend_from_slice(&[b'\\', byte]),
            None => out.push(b'\\'),
        }
    }
    out
}

/// Replaces every `from` by `to`.
fn replace(text: &[u8], from: u8, to: &[u8]) -> Vec<u8> {
    let count = memchr::memchr_iter(from, text).count();
    let mut out = Vec::with_capacity(text.len() + count * to.len());
    for (at, part) in text.split(|&byte| byte == from).enumerate() {
        if at > 0 {
            out.extend_from_slice(to);
        }
        out.extend_from_slice(part);
    }
    out
}
