//! Reading.

use super::{Assigns, Body, Element, Item, Lines, List, Node, Value};

/// How deep bodies and lists may stand in one another.
const DEPTH: usize = 32;

/// Reads a text.
///
/// # Errors
/// Where it is not one, in the peer's form: line and column.
pub(super) fn read(text: &str) -> Result<Body, String> {
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens, at: 0 };
    let body = reader.body(0)?;
    match reader.peek() {
        Some(token) => Err(token.error("nothing", "stands here")),
        None => Ok(body),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Comment,
    Word,
    Sign(char),
}

#[derive(Clone, Debug)]
struct Token {
    kind: Kind,
    text: String,
    lines: Lines,
    column: usize,
}

impl Token {
    fn error(&self, expected: &str, what: &str) -> String {
        let shown: String = self.text.chars().take(32).collect();
        format!("At {}:{}: expected {expected}: {shown:?} {what}", self.lines.first, self.column)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let (mut rest, mut line, mut column) = (text, 1, 1);
    while let Some(first) = rest.chars().next() {
        let bad = |what: &str| format!("At {line}:{column}: {what}");
        let (kind, length) = match first {
            '\n' | ' ' | '\t' | '\r' => (None, 1),
            '#' => (Some(Kind::Comment), line_end(rest)),
            '/' if rest.starts_with("//") => (Some(Kind::Comment), line_end(rest)),
            '/' if rest.starts_with("/*") => {
                (Some(Kind::Comment), rest.find("*/").ok_or_else(|| bad("a comment has no end"))? + 2)
            }
            '"' => (Some(Kind::Word), string_end(rest).ok_or_else(|| bad("a string has no end"))?),
            '<' if rest.starts_with("<<") => {
                (Some(Kind::Word), heredoc_end(rest).ok_or_else(|| bad("a text has no end"))?)
            }
            '{' | '}' | '[' | ']' | '=' | ',' => (Some(Kind::Sign(first)), 1),
            _ => {
                let is_word = |c: char| c.is_alphanumeric() || "_-.:+".contains(c);
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if length == 0 {
                    return Err(bad("illegal character"));
                }
                (Some(Kind::Word), length)
            }
        };
        let (taken, left) = rest.split_at(length);
        let last = line + taken.matches('\n').count();
        if let Some(kind) = kind {
            let text = taken.trim_end_matches(['\n', '\r', ' ', '\t']).replace('\r', "");
            // The end of a text is on the line of its last word.
            let lines = Lines { first: line, last: line + text.matches('\n').count() };
            tokens.push(Token { kind, text, lines, column });
        }
        column = match taken.rsplit_once('\n') {
            Some((_, tail)) => tail.chars().count() + 1,
            None => column + taken.chars().count(),
        };
        (rest, line) = (left, last);
    }
    Ok(tokens)
}

fn line_end(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// Behind the quote that ends a string. What is in `${…}` is the string's, quotes too.
fn string_end(text: &str) -> Option<usize> {
    let (mut escaped, mut depth, mut before) = (false, 0_usize, ' ');
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' if before == '$' || depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '"' if depth == 0 => return Some(at + 1),
            '\n' if depth == 0 => return None,
            _ => {}
        }
        before = c;
    }
    None
}

/// Behind the line that ends a text which begins with `<<`.
fn heredoc_end(text: &str) -> Option<usize> {
    let (first, _) = text.split_once('\n')?;
    let mark = first.trim_start_matches('<').trim_start_matches('-').trim();
    if mark.is_empty() {
        return None;
    }
    let mut at = first.len() + 1;
    for line in text.get(at..)?.split_inclusive('\n') {
        at += line.len();
        if line.trim() == mark {
            // The end of that line is not the text's.
            return Some(at - (line.len() - line.trim_end().len()));
        }
    }
    None
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn is(&self, sign: char) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Sign(sign))
    }

    /// The comments here that stand together: on lines one after the other.
    fn comments(&mut self) -> Option<(Vec<String>, Lines)> {
        let mut found: Option<(Vec<String>, Lines)> = None;
        while let Some(token) = self.peek().filter(|token| token.kind == Kind::Comment) {
            if found.as_ref().is_some_and(|(_, lines)| token.lines.first > lines.last + 1) {
                break;
            }
            let token = token.clone();
            self.at += 1;
            let (all, lines) = found.get_or_insert_with(|| (Vec::new(), token.lines));
            all.push(token.text);
            lines.last = token.lines.last;
        }
        found
    }

    /// A comment behind what ends on `line`.
    fn trail(&mut self, line: usize) -> Option<String> {
        let is_here = self.peek().is_some_and(|token| token.kind == Kind::Comment && token.lines.first == line);
        if is_here { self.next().map(|token| token.text) } else { None }
    }

    /// Until a `}`, which stays, or the end.
    fn body(&mut self, depth: usize) -> Result<Body, String> {
        let mut nodes = Vec::new();
        loop {
            let comments = self.comments();
            let next = self.peek().filter(|token| token.kind != Kind::Sign('}')).cloned();
            let lead = match (comments, &next) {
                (Some((comments, lines)), Some(next))
                    if lines.last + 1 == next.lines.first && next.kind != Kind::Comment =>
                {
                    comments
                }
                (Some((comments, _)), _) => {
                    nodes.push(Node::Comments(comments));
                    if next.is_some_and(|next| next.kind == Kind::Comment) {
                        continue;
                    }
                    Vec::new()
                }
                (None, _) => Vec::new(),
            };
            match self.peek() {
                None => return Ok(Body(nodes)),
                Some(token) if token.kind == Kind::Sign('}') => return Ok(Body(nodes)),
                Some(_) => nodes.push(Node::Item(self.item(lead, depth)?)),
            }
        }
    }

    fn item(&mut self, lead: Vec<String>, depth: usize) -> Result<Item, String> {
        let (mut keys, mut first) = (Vec::new(), None);
        let assigns = loop {
            let Some(token) = self.next() else { return Err("the text ends in the middle of a rule".to_owned()) };
            match token.kind {
                Kind::Word if !token.text.starts_with("<<") => {
                    first.get_or_insert(token.lines.first);
                    keys.push(token.text);
                }
                Kind::Sign('=') if !keys.is_empty() => break Assigns::Yes,
                Kind::Sign('{') if !keys.is_empty() => {
                    self.at -= 1;
                    break Assigns::No;
                }
                _ => return Err(token.error("IDENT | STRING | ASSIGN | LBRACE", "does not")),
            }
        };
        let (value, last) = self.value(depth)?;
        if self.is(',') {
            self.at += 1;
        }
        let mut item = Item {
            lead,
            keys,
            assigns,
            value,
            trail: self.trail(last),
            lines: Lines { first: first.unwrap_or(last), last },
        };
        // A list that is on one line but for a comment behind its last element.
        if let Value::List(List { elements, rest, lines }) = &mut item.value
            && lines.first == lines.last
            && item.trail.is_none()
            && rest.is_empty()
            && let Some((tail, others)) = elements.split_last_mut()
            && tail.lead.is_empty()
            && others.iter().all(|element| element.lead.is_empty() && element.trail.is_none())
        {
            item.trail = tail.trail.take();
        }
        Ok(item)
    }

    /// A value, and the line that it ends on.
    fn value(&mut self, depth: usize) -> Result<(Value, usize), String> {
        let Some(token) = self.next() else { return Err("the text ends where a value should be".to_owned()) };
        if depth >= DEPTH {
            return Err(token.error("no more", "is too deep"));
        }
        match token.kind {
            Kind::Word => Ok((Value::Plain(token.text), token.lines.last)),
            Kind::Sign('{') => {
                let body = self.body(depth + 1)?;
                match self.next() {
                    Some(end) if end.kind == Kind::Sign('}') => Ok((Value::Object(body), end.lines.last)),
                    _ => Err(format!(
                        "At {}:{}: object expected closing RBRACE got: EOF",
                        token.lines.first, token.column
                    )),
                }
            }
            Kind::Sign('[') => self.list(token.lines.first, depth),
            _ => Err(token.error("a value", "is none")),
        }
    }

    fn list(&mut self, first: usize, depth: usize) -> Result<(Value, usize), String> {
        let mut elements: Vec<Element> = Vec::new();
        // Of its elements; where its end is does not matter.
        let mut lines = Lines { first, last: first };
        loop {
            let lead = self.comments().map(|(comments, _)| comments).unwrap_or_default();
            if self.is(']') {
                let last = self.next().map_or(first, |token| token.lines.last);
                return Ok((Value::List(List { elements, rest: lead, lines }), last));
            }
            let (value, last) = self.value(depth + 1)?;
            lines.last = last;
            let mut trail = self.trail(last);
            let comma = self.is(',');
            if comma {
                self.at += 1;
            } else if !self.is(']') && trail.is_none() {
                let token = self.next();
                return Err(token.map_or_else(
                    || "the text ends in a list".to_owned(),
                    |token| token.error("COMMA | RBRACK", "is none"),
                ));
            }
            if trail.is_none() {
                trail = self.trail(last);
            }
            elements.push(Element { lead, value, trail });
        }
    }
}
