//! Anchors, aliases, tags and directives.

use super::super::chars::{is_blank, is_name};
use super::cursor::fail;
use super::{Data, Mark, ScalarStyle, Scanner, Token, TokenKind};
use crate::Error;
use crate::model::{Span, Text};

/// A tag as it is written: `!handle!suffix`; `!<suffix>` and `!` have no handle. Of a `%TAG` directive, the handle and
/// the prefix it stands for.
pub(in super::super) struct TagName {
    pub(in super::super) handle: Vec<u8>,
    pub(in super::super) suffix: Vec<u8>,
}

impl Scanner<'_> {
    pub(super) fn scan_anchor(&mut self, kind: TokenKind) -> Result<Token, Error> {
        let start = self.at;
        self.skip_ascii(1);
        let name = self.skip_name();
        let ends = self.is_blank_or_end(0) || b"?:,]}%@`".contains(&self.byte(0));
        if name.start == name.end || !ends {
            return Err(fail(start, "an anchor's or alias' name must be of letters, digits, '_' and '-'"));
        }
        Ok(self.named(kind, start, Data::Text(Text::Source(name))))
    }

    pub(super) fn scan_tag(&mut self) -> Result<Token, Error> {
        let start = self.at;
        let mut name = TagName { handle: Vec::new(), suffix: Vec::new() };
        if self.byte(1) == b'<' {
            self.skip_ascii(2);
            self.scan_uri(start, &mut name.suffix)?;
            if self.byte(0) != b'>' {
                return Err(fail(start, "a tag without its '>'"));
            }
            self.skip_ascii(1);
        } else {
            let handle = self.scan_handle();
            if handle.len() > 1 && handle.ends_with(b"!") {
                self.scan_uri(start, &mut name.suffix)?;
                name.handle = handle;
            } else {
                // No handle after all, but the tag's first letters.
                name.suffix.extend_from_slice(&handle[1..]);
                self.scan_uri_rest(start, &mut name.suffix)?;
                if name.suffix.is_empty() {
                    name.suffix.push(b'!');
                } else {
                    name.handle.push(b'!');
                }
            }
        }
        if !self.is_blank_or_end(0) {
            return Err(fail(start, "a tag must be followed by a space or a line break"));
        }
        Ok(self.named(TokenKind::Tag, start, Data::Tag(Box::new(name))))
    }

    /// A `%YAML` or `%TAG` line.
    pub(super) fn scan_directive(&mut self) -> Result<Token, Error> {
        let start = self.at;
        self.skip_ascii(1);
        let name = self.skip_name();
        if name.start == name.end || !self.is_blank_or_end(0) {
            return Err(fail(start, "a directive without a name"));
        }
        let token = match &self.text[name.range()] {
            b"YAML" => {
                let version = self.scan_version(start)?;
                self.named(TokenKind::VersionDirective, start, Data::Version(version))
            }
            b"TAG" => {
                let name = self.scan_tag_directive(start)?;
                self.named(TokenKind::TagDirective, start, Data::Tag(Box::new(name)))
            }
            _ => return Err(fail(start, "an unknown directive")),
        };
        self.skip_spaces();
        if self.byte(0) == b'#' {
            // No node will hold it; it is remembered so that it does not stay behind unencrypted.
            let from = self.at.pos;
            while !self.is_break_or_end(0) {
                self.skip_char();
            }
            self.seen_comments.push(Span { start: from, end: self.at.pos });
        }
        if !self.is_break_or_end(0) {
            return Err(fail(start, "a directive must end with its line"));
        }
        self.skip_break();
        Ok(token)
    }

    fn scan_version(&mut self, start: Mark) -> Result<bool, Error> {
        self.skip_spaces();
        let major = self.scan_number(start)?;
        if self.byte(0) != b'.' {
            return Err(fail(start, "a version must be of two numbers"));
        }
        self.skip_ascii(1);
        let minor = self.scan_number(start)?;
        Ok((major, minor) == (1, 1))
    }

    fn scan_number(&mut self, start: Mark) -> Result<u32, Error> {
        let mut value = 0;
        let mut digits = 0;
        while self.byte(0).is_ascii_digit() && digits < 3 {
            value = value * 10 + u32::from(self.byte(0) - b'0');
            digits += 1;
            self.skip_ascii(1);
        }
        if matches!(digits, 1 | 2) { Ok(value) } else { Err(fail(start, "a version must be of two numbers")) }
    }

    fn scan_tag_directive(&mut self, start: Mark) -> Result<TagName, Error> {
        self.skip_spaces();
        if self.byte(0) != b'!' {
            return Err(fail(start, "a tag's handle must start with '!'"));
        }
        let handle = self.scan_handle();
        if handle.len() > 1 && !handle.ends_with(b"!") {
            return Err(fail(start, "a tag's handle must end with '!'"));
        }
        if !is_blank(self.byte(0)) {
            return Err(fail(start, "a tag directive without a prefix"));
        }
        self.skip_spaces();
        let mut suffix = Vec::new();
        self.scan_uri(start, &mut suffix)?;
        if !self.is_blank_or_end(0) {
            return Err(fail(start, "a tag's prefix must be followed by a space or a line break"));
        }
        Ok(TagName { handle, suffix })
    }

    /// `!`, `!name` or `!name!`.
    fn scan_handle(&mut self) -> Vec<u8> {
        let start = self.at.pos as usize;
        self.skip_ascii(1);
        self.skip_name();
        if self.byte(0) == b'!' {
            self.skip_ascii(1);
        }
        self.text[start..self.at.pos as usize].to_vec()
    }

    fn scan_uri(&mut self, start: Mark, to: &mut Vec<u8>) -> Result<(), Error> {
        self.scan_uri_rest(start, to)?;
        if to.is_empty() { Err(fail(start, "an empty tag")) } else { Ok(()) }
    }

    fn scan_uri_rest(&mut self, start: Mark, to: &mut Vec<u8>) -> Result<(), Error> {
        loop {
            let byte = self.byte(0);
            if byte == b'%' {
                self.scan_escape(start, to)?;
            } else if is_name(byte) || b";/?:@&=+$,.!~*'()[]".contains(&byte) {
                to.push(byte);
                self.skip_ascii(1);
            } else {
                return Ok(());
            }
        }
    }

    /// One character as `%XX` for each of its bytes.
    fn scan_escape(&mut self, start: Mark, to: &mut Vec<u8>) -> Result<(), Error> {
        let mut left = None;
        while left != Some(0) {
            let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(high), Some(low), b'%') = (hex(self.byte(1)), hex(self.byte(2)), self.byte(0)) else {
                return Err(fail(start, "an escape in a tag must be '%' and two hexadecimal digits"));
            };
            let octet = high << 4 | low;
            let more = match left {
                Some(left) if octet & 0xC0 == 0x80 => left,
                None if octet & 0x80 == 0 => 1,
                None if octet & 0xE0 == 0xC0 => 2,
                None if octet & 0xF0 == 0xE0 => 3,
                None if octet & 0xF8 == 0xF0 => 4,
                _ => return Err(fail(start, "the escapes in a tag are no UTF-8")),
            };
            left = Some(more - 1);
            to.push(octet);
            self.skip_ascii(3);
        }
        Ok(())
    }

    fn skip_name(&mut self) -> Span {
        let start = self.at.pos;
        let length = self.text[start as usize..].iter().take_while(|&&byte| is_name(byte)).count();
        if length > 0 {
            self.skip_ascii(length);
        }
        Span { start, end: self.at.pos }
    }

    fn skip_spaces(&mut self) {
        let blanks = self.text[self.at.pos as usize..].iter().take_while(|&&byte| is_blank(byte)).count();
        self.skip_blanks(blanks);
    }

    fn named(&self, kind: TokenKind, start: Mark, data: Data) -> Token {
        Token { kind, style: ScalarStyle::Plain, start, end: self.at.pos, data }
    }
}
