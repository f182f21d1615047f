//! Template text to tokens, by the rules of Go's `text/template/parse`: what is between the delimiters, and white space that
//! a `-` beside them takes away.

use crate::text::{decode, find};
use crate::unicode::{is_digit, is_letter, is_print};

/// A piece of the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub kind: Kind,
    /// Where it starts and ends in the template, in bytes.
    pub start: usize,
    pub end: usize,
    /// The line it starts in, from 1.
    pub line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Outside of actions; never empty.
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Identifier,
    Keyword(Keyword),
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Dot,
    Nil,
    Bool,
    Char,
    Number,
    Complex,
    /// In quotes.
    String,
    /// In back quotes.
    RawString,
    Assign,
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// Any other printable character.
    Other,
    End,
    /// The text is wrong from here on.
    Error(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

/// Splits a template. The last token is [`Kind::End`] or [`Kind::Error`].
pub(crate) fn lex(text: &str, left: &str, right: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text: text.as_bytes(),
        left: left.as_bytes(),
        right: right.as_bytes(),
        at: 0,
        start: 0,
        line: 1,
        counted: 0,
        parens: 0,
        tokens: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.at = lexer.start;
        lexer.emit(Kind::Error(message));
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a [u8],
    left: &'a [u8],
    right: &'a [u8],
    at: usize,
    /// Where the present token starts.
    start: usize,
    /// The line of the byte at `counted`.
    line: usize,
    counted: usize,
    parens: usize,
    tokens: Vec<Token>,
}

type Result<T = ()> = std::result::Result<T, String>;

const SPACES: &[u8] = b" \t\r\n";

impl Lexer<'_> {
    fn run(&mut self) -> Result {
        loop {
            let Some(offset) = find(&self.text[self.at..], self.left) else {
                self.at = self.text.len();
                if self.at > self.start {
                    self.emit(Kind::Text);
                }
                self.emit(Kind::End);
                return Ok(());
            };
            let delim = self.at + offset;
            let inside = delim + self.left.len();
            let trim = self.text[inside..].first() == Some(&b'-')
                && self.text.get(inside + 1).is_some_and(|byte| SPACES.contains(byte));
            self.at = delim;
            if trim {
                while self.at > self.start && SPACES.contains(&self.text[self.at - 1]) {
                    self.at -= 1;
                }
            }
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            self.start = delim;
            self.at = inside;
            let after = inside + if trim { 2 } else { 0 };
            if self.text[after..].starts_with(b"/*") {
                self.start = after;
                self.at = after;
                self.comment()?;
                continue;
            }
            self.emit(Kind::LeftDelim);
            self.at = after;
            self.start = after;
            self.parens = 0;
            while self.inside()? {}
        }
    }

    fn comment(&mut self) -> Result {
        let end = find(&self.text[self.at + 2..], b"*/").ok_or("unclosed comment")?;
        self.at += 2 + end + 2;
        let (delim, trim) = self.at_right();
        if !delim {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.skip_right(trim);
        Ok(())
    }

    /// Past the right delimiter, which is here, and the space that it takes away.
    fn skip_right(&mut self, trim: bool) {
        self.at += if trim { 2 } else { 0 } + self.right.len();
        if trim {
            while self.text.get(self.at).is_some_and(|byte| SPACES.contains(byte)) {
                self.at += 1;
            }
        }
        self.start = self.at;
    }

    /// Whether the right delimiter is here, and whether with a `-`.
    fn at_right(&self) -> (bool, bool) {
        let rest = &self.text[self.at..];
        let trim = rest.len() >= 2 && SPACES.contains(&rest[0]) && rest[1] == b'-' && rest[2..].starts_with(self.right);
        (trim || rest.starts_with(self.right), trim)
    }

    /// One token of an action; false after its end.
    fn inside(&mut self) -> Result<bool> {
        let (delim, trim) = self.at_right();
        if delim {
            if self.parens > 0 {
                return Err("unclosed left paren".to_owned());
            }
            let dash = if trim { 2 } else { 0 };
            self.start = self.at + dash;
            self.at = self.start + self.right.len();
            self.emit(Kind::RightDelim);
            self.at -= self.right.len() + dash;
            self.skip_right(trim);
            return Ok(false);
        }
        let (c, len) = self.peek();
        if len == 0 {
            return Err("unclosed action".to_owned());
        }
        if is_space(c) {
            self.space();
            return Ok(true);
        }
        self.at += len;
        let kind = match c {
            '=' => Kind::Assign,
            ':' => {
                if self.peek().0 != '=' {
                    return Err("expected :=".to_owned());
                }
                self.at += 1;
                Kind::Declare
            }
            '|' => Kind::Pipe,
            '"' => self.quoted(b'"', "unterminated quoted string", Kind::String)?,
            '\'' => self.quoted(b'\'', "unterminated character constant", Kind::Char)?,
            '`' => {
                let end = self.text[self.at..].iter().position(|&byte| byte == b'`');
                self.at += end.ok_or("unterminated raw quoted string")? + 1;
                Kind::RawString
            }
            '$' => self.name(Kind::Variable, Kind::Variable)?,
            '.' if !self.peek().0.is_ascii_digit() => self.name(Kind::Dot, Kind::Field)?,
            '.' | '+' | '-' | '0'..='9' => {
                self.at -= 1;
                self.number()?
            }
            c if is_alphanumeric(c) => self.identifier()?,
            '(' => {
                self.parens += 1;
                Kind::LeftParen
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren")?;
                Kind::RightParen
            }
            c if c.is_ascii() && is_print(c) => Kind::Other,
            c => return Err(format!("unrecognized character in action: {}", codepoint(c))),
        };
        self.emit(kind);
        Ok(true)
    }

    fn space(&mut self) {
        let mut count = 0;
        while is_space(self.peek().0) {
            self.at += 1;
            count += 1;
        }
        // The last space may belong to the delimiter's `-`.
        self.at -= 1;
        let trim = self.at_right().1;
        if !trim {
            self.at += 1;
        } else if count == 1 {
            return;
        }
        self.emit(Kind::Space);
    }

    /// After the opening quote.
    fn quoted(&mut self, quote: u8, message: &str, kind: Kind) -> Result<Kind> {
        loop {
            let byte = self.text.get(self.at).copied();
            self.at += 1;
            match byte {
                Some(b'\\') => {
                    if self.text.get(self.at).is_none_or(|&byte| byte == b'\n') {
                        return Err(message.to_owned());
                    }
                    // Of a longer character the rest is neither a quote nor a backslash.
                    self.at += 1;
                }
                None | Some(b'\n') => return Err(message.to_owned()),
                Some(byte) if byte == quote => return Ok(kind),
                Some(_) => {}
            }
        }
    }

    /// After `.` or `$`: `alone`, or with a name.
    fn name(&mut self, alone: Kind, named: Kind) -> Result<Kind> {
        if self.at_terminator() {
            return Ok(alone);
        }
        self.alphanumerics();
        self.terminated()?;
        Ok(named)
    }

    fn identifier(&mut self) -> Result<Kind> {
        self.alphanumerics();
        self.terminated()?;
        Ok(match &self.text[self.start..self.at] {
            b"true" | b"false" => Kind::Bool,
            b"nil" => Kind::Nil,
            b"block" => Kind::Keyword(Keyword::Block),
            b"break" => Kind::Keyword(Keyword::Break),
            b"continue" => Kind::Keyword(Keyword::Continue),
            b"define" => Kind::Keyword(Keyword::Define),
            b"else" => Kind::Keyword(Keyword::Else),
            b"end" => Kind::Keyword(Keyword::End),
            b"if" => Kind::Keyword(Keyword::If),
            b"range" => Kind::Keyword(Keyword::Range),
            b"template" => Kind::Keyword(Keyword::Template),
            b"with" => Kind::Keyword(Keyword::With),
            _ => Kind::Identifier,
        })
    }

    fn terminated(&self) -> Result {
        if self.at_terminator() { Ok(()) } else { Err(format!("bad character {}", codepoint(self.peek().0))) }
    }

    fn at_terminator(&self) -> bool {
        let (c, len) = self.peek();
        len == 0 || is_space(c) || ".,|:)(".contains(c) || self.text[self.at..].starts_with(self.right)
    }

    fn alphanumerics(&mut self) {
        loop {
            let (c, len) = self.peek();
            if len == 0 || !is_alphanumeric(c) {
                return;
            }
            self.at += len;
        }
    }

    fn number(&mut self) -> Result<Kind> {
        let bad = |lexer: &Self| {
            format!("bad number syntax: {:?}", String::from_utf8_lossy(&lexer.text[lexer.start..lexer.at]))
        };
        if !self.scan_number() {
            return Err(bad(self));
        }
        if matches!(self.peek().0, '+' | '-') {
            if !self.scan_number() || self.text[self.at - 1] != b'i' {
                return Err(bad(self));
            }
            return Ok(Kind::Complex);
        }
        Ok(Kind::Number)
    }

    fn scan_number(&mut self) -> bool {
        self.accept(b"+-");
        let mut digits: &[u8] = b"0123456789_";
        let mut exponent: &[u8] = b"eE";
        if self.accept(b"0") {
            if self.accept(b"xX") {
                digits = b"0123456789abcdefABCDEF_";
                exponent = b"pP";
            } else if self.accept(b"oO") {
                (digits, exponent) = (b"01234567_", b"");
            } else if self.accept(b"bB") {
                (digits, exponent) = (b"01_", b"");
            }
        }
        while self.accept(digits) {}
        if self.accept(b".") {
            while self.accept(digits) {}
        }
        if self.accept(exponent) {
            self.accept(b"+-");
            while self.accept(b"0123456789_") {}
        }
        self.accept(b"i");
        let (c, len) = self.peek();
        if is_alphanumeric(c) {
            self.at += len;
            return false;
        }
        true
    }

    fn accept(&mut self, valid: &[u8]) -> bool {
        let found = self.text.get(self.at).is_some_and(|byte| valid.contains(byte));
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> (char, usize) {
        decode(&self.text[self.at..])
    }

    fn emit(&mut self, kind: Kind) {
        self.line += self.text[self.counted..self.start].iter().filter(|&&byte| byte == b'\n').count();
        self.counted = self.start;
        self.tokens.push(Token { kind, start: self.start, end: self.at, line: self.line });
        self.start = self.at;
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || is_letter(c) || is_digit(c)
}

/// As Go's `%#U`.
fn codepoint(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if is_print(c) { format!("{code} '{c}'") } else { code }
}
