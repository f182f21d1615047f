//! The language itself.

use super::{Body, Error, Item, MAX_DEPTH, Value};

pub fn parse(text: &str) -> Result<Body, Error> {
    let mut parser = Parser { text, at: 0, counted: 0, line: 1 };
    let body = parser.body(0)?;
    parser.space(true)?;
    if parser.at < text.len() { Err(parser.error("an entry begins with a name or a string")) } else { Ok(body) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Up to where the ends of lines were counted, and the line that this is in.
    counted: usize,
    line: usize,
}

impl Parser<'_> {
    fn error(&self, what: impl Into<String>) -> Error {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        Error { line, column, what: what.into() }
    }

    /// The line that is being read: the ends of lines since it was last asked for are counted, not all.
    fn line(&mut self) -> usize {
        self.line += self.text[self.counted..self.at].matches('\n').count();
        self.counted = self.at;
        self.line
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.rest().starts_with(text);
        if there {
            self.at += text.len();
        }
        there
    }

    /// Skips space and comments, past the ends of lines if `lines`.
    fn space(&mut self, lines: bool) -> Result<(), Error> {
        loop {
            match self.peek() {
                Some('\n') if !lines => return Ok(()),
                Some(c) if c.is_ascii_whitespace() => self.at += 1,
                Some('#') => self.skip_line(),
                Some('/') if self.rest().starts_with("//") => self.skip_line(),
                Some('/') if self.rest().starts_with("/*") => match self.rest().find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return Err(self.error("a comment has no end")),
                },
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// Items up to a closing brace or the end.
    fn body(&mut self, depth: usize) -> Result<Body, Error> {
        let mut items = Vec::new();
        loop {
            self.space(true)?;
            if self.take(",") {
                continue;
            }
            match self.peek() {
                None | Some('}') => return Ok(Body { items }),
                Some(_) => items.push(self.item(depth)?),
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<Item, Error> {
        let line = self.line();
        let mut keys = Vec::new();
        loop {
            self.space(false)?;
            match self.peek() {
                Some('"') => keys.push(self.string()?),
                Some(c) if is_identifier(c) => keys.push(self.identifier()),
                Some('=') if keys.len() == 1 => {
                    self.at += 1;
                    self.space(true)?;
                    let value = self.value(depth)?;
                    return Ok(Item { keys, value, line });
                }
                Some('{') if !keys.is_empty() => {
                    let value = self.block(depth)?;
                    return Ok(Item { keys, value, line });
                }
                Some(_) if keys.is_empty() => {
                    return Err(self.error("an entry begins with a name or a string"));
                }
                Some(c) => return Err(self.error(format!("after a name comes = or a block, not {c:?}"))),
                None => return Err(self.error("an entry has no value")),
            }
        }
    }

    fn block(&mut self, depth: usize) -> Result<Value, Error> {
        if depth >= MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        let body = self.body(depth + 1)?;
        if self.take("}") { Ok(Value::Body(body)) } else { Err(self.error("object expected closing RBRACE got: EOF")) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        match self.peek() {
            Some('"') => self.string().map(Value::String),
            Some('[') => self.list(depth),
            Some('{') => self.block(depth),
            Some('<') if self.rest().starts_with("<<") => self.heredoc().map(Value::String),
            Some(c) if c.is_ascii_digit() || c == '-' => {
                let number = |c: char| c.is_ascii_alphanumeric() || "+-._".contains(c);
                let end = self.rest().find(|c| !number(c)).unwrap_or(self.rest().len());
                let text = self.rest()[..end].to_owned();
                if text.parse::<f64>().is_err() && !text.starts_with("0x") {
                    return Err(self.error("a number is malformed"));
                }
                self.at += end;
                Ok(Value::Number(text))
            }
            Some(c) if is_identifier(c) => {
                let before = self.at;
                match self.identifier().as_str() {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    _ => {
                        self.at = before;
                        Err(self.error("a value is a string, a number, true, false, a list or a block"))
                    }
                }
            }
            _ => Err(self.error("a value is missing")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Error> {
        if depth >= MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.space(true)?;
            if self.take("]") {
                return Ok(Value::List(values));
            }
            values.push(self.value(depth + 1)?);
            self.space(true)?;
            if !self.take(",") && self.peek() != Some(']') {
                return Err(self.error("expected a comma or the end of a list"));
            }
        }
    }

    fn identifier(&mut self) -> String {
        let end = self.rest().find(|c| !is_identifier(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..end].to_owned();
        self.at += end;
        name
    }

    fn string(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else { return Err(self.error("a string has no end")) };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\n' => {
                    self.at -= 1;
                    return Err(self.error("a string has no end on its line"));
                }
                '\\' => out.push(self.escape()?),
                other => out.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let Some(c) = self.peek() else { return Err(self.error("a string has no end")) };
        self.at += c.len_utf8();
        Ok(match c {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '"' | '\\' => c,
            'x' => self.code(2)?,
            'u' => self.code(4)?,
            'U' => self.code(8)?,
            _ => return Err(self.error("an unknown escape in a string")),
        })
    }

    fn code(&mut self, digits: usize) -> Result<char, Error> {
        let code = self.rest().get(..digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
        let code = code.ok_or_else(|| self.error("an escape in a string is malformed"))?;
        self.at += digits;
        Ok(code)
    }

    /// With `<<-` the indentation of the last line is taken from all.
    fn heredoc(&mut self) -> Result<String, Error> {
        self.at += 2;
        let indented = self.take("-");
        let Some(end) = self.rest().find('\n') else { return Err(self.error("a heredoc has no lines")) };
        let name = self.rest()[..end].trim().to_owned();
        if name.is_empty() || !name.chars().all(is_identifier) {
            return Err(self.error("a heredoc has no name"));
        }
        self.at += end + 1;
        let mut lines: Vec<&str> = Vec::new();
        let mut at = self.at;
        for line in self.text[self.at..].split_inclusive('\n') {
            if line.trim() == name {
                // The line's end is left, so that the next entry begins on a line of its own.
                self.at = at + line.trim_end().len();
                let margin = line.len() - line.trim_start().len();
                let strip = |line: &&str| {
                    let spaces = line.len() - line.trim_start_matches([' ', '\t']).len();
                    line[if indented { margin.min(spaces) } else { 0 }..].to_owned()
                };
                return Ok(lines.iter().map(strip).collect());
            }
            at += line.len();
            lines.push(line);
        }
        Err(self.error(format!("a heredoc has no end: {name} is missing")))
    }
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || "_-.".contains(c)
}
