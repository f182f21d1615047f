//! Scalars: plain, quoted, literal and folded.
//!
//! A value that stands in the text as it is, is not copied.

use zeroize::Zeroizing;

use super::super::chars::{is_blank, plain_stretch, quoted_stretch};
use super::cursor::fail;
use super::{Data, ScalarStyle, Scanner, Token, TokenKind};
use crate::Error;
use crate::model::{Span, Text};

impl Scanner<'_> {
    pub(super) fn scan_plain(&mut self) -> Result<Token, Error> {
        let start = self.at;
        let indent = self.indent + 1;
        // What is folded already, and where the stretch begins that is taken over as it is.
        let mut folded: Option<Vec<u8>> = None;
        let mut from = start.pos as usize;
        let mut end = from;
        // The breaks between the last stretch and the next: the first, and those after it.
        let mut breaks: Option<Fold> = None;
        loop {
            if (self.at.column == 0 && self.at_document_marker()) || self.byte(0) == b'#' {
                break;
            }
            let run = self.at.pos as usize;
            let stop = self.plain_run();
            if stop > run {
                if let Some(fold) = breaks.take() {
                    let folded = folded.get_or_insert_with(Vec::new);
                    folded.extend_from_slice(&self.text[from..end]);
                    fold.append_to(folded);
                    from = run;
                }
                end = stop;
                self.skip_to(stop);
            }
            if !is_blank(self.byte(0)) && self.break_len(0) == 0 {
                break;
            }
            loop {
                if is_blank(self.byte(0)) {
                    if breaks.is_some() && i64::from(self.at.column) < indent && self.byte(0) == b'\t' {
                        return Err(fail(self.at, "a tab where indentation must be"));
                    }
                    self.skip_blanks(1);
                } else if !self.read_fold(&mut breaks) {
                    break;
                }
            }
            if self.flow == 0 && i64::from(self.at.column) < indent {
                break;
            }
        }
        if breaks.is_some() {
            self.allow_key = true;
        }
        let text = match folded {
            Some(mut folded) => {
                folded.extend_from_slice(&self.text[from..end]);
                owned(folded)
            }
            None => Text::Source(span(from, end)),
        };
        Ok(Token {
            kind: TokenKind::Scalar,
            style: ScalarStyle::Plain,
            start,
            end: span(end, end).end,
            data: Data::Text(text),
        })
    }

    /// Where the stretch of a plain scalar ends that starts here and has no blank in it.
    fn plain_run(&self) -> usize {
        let start = self.at.pos as usize;
        let mut pos = start;
        loop {
            pos += plain_stretch(&self.text[pos..], self.flow > 0);
            let lead = self.text.get(pos).is_some_and(|&byte| byte >= 0x80);
            if !lead || self.break_len(pos - start) > 0 {
                break;
            }
            pos += 1;
        }
        // A `:` ends it before a blank.
        if self.text[start..pos].ends_with(b":") && self.is_blank_or_end(pos - start) { pos - 1 } else { pos }
    }

    pub(super) fn scan_quoted(&mut self, style: ScalarStyle) -> Result<Token, Error> {
        let start = self.at;
        self.skip_ascii(1);
        let text = match self.quoted_run(style) {
            Some(end) => {
                let text = Text::Source(span(self.at.pos as usize, end));
                self.skip_to(end);
                text
            }
            None => owned(self.scan_quoted_parts(start, style)?),
        };
        self.skip_ascii(1);
        Ok(Token { kind: TokenKind::Scalar, style, start, end: self.at.pos, data: Data::Text(text) })
    }

    /// Where the closing quote stands, if it is on this line and nothing before it is escaped.
    fn quoted_run(&self, style: ScalarStyle) -> Option<usize> {
        let quote = if style == ScalarStyle::Single { b'\'' } else { b'"' };
        let start = self.at.pos as usize;
        let mut pos = start;
        loop {
            pos += quoted_stretch(&self.text[pos..]);
            match *self.text.get(pos)? {
                byte if byte == quote => {
                    let doubled = quote == b'\'' && self.text.get(pos + 1) == Some(&quote);
                    return (!doubled).then_some(pos);
                }
                b'\\' if quote == b'"' => return None,
                _ if self.break_len(pos - start) > 0 => return None,
                _ => pos += 1,
            }
        }
    }

    fn scan_quoted_parts(&mut self, start: super::Mark, style: ScalarStyle) -> Result<Vec<u8>, Error> {
        let single = style == ScalarStyle::Single;
        let quote = if single { b'\'' } else { b'"' };
        let mut value = Vec::new();
        loop {
            if self.at.column == 0 && self.at_document_marker() {
                return Err(fail(start, "a document ends within a quoted value"));
            }
            if self.byte(0) == 0 {
                return Err(fail(start, "a quoted value without its closing quote"));
            }
            // Once a break was escaped, blanks that follow it are indentation.
            let mut fold: Option<Fold> = None;
            while !self.is_blank_or_end(0) {
                let byte = self.byte(0);
                if single && byte == quote && self.byte(1) == quote {
                    value.push(quote);
                    self.skip_ascii(2);
                } else if byte == quote {
                    break;
                } else if !single && byte == b'\\' && self.break_len(1) > 0 {
                    self.skip_ascii(1);
                    self.skip_break();
                    fold = Some(Fold::Escaped(Vec::new()));
                    break;
                } else if !single && byte == b'\\' {
                    self.scan_quoted_escape(start, &mut value)?;
                } else {
                    let from = self.at.pos as usize;
                    self.skip_char();
                    value.extend_from_slice(&self.text[from..self.at.pos as usize]);
                }
            }
            if self.byte(0) == quote {
                return Ok(value);
            }
            let blanks = self.at.pos as usize;
            let mut blanks_end = blanks;
            loop {
                if is_blank(self.byte(0)) {
                    self.skip_blanks(1);
                    if fold.is_none() {
                        blanks_end = self.at.pos as usize;
                    }
                } else if !self.read_fold(&mut fold) {
                    break;
                }
            }
            match fold {
                Some(fold) => fold.append_to(&mut value),
                None => value.extend_from_slice(&self.text[blanks..blanks_end]),
            }
        }
    }

    fn scan_quoted_escape(&mut self, start: super::Mark, value: &mut Vec<u8>) -> Result<(), Error> {
        let mut digits = 0;
        let character = match self.byte(1) {
            b'0' => '\0',
            b'a' => '\x07',
            b'b' => '\x08',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\x0B',
            b'f' => '\x0C',
            b'r' => '\r',
            b'e' => '\x1B',
            byte @ (b' ' | b'"' | b'\'' | b'\\') => char::from(byte),
            b'N' => '\u{85}',
            b'_' => '\u{A0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            byte @ (b'x' | b'u' | b'U') => {
                digits = match byte {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                let mut code = 0;
                for place in 0..digits {
                    let Some(digit) = char::from(self.byte(2 + place)).to_digit(16) else {
                        return Err(fail(start, "an escape in a quoted value has too few hexadecimal digits"));
                    };
                    code = code << 4 | digit;
                }
                char::from_u32(code)
                    .ok_or_else(|| fail(start, "an escape in a quoted value is no Unicode character"))?
            }
            _ => return Err(fail(start, "an unknown escape in a quoted value")),
        };
        self.skip_ascii(2 + digits);
        value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Takes one line break into what folds lines; `false` if there is none.
    fn read_fold(&mut self, fold: &mut Option<Fold>) -> bool {
        let mut text = Some(Vec::new());
        if !self.read_break(&mut text) {
            return false;
        }
        let text = text.unwrap_or_default();
        match fold {
            Some(Fold::Lines { rest, .. } | Fold::Escaped(rest)) => rest.extend_from_slice(&text),
            None => *fold = Some(Fold::Lines { first: text, rest: Vec::new() }),
        }
        true
    }

    pub(super) fn scan_block(&mut self, style: ScalarStyle) -> Result<Token, Error> {
        let start = self.at;
        self.skip_ascii(1);
        let (chomp, increment) = self.scan_block_header(start)?;
        let header_end = self.at.pos;
        let blanks = self.text[self.at.pos as usize..].iter().take_while(|&&byte| is_blank(byte)).count();
        self.skip_blanks(blanks);
        if self.byte(0) == b'#' {
            self.scan_line_comment(start.index);
        }
        if !self.is_break_or_end(0) {
            return Err(fail(start, "a block scalar's value must start on the next line"));
        }
        self.skip_break();

        let mut block = Block {
            indent: increment.map_or(0, |increment| self.indent.max(0) + increment),
            value: Vec::new(),
            line: None,
            lines: 0,
            break_before: Vec::new(),
            breaks: Some(Vec::new()),
            end: header_end,
            break_start: header_end,
        };
        self.scan_block_breaks(&mut block)?;
        let mut was_blank = false;
        while i64::from(self.at.column) == block.indent && self.byte(0) != 0 {
            let blank = is_blank(self.byte(0));
            let fold = style == ScalarStyle::Folded && !was_blank && !blank;
            if fold && block.break_before.first() == Some(&b'\n') {
                if block.breaks.as_ref().is_none_or(Vec::is_empty) {
                    block.value.push(b' ');
                }
            } else {
                block.value.extend_from_slice(&block.break_before);
            }
            block.break_before.clear();
            if let Some(breaks) = &mut block.breaks {
                block.value.append(breaks);
            }
            was_blank = blank;
            let from = self.at.pos as usize;
            while !self.is_break_or_end(0) {
                self.skip_run();
            }
            let line = span(from, self.at.pos as usize);
            block.end = line.end;
            block.lines += 1;
            block.line = Some(line);
            block.value.extend_from_slice(&self.text[line.range()]);
            block.break_start = self.at.pos;
            let mut text = Some(std::mem::take(&mut block.break_before));
            self.read_break(&mut text);
            block.break_before = text.unwrap_or_default();
            self.scan_block_breaks(&mut block)?;
        }
        let breaks = block.breaks.unwrap_or_default();
        if chomp != Chomp::Strip {
            block.value.extend_from_slice(&block.break_before);
        }
        if chomp == Chomp::Keep {
            block.value.extend_from_slice(&breaks);
            if !breaks.is_empty() {
                block.end = block.break_start;
            }
        }
        let text = match block.line {
            // The common value of one line, ciphertext above all, stands in the text as it is.
            Some(line) if block.lines == 1 && block.value.len() == line.range().len() => Text::Source(line),
            _ => owned(block.value),
        };
        Ok(Token { kind: TokenKind::Scalar, style, start, end: block.end, data: Data::Text(text) })
    }

    fn scan_block_header(&mut self, start: super::Mark) -> Result<(Chomp, Option<i64>), Error> {
        let (mut chomp, mut increment) = (None, None);
        for _ in 0..2 {
            match self.byte(0) {
                b'+' if chomp.is_none() => chomp = Some(Chomp::Keep),
                b'-' if chomp.is_none() => chomp = Some(Chomp::Strip),
                b'0' if increment.is_none() => {
                    return Err(fail(start, "a block scalar's indentation cannot be 0"));
                }
                byte @ b'1'..=b'9' if increment.is_none() => increment = Some(i64::from(byte - b'0')),
                _ => break,
            }
            self.skip_ascii(1);
        }
        Ok((chomp.unwrap_or(Chomp::Clip), increment))
    }

    /// Moves over empty lines and the next line's indentation, which the first line with a value settles.
    fn scan_block_breaks(&mut self, block: &mut Block) -> Result<(), Error> {
        let mut widest = 0;
        loop {
            let missing = block.indent - i64::from(self.at.column);
            let wanted = if block.indent == 0 { usize::MAX } else { usize::try_from(missing).unwrap_or(0) };
            let rest = &self.text[self.at.pos as usize..];
            let spaces = rest.iter().take(wanted).take_while(|&&byte| byte == b' ').count();
            self.skip_blanks(spaces);
            let column = i64::from(self.at.column);
            widest = widest.max(column);
            if (block.indent == 0 || column < block.indent) && self.byte(0) == b'\t' {
                return Err(fail(self.at, "a tab where indentation must be"));
            }
            let before = self.at.pos;
            if !self.read_break(&mut block.breaks) {
                break;
            }
            block.break_start = before;
        }
        if block.indent == 0 {
            block.indent = widest.max(self.indent + 1).max(1);
        }
        Ok(())
    }
}

/// What stands between two lines of a flow scalar.
enum Fold {
    /// The first line break, and those after it.
    Lines { first: Vec<u8>, rest: Vec<u8> },
    /// The line breaks after one that was escaped.
    Escaped(Vec<u8>),
}

impl Fold {
    fn append_to(self, value: &mut Vec<u8>) {
        match self {
            Self::Lines { first, rest } if first == b"\n" => {
                if rest.is_empty() {
                    value.push(b' ');
                } else {
                    value.extend_from_slice(&rest);
                }
            }
            Self::Lines { first, rest } => {
                value.extend_from_slice(&first);
                value.extend_from_slice(&rest);
            }
            Self::Escaped(rest) => value.extend_from_slice(&rest),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chomp {
    Strip,
    Clip,
    Keep,
}

struct Block {
    /// The value's indentation; 0 while it is not known.
    indent: i64,
    value: Vec<u8>,
    /// The last line with a value, and how many there were.
    line: Option<Span>,
    lines: usize,
    /// The break that ended that line, and the empty lines after it.
    break_before: Vec<u8>,
    breaks: Option<Vec<u8>>,
    /// Where the value's last line ends.
    end: u32,
    /// Where the last line break begins.
    break_start: u32,
}

fn owned(value: Vec<u8>) -> Text {
    Text::Owned(Zeroizing::new(value.into_boxed_slice()))
}

fn span(start: usize, end: usize) -> Span {
    // A text is no longer than `u32::MAX`.
    #[allow(clippy::cast_possible_truncation)]
    Span { start: start as u32, end: end as u32 }
}
