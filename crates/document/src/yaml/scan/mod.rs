//! From characters to tokens.
//!
//! The grammar is libyaml's (YAML 1.1, one token of `KEY` and `VALUE` for each entry, `BLOCK-END` for each dedent), with the
//! comments that yaml.v3 adds to it. Which texts it takes, and to which token a comment belongs, depends on how far the
//! scanner has looked ahead; that is kept as it is there, quirks included, because sops' tree depends on it.

mod comments;
mod cursor;
mod names;
mod scalars;

use std::collections::VecDeque;

pub(super) use comments::{Comment, CommentKind, Piece};
pub(super) use names::TagName;

use cursor::fail;

use crate::model::{Span, Text};
use crate::{Error, ErrorKind};

/// How many characters may stand between a key's start and its `:`.
pub(super) const LONGEST_KEY: u32 = 1024;

/// A place in the text. `index` counts characters, from 1, so that the place before the first is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    pub(super) pos: u32,
    pub(super) index: u32,
    /// From 0.
    pub(super) line: u32,
    /// In characters, from 0.
    pub(super) column: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    StreamStart,
    StreamEnd,
    VersionDirective,
    TagDirective,
    DocumentStart,
    DocumentEnd,
    BlockSeqStart,
    BlockMapStart,
    BlockEnd,
    FlowSeqStart,
    FlowSeqEnd,
    FlowMapStart,
    FlowMapEnd,
    FlowEntry,
    BlockEntry,
    Key,
    Value,
    Alias,
    Anchor,
    Tag,
    Scalar,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarStyle {
    Plain,
    Single,
    Double,
    Literal,
    Folded,
}

/// A token. Those that the scanner makes up (`KEY` of a simple key, the starts and ends of blocks) have no bytes.
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) style: ScalarStyle,
    pub(super) start: Mark,
    /// Where its bytes end; of a block scalar, before its last line break.
    pub(super) end: u32,
    pub(super) data: Data,
}

/// What a token carries.
pub(super) enum Data {
    None,
    /// A scalar's value, an anchor's or alias' name.
    Text(Text),
    Tag(Box<TagName>),
    /// Whether the version is 1.1, the only one that is taken.
    Version(bool),
}

struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
}

pub(super) struct Scanner<'t> {
    text: &'t [u8],
    at: Mark,
    /// Line breaks since the last character that is no blank.
    newlines: u32,
    flow: u32,
    indent: i64,
    indents: Vec<i64>,
    allow_key: bool,
    /// The possible key of each flow level.
    keys: Vec<SimpleKey>,
    /// The tokens that may turn out to begin a key, with their level; the numbers ascend.
    keys_by_token: VecDeque<(usize, usize)>,
    started: bool,
    queue: VecDeque<Token>,
    /// How many tokens were taken from the queue.
    taken: usize,
    pub(super) comments: VecDeque<Comment>,
    /// Each line of comment that was seen, in the order of the text.
    pub(super) seen_comments: Vec<Span>,
}

impl<'t> Scanner<'t> {
    /// Starts at the text's beginning, behind a byte order mark.
    pub(super) fn new(text: &'t [u8]) -> Result<Self, Error> {
        const BOM: &[u8] = "\u{FEFF}".as_bytes();
        let pos = if text.starts_with(BOM) { BOM.len() } else { 0 };
        let scanner = Self {
            text,
            at: Mark { pos: u32::try_from(pos).unwrap_or(0), index: 1, line: 0, column: 0 },
            newlines: 0,
            flow: 0,
            indent: -1,
            indents: Vec::new(),
            allow_key: true,
            keys: vec![SimpleKey { possible: false, required: false, token: 0, mark: Mark::default() }],
            keys_by_token: VecDeque::new(),
            started: false,
            queue: VecDeque::new(),
            taken: 0,
            comments: VecDeque::new(),
            seen_comments: Vec::new(),
        };
        // yaml.v3 loses its place on a second one.
        if pos > 0 && text[pos..].starts_with(BOM) {
            return Err(fail(scanner.at, "two byte order marks"));
        }
        Ok(scanner)
    }

    /// The next token, which stays in the queue.
    pub(super) fn peek(&mut self) -> Result<&Token, Error> {
        self.fill()?;
        match self.queue.front() {
            Some(token) => Ok(token),
            None => Err(ErrorKind::Syntax("the text ends too early".into()).into()),
        }
    }

    /// Takes the token that was peeked at.
    pub(super) fn take(&mut self) -> Option<Token> {
        self.taken += 1;
        self.queue.pop_front()
    }

    /// yaml.v3 looks three tokens ahead so that comments find their place, and further while the first may begin a key.
    fn fill(&mut self) -> Result<(), Error> {
        loop {
            if self.queue.len() > 2 && !self.head_may_be_key()? {
                return Ok(());
            }
            self.fetch()?;
        }
    }

    fn head_may_be_key(&mut self) -> Result<bool, Error> {
        while self.keys_by_token.front().is_some_and(|&(token, _)| token < self.taken) {
            self.keys_by_token.pop_front();
        }
        match self.keys_by_token.front() {
            Some(&(token, level)) if token == self.taken => self.key_is_valid(level),
            _ => Ok(false),
        }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        if !self.started {
            self.started = true;
            self.push(TokenKind::StreamStart, self.at);
            return Ok(());
        }
        let scan_start = self.at;
        self.skip_to_token()?;
        self.unroll(i64::from(self.at.column), scan_start);
        let byte = self.byte(0);
        if byte == 0 {
            return self.fetch_stream_end();
        }
        if self.at.column == 0 {
            if byte == b'%' {
                return self.fetch_directive();
            }
            if self.at_document_marker() {
                let kind = if byte == b'-' { TokenKind::DocumentStart } else { TokenKind::DocumentEnd };
                return self.fetch_document_marker(kind);
            }
        }
        // A comment behind `:` or a flow's `,` belongs to what stands before them.
        let mut comment_of = self.at.index;
        if (self.flow == 0 && byte == b':') || (self.flow > 0 && byte == b',') {
            comment_of = self.queue.back().map_or(comment_of, |token| token.start.index);
        }
        self.fetch_content(byte)?;
        // A comment behind a lone `-` heads what follows.
        if self.queue.back().is_none_or(|token| token.kind != TokenKind::BlockEntry) {
            self.scan_line_comment(comment_of);
        }
        Ok(())
    }

    fn fetch_content(&mut self, byte: u8) -> Result<(), Error> {
        let block = self.flow == 0;
        let next_blank = self.is_blank_or_end(1);
        match byte {
            b'[' => self.fetch_flow_start(TokenKind::FlowSeqStart),
            b'{' => self.fetch_flow_start(TokenKind::FlowMapStart),
            b']' => self.fetch_flow_end(TokenKind::FlowSeqEnd),
            b'}' => self.fetch_flow_end(TokenKind::FlowMapEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if next_blank => self.fetch_block_entry(),
            b'?' if !block || next_blank => self.fetch_key(),
            b':' if !block || next_blank => self.fetch_value(),
            b'*' => self.fetch_simple(|scanner| scanner.scan_anchor(TokenKind::Alias)),
            b'&' => self.fetch_simple(|scanner| scanner.scan_anchor(TokenKind::Anchor)),
            b'!' => self.fetch_simple(Self::scan_tag),
            b'|' if block => self.fetch_block_scalar(ScalarStyle::Literal),
            b'>' if block => self.fetch_block_scalar(ScalarStyle::Folded),
            b'\'' => self.fetch_simple(|scanner| scanner.scan_quoted(ScalarStyle::Single)),
            b'"' => self.fetch_simple(|scanner| scanner.scan_quoted(ScalarStyle::Double)),
            b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                Err(fail(self.at, "a value cannot start with this character"))
            }
            _ => self.fetch_simple(Self::scan_plain),
        }
    }

    fn fetch_stream_end(&mut self) -> Result<(), Error> {
        if self.at.column != 0 {
            self.at.column = 0;
            self.at.line += 1;
        }
        self.unroll(-1, self.at);
        self.drop_key()?;
        self.allow_key = false;
        self.push(TokenKind::StreamEnd, self.at);
        Ok(())
    }

    fn fetch_document_marker(&mut self, kind: TokenKind) -> Result<(), Error> {
        self.unroll(-1, self.at);
        self.drop_key()?;
        self.allow_key = false;
        let start = self.at;
        self.skip_ascii(3);
        self.push(kind, start);
        Ok(())
    }

    fn fetch_directive(&mut self) -> Result<(), Error> {
        self.unroll(-1, self.at);
        self.drop_key()?;
        self.allow_key = false;
        let token = self.scan_directive()?;
        self.queue.push_back(token);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: TokenKind) -> Result<(), Error> {
        self.save_key()?;
        let token = self.taken + self.queue.len();
        self.keys.push(SimpleKey { possible: false, required: false, token, mark: self.at });
        self.flow += 1;
        self.allow_key = true;
        self.push_one(kind);
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: TokenKind) -> Result<(), Error> {
        self.drop_key()?;
        if self.flow > 0 {
            self.flow -= 1;
            if let Some(key) = self.keys.pop() {
                self.forget(key.token);
            }
        }
        self.allow_key = false;
        self.push_one(kind);
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<(), Error> {
        self.drop_key()?;
        self.allow_key = true;
        self.push_one(TokenKind::FlowEntry);
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), Error> {
        // In a flow collection it is a mistake that the parser tells.
        if self.flow == 0 {
            if !self.allow_key {
                return Err(fail(self.at, "a list item cannot stand here"));
            }
            self.roll(self.at, None, TokenKind::BlockSeqStart);
        }
        self.drop_key()?;
        self.allow_key = true;
        self.push_one(TokenKind::BlockEntry);
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), Error> {
        if self.flow == 0 {
            if !self.allow_key {
                return Err(fail(self.at, "a key cannot stand here"));
            }
            self.roll(self.at, None, TokenKind::BlockMapStart);
        }
        self.drop_key()?;
        self.allow_key = self.flow == 0;
        self.push_one(TokenKind::Key);
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), Error> {
        let level = self.keys.len() - 1;
        if self.key_is_valid(level)? {
            let (number, mark) = (self.keys[level].token, self.keys[level].mark);
            let key = Token::new(TokenKind::Key, mark, mark.pos);
            self.insert(number, key);
            self.roll(mark, Some(number), TokenKind::BlockMapStart);
            self.keys[level].possible = false;
            self.forget(number);
            self.allow_key = false;
        } else {
            if self.flow == 0 {
                if !self.allow_key {
                    return Err(fail(self.at, "a mapping value cannot stand here"));
                }
                self.roll(self.at, None, TokenKind::BlockMapStart);
            }
            self.allow_key = self.flow == 0;
        }
        self.push_one(TokenKind::Value);
        Ok(())
    }

    /// A token that may be, or begin, a simple key, and that none can follow.
    fn fetch_simple(&mut self, scan: impl FnOnce(&mut Self) -> Result<Token, Error>) -> Result<(), Error> {
        self.save_key()?;
        self.allow_key = false;
        let token = scan(self)?;
        self.queue.push_back(token);
        Ok(())
    }

    fn fetch_block_scalar(&mut self, style: ScalarStyle) -> Result<(), Error> {
        self.drop_key()?;
        self.allow_key = true;
        let token = self.scan_block(style)?;
        self.queue.push_back(token);
        Ok(())
    }

    fn skip_to_token(&mut self) -> Result<(), Error> {
        let scan_start = self.at;
        loop {
            let tabs = self.flow > 0 || !self.allow_key;
            let start = self.at.pos as usize;
            let blanks = self.text[start..].iter().take_while(|&&byte| byte == b' ' || (tabs && byte == b'\t')).count();
            self.skip_blanks(blanks);
            self.head_for_item();
            if self.byte(0) == b'#' {
                self.scan_comments(scan_start);
            }
            if !self.skip_break() {
                return Ok(());
            }
            if self.flow == 0 {
                self.allow_key = true;
            }
        }
    }

    /// A comment behind what holds a list, when the list's first item follows, heads that item.
    fn head_for_item(&mut self) {
        let count = self.queue.len();
        if count < 2
            || self.queue[count - 1].kind != TokenKind::BlockEntry
            || self.queue[count - 2].kind != TokenKind::BlockSeqStart
            || self.break_len(0) > 0
        {
            return;
        }
        let at = self.at;
        if let Some(comment) = self.comments.back_mut()
            && comment.kind == CommentKind::Line
        {
            comment.kind = CommentKind::Head;
            if comment.start.line + 1 == at.line {
                comment.token = at.index;
            }
        }
    }

    /// Opens a block collection at `mark` if it is further in than what is open.
    fn roll(&mut self, mark: Mark, number: Option<usize>, kind: TokenKind) {
        let column = i64::from(mark.column);
        if self.flow > 0 || self.indent >= column {
            return;
        }
        self.indents.push(self.indent);
        self.indent = column;
        let token = Token::new(kind, mark, mark.pos);
        match number {
            Some(number) => self.insert(number, token),
            None => self.queue.push_back(token),
        }
    }

    /// Ends the block collections that are further in than `column`.
    ///
    /// Comments found on the way that are as far in as a block belong behind its end, so the end moves before them.
    fn unroll(&mut self, column: i64, scan_start: Mark) {
        if self.flow > 0 {
            return;
        }
        let mut block = Mark { index: scan_start.index.saturating_sub(1), ..scan_start };
        while self.indent > column {
            let mut stop = block.index;
            for comment in self.comments.iter().rev() {
                if comment.end < stop {
                    break;
                }
                if i64::from(comment.start.column) == self.indent + 1 {
                    block = comment.start;
                }
                stop = comment.scan;
            }
            self.queue.push_back(Token::new(TokenKind::BlockEnd, block, block.pos));
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn key_is_valid(&mut self, level: usize) -> Result<bool, Error> {
        let at = self.at;
        let key = &mut self.keys[level];
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line < at.line || key.mark.index.saturating_add(LONGEST_KEY) < at.index {
            if key.required {
                let mark = key.mark;
                return Err(fail(mark, "a key without a ':'"));
            }
            key.possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_key(&mut self) -> Result<(), Error> {
        let required = self.flow == 0 && self.indent == i64::from(self.at.column);
        if self.allow_key {
            self.drop_key()?;
            let token = self.taken + self.queue.len();
            let level = self.keys.len() - 1;
            self.keys[level] = SimpleKey { possible: true, required, token, mark: self.at };
            self.keys_by_token.push_back((token, level));
        }
        Ok(())
    }

    fn drop_key(&mut self) -> Result<(), Error> {
        let Some(key) = self.keys.last_mut().filter(|key| key.possible) else { return Ok(()) };
        if key.required {
            let mark = key.mark;
            return Err(fail(mark, "a key without a ':'"));
        }
        key.possible = false;
        let token = key.token;
        self.forget(token);
        Ok(())
    }

    fn forget(&mut self, token: usize) {
        if let Ok(found) = self.keys_by_token.binary_search_by_key(&token, |&(token, _)| token) {
            self.keys_by_token.remove(found);
        }
    }

    fn push(&mut self, kind: TokenKind, start: Mark) {
        self.queue.push_back(Token::new(kind, start, self.at.pos));
    }

    /// A token of one character.
    fn push_one(&mut self, kind: TokenKind) {
        let start = self.at;
        self.skip_ascii(1);
        self.push(kind, start);
    }

    /// Puts a token before the one with the given number; behind all, if that one was taken already.
    fn insert(&mut self, number: usize, token: Token) {
        match number.checked_sub(self.taken) {
            Some(place) if place <= self.queue.len() => self.queue.insert(place, token),
            _ => self.queue.push_back(token),
        }
    }
}

impl Token {
    fn new(kind: TokenKind, start: Mark, end: u32) -> Self {
        Self { kind, style: ScalarStyle::Plain, start, end, data: Data::None }
    }
}
