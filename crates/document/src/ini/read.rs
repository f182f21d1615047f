//! Keys and values of INI, byte for byte as `ini.v1` 1.67.3 reads them with its default options.

use std::ops::Range;

use zeroize::Zeroizing;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Style {
    /// As it is.
    Bare = 0,
    /// `'…'`
    Single = 1,
    /// `"…"`
    Double = 2,
    /// `` `…` ``
    Backtick = 3,
    /// `"""…"""`
    Triple = 4,
    /// With a backslash at the end of lines, or with text behind its closing quote that nobody reads.
    Odd = 5,
}

impl Style {
    pub(super) fn of(number: u8) -> Self {
        match number {
            1 => Self::Single,
            2 => Self::Double,
            3 => Self::Backtick,
            4 => Self::Triple,
            5 => Self::Odd,
            _ => Self::Bare,
        }
    }

    /// The quotes around the value.
    pub(super) fn quotes(self) -> &'static [u8] {
        match self {
            Self::Single => b"'",
            Self::Double => b"\"",
            Self::Backtick => b"`",
            Self::Triple => b"\"\"\"",
            Self::Bare | Self::Odd => b"",
        }
    }
}

/// A value that was read.
pub(super) struct Read {
    /// What a change of it replaces, quotes included.
    pub(super) span: Range<usize>,
    pub(super) contents: Contents,
    pub(super) style: Style,
    /// The comment on its last line, from its sign to its end.
    pub(super) comment: Option<Range<usize>>,
    /// The start of the line after it.
    pub(super) next: usize,
}

pub(super) enum Contents {
    /// As it stands in the text.
    Source(Range<usize>),
    /// Put together from several lines.
    Joined(Zeroizing<Vec<u8>>),
}

/// Reads the key at the start of a line; gives it and the place behind its delimiter.
pub(super) fn key(text: &[u8], line: Range<usize>) -> Result<(Range<usize>, usize), &'static str> {
    const NO_DELIMITER: &str = "expected `name = value`, `[section]` or a comment";
    let rest = &text[line.clone()];
    // The line end counts for this length, as it does in the original.
    let quotes: &[u8] = match rest[0] {
        b'"' if rest.len() > 6 && rest.starts_with(b"\"\"\"") => b"\"\"\"",
        b'"' => b"\"",
        b'`' => b"`",
        _ => b"",
    };
    let delimiter = |from: usize| memchr::memchr2(b'=', b':', rest.get(from..)?).map(|at| from + at);
    let (name, delimiter) = if quotes.is_empty() {
        let delimiter = delimiter(0).ok_or(NO_DELIMITER)?;
        (0..delimiter, delimiter)
    } else {
        let start = quotes.len();
        let close = memchr::memmem::find(&rest[start..], quotes).ok_or("a key whose quotes are not closed")? + start;
        (start..close, delimiter(close + start).ok_or(NO_DELIMITER)?)
    };
    let name = trim(text, line.start + name.start..line.start + name.end);
    if name.is_empty() { Err("a value without a name") } else { Ok((name, line.start + delimiter + 1)) }
}

/// Reads the value that starts at `at`, behind the delimiter.
pub(super) fn value(text: &[u8], at: usize) -> Result<Read, &'static str> {
    let end = line_end(text, at);
    let line = trim_start(text, at..end);
    if line.is_empty() {
        let at = at + text[at..end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        return Ok(Read {
            span: at..at,
            contents: Contents::Source(at..at),
            style: Style::Bare,
            comment: None,
            next: end,
        });
    }
    let rest = &text[line.clone()];
    if rest.starts_with(b"\"\"\"") {
        // (The original takes these three, as the last of a file, for a bare value.)
        return quoted(text, line, Style::Triple);
    }
    if rest[0] == b'`' {
        return quoted(text, line, Style::Backtick);
    }
    let bare = trim_end(text, line);
    if text[bare.end - 1] == b'\\' {
        return continued(text, bare, end);
    }
    let comment = memchr::memchr2(b'#', b';', &text[bare.clone()]).map(|sign| bare.start + sign..bare.end);
    let span = trim_end(text, bare.start..comment.as_ref().map_or(bare.end, |comment| comment.start));
    let inside = |quote: u8| {
        let [first, inner @ .., last] = &text[span.clone()] else { return false };
        *first == quote && *last == quote && !inner.contains(&quote)
    };
    let style = if inside(b'\'') {
        Style::Single
    } else if inside(b'"') {
        Style::Double
    } else if text[span.clone()].ends_with(b"\\") {
        // Only the comment behind it keeps it from continuing the line.
        Style::Odd
    } else {
        Style::Bare
    };
    let contents = span.start + style.quotes().len()..span.end - style.quotes().len();
    Ok(Read { span, contents: Contents::Source(contents), style, comment, next: end })
}

/// A value in `` ` `` or `"""`, up to the last of them on the line, or on the first later line that has one.
fn quoted(text: &[u8], line: Range<usize>, style: Style) -> Result<Read, &'static str> {
    let quotes = style.quotes();
    let inner = line.start + quotes.len();
    let last_in = |from: usize, to: usize| memchr::memmem::rfind(&text[from..to], quotes).map(|at| from + at);
    let mut next = line.end;
    let mut close = last_in(inner, line.end);
    while close.is_none() {
        if next == text.len() {
            return Err("a value whose quotes are not closed");
        }
        let start = next;
        next = line_end(text, start);
        // A backslash behind the quotes makes of them a part of the value. (sops up to 3.12 does not have this.)
        close = last_in(start, next).filter(|at| !trimmed_ends_with(&text[at + quotes.len()..next], b'\\'));
    }
    let close = close.unwrap_or(next);
    let behind = trim(text, close + quotes.len()..next);
    let contents = Contents::Source(inner..close);
    let (span, style, comment) = match text[behind.clone()].first() {
        None => (line.start..close + quotes.len(), style, None),
        Some(b'#' | b';') => (line.start..close + quotes.len(), style, Some(behind)),
        Some(_) => (line.start..behind.end, Style::Odd, None),
    };
    Ok(Read { span, contents, style, comment, next })
}

/// A value whose first line, `bare`, ends in a backslash, as may those after it.
fn continued(text: &[u8], bare: Range<usize>, end: usize) -> Result<Read, &'static str> {
    let mut joined = Zeroizing::new(text[bare.start..bare.end - 1].to_vec());
    let mut span = bare;
    let mut next = end;
    loop {
        let start = next;
        if start == text.len() {
            return Err("a backslash that continues nothing, at the end of the text");
        }
        next = line_end(text, start);
        let line = trim(text, start..next);
        if line.is_empty() {
            break;
        }
        span.end = line.end;
        let line = &text[line];
        let (line, goes_on) = line.strip_suffix(b"\\").map_or((line, false), |line| (line, true));
        crate::sink::reserve(&mut joined, line.len());
        joined.extend_from_slice(line);
        if !goes_on {
            break;
        }
    }
    Ok(Read { span, contents: Contents::Joined(joined), style: Style::Odd, comment: None, next })
}

/// The start of the line after the one that `at` is in.
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |len| at + len + 1)
}

pub(super) fn trim(text: &[u8], range: Range<usize>) -> Range<usize> {
    trim_end(text, trim_start(text, range))
}

pub(super) fn trim_start(text: &[u8], mut range: Range<usize>) -> Range<usize> {
    while let Some(space) = space_at_start(&text[range.clone()]) {
        range.start += space;
    }
    range
}

pub(super) fn trim_end(text: &[u8], mut range: Range<usize>) -> Range<usize> {
    while let Some(space) = space_at_end(&text[range.clone()]) {
        range.end -= space;
    }
    range
}

fn trimmed_ends_with(text: &[u8], byte: u8) -> bool {
    super::trimmed(text).last() == Some(&byte)
}

/// The length of the white space character (Unicode's) at the start, if one stands there.
fn space_at_start(text: &[u8]) -> Option<usize> {
    match text {
        [b'\t'..=b'\r' | b' ', ..] => Some(1),
        [0xc2, 0x85 | 0xa0, ..] => Some(2),
        [a, b, c, ..] if is_wide_space([*a, *b, *c]) => Some(3),
        _ => None,
    }
}

fn space_at_end(text: &[u8]) -> Option<usize> {
    match text {
        [.., b'\t'..=b'\r' | b' '] => Some(1),
        [.., 0xc2, 0x85 | 0xa0] => Some(2),
        [.., a, b, c] if is_wide_space([*a, *b, *c]) => Some(3),
        _ => None,
    }
}

/// U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000.
fn is_wide_space(bytes: [u8; 3]) -> bool {
    matches!(
        bytes,
        [0xe1, 0x9a, 0x80] | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf] | [0xe2, 0x81, 0x9f] | [0xe3, 0x80, 0x80]
    )
}
