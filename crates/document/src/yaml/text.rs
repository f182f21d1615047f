//! Looking around in a text: lines, columns, what follows a value.

use super::chars::{break_at, is_blank};

/// Where the line begins that `pos` is on.
pub(super) fn line_start(text: &[u8], pos: usize) -> usize {
    const BOM: &[u8] = "\u{FEFF}".as_bytes();
    let first = if text.starts_with(BOM) { BOM.len().min(pos) } else { 0 };
    let mut start = pos;
    while start > first && !ends_with_break(&text[..start]) {
        start -= 1;
    }
    start
}

/// Where the line ends that `pos` is on, before its break.
pub(super) fn line_end(text: &[u8], pos: usize) -> usize {
    let mut end = pos;
    while end < text.len() && break_at(text, end) == 0 {
        end += 1;
    }
    end
}

/// The place behind the line break at `pos`, if there is one.
pub(super) fn after_break(text: &[u8], pos: usize) -> usize {
    match break_at(text, pos) {
        1 if text[pos] == b'\r' && text.get(pos + 1) == Some(&b'\n') => pos + 2,
        length => pos + length,
    }
}

/// How many characters stand before `pos` on its line.
pub(super) fn column(text: &[u8], pos: usize) -> usize {
    let before = &text[line_start(text, pos)..pos];
    before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

/// The place of the next byte that is no blank.
pub(super) fn skip_blanks(text: &[u8], pos: usize) -> usize {
    pos + text[pos..].iter().take_while(|&&byte| is_blank(byte)).count()
}

/// The line break that the text uses: that of its first line.
pub(super) fn newline(text: &[u8]) -> &'static [u8] {
    match text.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
        Some(at) if text[at] == b'\r' && text.get(at + 1) == Some(&b'\n') => b"\r\n",
        Some(at) if text[at] == b'\r' => b"\r",
        _ => b"\n",
    }
}

/// Whether the text up to here ends with a line break.
pub(super) fn ends_with_break(text: &[u8]) -> bool {
    text.ends_with(b"\n")
        || text.ends_with(b"\r")
        || text.ends_with("\u{85}".as_bytes())
        || text.ends_with("\u{2028}".as_bytes())
        || text.ends_with("\u{2029}".as_bytes())
}
