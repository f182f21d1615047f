//! Moving through the text: what stands here, and the place behind it.

use super::super::chars::{break_at, continuations, is_blank, line_stretch};
use super::{Mark, Scanner};
use crate::{Error, ErrorKind};

impl Scanner<'_> {
    /// The byte so many behind the current one; 0 past the end (and nowhere else).
    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.text.get(self.at.pos as usize + offset).copied().unwrap_or(0)
    }

    pub(super) fn break_len(&self, offset: usize) -> usize {
        break_at(self.text, self.at.pos as usize + offset)
    }

    pub(super) fn is_break_or_end(&self, offset: usize) -> bool {
        self.byte(offset) == 0 || self.break_len(offset) > 0
    }

    pub(super) fn is_blank_or_end(&self, offset: usize) -> bool {
        is_blank(self.byte(offset)) || self.is_break_or_end(offset)
    }

    pub(super) fn at_document_marker(&self) -> bool {
        let rest = &self.text[self.at.pos as usize..];
        (rest.starts_with(b"---") || rest.starts_with(b"...")) && self.is_blank_or_end(3)
    }

    pub(super) fn skip_blanks(&mut self, count: usize) {
        // Positions fit, since a text's length does.
        #[allow(clippy::cast_possible_truncation)]
        let count = count as u32;
        self.at.pos += count;
        self.at.index += count;
        self.at.column += count;
    }

    pub(super) fn skip_ascii(&mut self, count: usize) {
        self.skip_blanks(count);
        self.newlines = 0;
    }

    /// Moves on to `pos`, over bytes that are on one line and do not end in a blank.
    pub(super) fn skip_to(&mut self, pos: usize) {
        let start = self.at.pos as usize;
        let continued = continuations(&self.text[start..pos]);
        self.skip_ascii(pos - start - continued);
        #[allow(clippy::cast_possible_truncation)]
        let continued = continued as u32;
        self.at.pos += continued;
    }

    /// Moves over one character that is no break.
    pub(super) fn skip_char(&mut self) {
        let byte = self.byte(0);
        if is_blank(byte) {
            self.skip_blanks(1);
        } else {
            self.skip_ascii(1);
            self.at.pos += width(byte) - 1;
        }
    }

    /// Moves over one character, or over many that are no break.
    pub(super) fn skip_run(&mut self) {
        let start = self.at.pos as usize;
        let length = line_stretch(&self.text[start..]);
        if length == 0 {
            return self.skip_char();
        }
        let end = start + length;
        let blanks = self.text[start..end].iter().rev().take_while(|&&byte| is_blank(byte)).count();
        if blanks < length {
            self.skip_to(end - blanks);
        }
        self.skip_blanks(blanks);
    }

    /// Moves over one line break, if there is one.
    pub(super) fn skip_break(&mut self) -> bool {
        self.read_break(&mut None)
    }

    /// Moves over one line break and appends what it stands for.
    pub(super) fn read_break(&mut self, to: &mut Option<Vec<u8>>) -> bool {
        let (bytes, characters) = match self.break_len(0) {
            0 => return false,
            1 if self.byte(0) == b'\r' && self.byte(1) == b'\n' => (2, 2),
            bytes => (bytes, 1),
        };
        if let Some(to) = to {
            if bytes == 3 {
                to.extend_from_slice(&self.text[self.at.pos as usize..][..3]);
            } else {
                to.push(b'\n');
            }
        }
        #[allow(clippy::cast_possible_truncation)]
        let bytes = bytes as u32;
        self.at.pos += bytes;
        self.at.index += characters;
        self.at.column = 0;
        self.at.line += 1;
        self.newlines += 1;
        true
    }
}

/// How many bytes the character has that begins with `byte`.
const fn width(byte: u8) -> u32 {
    match byte {
        0..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    }
}

pub(super) fn fail(mark: Mark, problem: &str) -> Error {
    Error::at(mark.line + 1, ErrorKind::Syntax(problem.into()))
}
