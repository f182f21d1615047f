//! Characters: which may stand in a text, and which mean something to the scanner.
//!
//! yaml.v3 keeps YAML 1.1's line breaks: besides LF, CR and CRLF also NEL (U+0085), LS (U+2028) and PS (U+2029).

#![allow(clippy::needless_bitwise_bool, reason = "loops without early exits are compiled to vector instructions")]

use crate::{Error, ErrorKind};

/// How many bytes an inner loop looks at together: enough for vector instructions.
const LANES: usize = 32;

/// The length of the stretch without a blank, a break or (in a flow collection) a flow indicator. It also ends at what may
/// begin a break of several bytes.
pub(super) fn plain_stretch(bytes: &[u8], flow: bool) -> usize {
    if flow { stretch(bytes, |byte| ends_word(byte) | is_flow(byte)) } else { stretch(bytes, ends_word) }
}

/// The length of the stretch without a quote, a backslash or a break.
pub(super) fn quoted_stretch(bytes: &[u8]) -> usize {
    stretch(bytes, |byte| (byte == b'"') | (byte == b'\'') | (byte == b'\\') | ends_line(byte))
}

/// The length of the stretch without a break.
pub(super) fn line_stretch(bytes: &[u8]) -> usize {
    stretch(bytes, ends_line)
}

/// Counts the bytes before the first that ends the stretch.
fn stretch(bytes: &[u8], ends: impl Fn(u8) -> bool + Copy) -> usize {
    let mut length = 0;
    for chunk in bytes.chunks_exact(LANES) {
        // No early exit: this is what lets it be compiled to vector instructions.
        if chunk.iter().fold(false, |seen, &byte| seen | ends(byte)) {
            break;
        }
        length += LANES;
    }
    length + bytes[length..].iter().take_while(|&&byte| !ends(byte)).count()
}

const fn ends_word(byte: u8) -> bool {
    (byte <= b' ') | (byte & 0xDF == 0xC2)
}

/// A break, or what may begin NEL, LS or PS.
const fn ends_line(byte: u8) -> bool {
    (byte == b'\n') | (byte == b'\r') | (byte & 0xDF == 0xC2)
}

/// What ends a plain scalar in a flow collection.
const fn is_flow(byte: u8) -> bool {
    (byte == b',') | (byte == b'?') | (byte == b'[') | (byte == b']') | (byte == b'{') | (byte == b'}')
}

/// Space or tab.
pub(super) const fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// What names of anchors, directives and tag handles are made of.
pub(super) const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// The length of the line break at `pos`, 0 if there is none. CRLF counts as two breaks here, as yaml.v3's lookahead counts
/// it; who consumes a break takes both.
pub(super) fn break_at(text: &[u8], pos: usize) -> usize {
    match text.get(pos) {
        Some(b'\r' | b'\n') => 1,
        Some(0xC2) if text.get(pos + 1) == Some(&0x85) => 2,
        Some(0xE2) if text.get(pos + 1) == Some(&0x80) && matches!(text.get(pos + 2), Some(0xA8 | 0xA9)) => 3,
        _ => 0,
    }
}

/// How many of the bytes continue a character that an earlier byte began.
pub(super) fn continuations(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xC0 == 0x80).count()
}

/// What a text is made of, as far as plain scalars care.
#[derive(Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools, reason = "four independent facts")]
pub(super) struct Makeup {
    pub(super) blank: bool,
    pub(super) control: bool,
    pub(super) flow: bool,
    pub(super) wide: bool,
}

pub(super) fn makeup(bytes: &[u8]) -> Makeup {
    let mut makeup = Makeup::default();
    for &byte in bytes {
        makeup.blank |= (byte == b' ') | (byte == b'\t');
        makeup.control |= (byte < b' ') & (byte != b'\t') | (byte == 0x7F);
        makeup.flow |= is_flow(byte);
        makeup.wide |= byte >= 0x80;
    }
    makeup
}

/// Whether YAML lets the character stand in a text unescaped.
pub(super) const fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The line of a place, from 1.
pub(super) fn line_at(text: &[u8], pos: usize) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', &text[..pos]).count() + 1).unwrap_or(u32::MAX)
}

/// Checks that the text is UTF-8 of characters that YAML allows.
///
/// # Errors
/// [`ErrorKind::InvalidUtf8`], or [`ErrorKind::Syntax`] for a control character, with the line.
pub(super) fn check(text: &[u8]) -> Result<(), Error> {
    const STEP: usize = 4096;
    let line = |pos| line_at(text, pos);
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Error::at(line(error.valid_up_to()), ErrorKind::InvalidUtf8));
    }
    for (step, chunk) in text.chunks(STEP).enumerate() {
        // The common chunk has none of these bytes, and this loop compiles to a few vector instructions.
        let suspicious = chunk.iter().fold(false, |seen, &byte| {
            seen | (byte < b' ' && byte != b'\n' && byte != b'\r' && byte != b'\t') | (byte >= 0x7F)
        });
        if !suspicious {
            continue;
        }
        for pos in step * STEP..step * STEP + chunk.len() {
            let next = |offset: usize| text.get(pos + offset).copied().unwrap_or(0);
            let control = match text[pos] {
                b'\t' | b'\n' | b'\r' => false,
                0..=0x1F | 0x7F => true,
                0xC2 => next(1) < 0xA0 && next(1) != 0x85,
                0xEF => next(1) == 0xBF && next(2) >= 0xBE,
                _ => false,
            };
            if control {
                return Err(Error::at(line(pos), ErrorKind::Syntax("control characters are not allowed".into())));
            }
        }
    }
    Ok(())
}
