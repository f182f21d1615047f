//! From tokens to events: libyaml's grammar, with yaml.v3's comments.
//!
//! ```text
//! stream         ::= implicit-document? explicit-document*
//! document       ::= directive* '---' node? '...'*
//! node           ::= alias | (anchor | tag)* (scalar | collection)?
//! block-sequence ::= ('-' node?)*
//! block-mapping  ::= (key node? (value node?)?)*
//! flow-sequence  ::= '[' ((node | key node? (value node?)?) ',')* ']'
//! flow-mapping   ::= '{' ((node | key node? (value node?)?) ',')* '}'
//! ```

mod documents;
mod flow;

use super::scan::{CommentKind, Data, Piece, ScalarStyle, Scanner, Token, TokenKind};
use super::tag::{Tag, Tags};
use crate::model::{Span, Text};
use crate::{Error, ErrorKind};

/// What the tree is built from.
pub(super) struct Event {
    pub(super) kind: EventKind,
    /// Where the node's part of its entry begins: at its `-` or its key, else at its first property or itself.
    pub(super) lead: u32,
    /// The node without properties. Of an end, where it ends.
    pub(super) span: Span,
    pub(super) line: u32,
    pub(super) anchor: Option<Span>,
    pub(super) tag: Option<(Tag, Span)>,
    pub(super) comments: Option<Box<Comments>>,
}

pub(super) enum EventKind {
    StreamEnd,
    DocumentStart,
    DocumentEnd,
    /// The name.
    Alias(Span),
    Scalar(ScalarStyle, Text),
    /// A scalar of which nothing is written, or its properties only.
    Empty(Gap),
    SeqStart(Layout),
    SeqEnd,
    MapStart(Layout),
    MapEnd,
}

/// Whether a collection is written in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Block,
    Flow,
    /// The map of one entry that a flow list's `a: b` is.
    Pair,
}

/// What is missing where nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The value alone: there is a `:`, a `-`, an anchor or a tag.
    Value,
    /// A `:`, too.
    Colon,
    /// A whole document.
    Document,
}

/// The comments that an event carries.
#[derive(Default)]
pub(super) struct Comments {
    pub(super) head: Vec<Piece>,
    pub(super) line: Vec<Piece>,
    pub(super) foot: Vec<Piece>,
}

#[derive(Clone, Copy)]
enum State {
    StreamStart,
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    BlockSeqFirst,
    BlockSeqEntry,
    IndentlessEntry,
    BlockMapFirst,
    BlockMapKey,
    BlockMapValue,
    FlowSeqFirst,
    FlowSeqEntry,
    PairKey,
    PairValue,
    PairEnd,
    FlowMapFirst,
    FlowMapKey,
    FlowMapValue,
    FlowMapEmptyValue,
    End,
}

pub(super) struct Parser<'t> {
    pub(super) scanner: Scanner<'t>,
    state: State,
    states: Vec<State>,
    tags: Tags,
    head: Vec<Piece>,
    line: Vec<Piece>,
    foot: Vec<Piece>,
    /// The head comment of a list's item that is a block collection: of the collection, not of its first entry.
    stem: Option<Vec<Piece>>,
    lead: Option<u32>,
    /// Where the last token ends that has bytes, and what it is.
    last_end: u32,
    last_kind: TokenKind,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t [u8]) -> Result<Self, Error> {
        Ok(Self {
            scanner: Scanner::new(text)?,
            state: State::StreamStart,
            states: Vec::new(),
            tags: Tags::default(),
            head: Vec::new(),
            line: Vec::new(),
            foot: Vec::new(),
            stem: None,
            lead: None,
            last_end: 0,
            last_kind: TokenKind::StreamStart,
        })
    }

    /// The next event; after [`EventKind::StreamEnd`] there is none to ask for.
    pub(super) fn next(&mut self) -> Result<Event, Error> {
        match self.state {
            State::StreamStart => {
                self.peek()?;
                self.take();
                self.state = State::ImplicitDocumentStart;
                self.next()
            }
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockSeqFirst => {
                self.take();
                self.block_seq_entry()
            }
            State::BlockSeqEntry => self.block_seq_entry(),
            State::IndentlessEntry => self.indentless_entry(),
            State::BlockMapFirst => {
                self.take();
                self.block_map_key()
            }
            State::BlockMapKey => self.block_map_key(),
            State::BlockMapValue => self.block_map_value(),
            State::FlowSeqFirst => {
                self.take();
                self.flow_seq_entry(true)
            }
            State::FlowSeqEntry => self.flow_seq_entry(false),
            State::PairKey => self.pair_key(),
            State::PairValue => self.pair_value(),
            State::PairEnd => {
                self.state = State::FlowSeqEntry;
                self.peek()?;
                Ok(self.end_event(EventKind::MapEnd))
            }
            State::FlowMapFirst => {
                self.take();
                self.flow_map_key(true)
            }
            State::FlowMapKey => self.flow_map_key(false),
            State::FlowMapValue => self.flow_map_value(),
            State::FlowMapEmptyValue => {
                self.peek()?;
                self.state = State::FlowMapKey;
                Ok(self.empty())
            }
            State::End => Ok(self.end_event(EventKind::StreamEnd)),
        }
    }

    fn node(&mut self, block: bool, indentless: bool) -> Result<Event, Error> {
        let mut kind = self.peek()?;
        let (start, line) = self.token_start()?;
        let lead = self.lead.take().unwrap_or(start);
        if kind == TokenKind::Alias {
            self.pop_state();
            let comments = self.take_comments();
            let token = self.take();
            let name = token.as_ref().map_or(Span::default(), name_of);
            let span = Span { start, end: name.end };
            return Ok(Event { kind: EventKind::Alias(name), lead, span, line, anchor: None, tag: None, comments });
        }
        let (mut anchor, mut tag) = (None, None);
        loop {
            match kind {
                TokenKind::Anchor if anchor.is_none() => anchor = self.take().as_ref().map(name_of),
                TokenKind::Tag if tag.is_none() => {
                    let Some(Token { data: Data::Tag(name), start, end, .. }) = self.take() else { break };
                    let found = self.tags.resolve(&name).map_err(|problem| syntax(line, problem))?;
                    tag = Some((found, Span { start: start.pos, end }));
                }
                _ => break,
            }
            kind = self.peek()?;
        }
        let (start, line) = self.token_start()?;
        let event = |kind, end, comments| Event { kind, lead, span: Span { start, end }, line, anchor, tag, comments };
        let (kind, next) = match kind {
            TokenKind::BlockEntry if indentless => (EventKind::SeqStart(Layout::Block), State::IndentlessEntry),
            TokenKind::Scalar => {
                self.pop_state();
                let comments = self.take_comments();
                let Some(Token { data: Data::Text(text), style, end, .. }) = self.take() else {
                    return self.fail("a value is missing");
                };
                return Ok(event(EventKind::Scalar(style, text), end, comments));
            }
            TokenKind::FlowSeqStart | TokenKind::FlowMapStart => {
                let comments = self.take_comments();
                let (kind, next) = if kind == TokenKind::FlowSeqStart {
                    (EventKind::SeqStart(Layout::Flow), State::FlowSeqFirst)
                } else {
                    (EventKind::MapStart(Layout::Flow), State::FlowMapFirst)
                };
                self.state = next;
                return Ok(event(kind, start, comments));
            }
            TokenKind::BlockSeqStart if block => (EventKind::SeqStart(Layout::Block), State::BlockSeqFirst),
            TokenKind::BlockMapStart if block => (EventKind::MapStart(Layout::Block), State::BlockMapFirst),
            _ if anchor.is_some() || tag.is_some() => {
                self.pop_state();
                let end = self.last_end;
                let span = Span { start: end, end };
                let kind = EventKind::Empty(Gap::Value);
                return Ok(Event { kind, lead, span, line, anchor, tag, comments: None });
            }
            _ => return self.fail("a value is missing"),
        };
        self.state = next;
        let mut comments = None;
        if !matches!(next, State::IndentlessEntry)
            && let Some(head) = self.stem.take()
        {
            comments = Some(Box::new(Comments { head, ..Comments::default() }));
        }
        Ok(event(kind, start, comments))
    }

    fn block_seq_entry(&mut self) -> Result<Event, Error> {
        match self.peek()? {
            TokenKind::BlockEntry => {
                let next = self.enter_item()?;
                if matches!(next, TokenKind::BlockEntry | TokenKind::BlockEnd) {
                    self.state = State::BlockSeqEntry;
                    return Ok(self.empty());
                }
                self.states.push(State::BlockSeqEntry);
                self.node(true, false)
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                let event = self.end_event(EventKind::SeqEnd);
                self.take();
                Ok(event)
            }
            _ => self.fail("a list item must start with '-' here"),
        }
    }

    fn indentless_entry(&mut self) -> Result<Event, Error> {
        if self.peek()? != TokenKind::BlockEntry {
            self.pop_state();
            return Ok(self.end_event(EventKind::SeqEnd));
        }
        let next = self.enter_item()?;
        if matches!(next, TokenKind::BlockEntry | TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd) {
            self.state = State::IndentlessEntry;
            return Ok(self.empty());
        }
        self.states.push(State::IndentlessEntry);
        self.node(true, false)
    }

    /// Takes the `-`. If a block collection follows, what heads the item so far is the collection's.
    fn enter_item(&mut self) -> Result<TokenKind, Error> {
        self.lead = Some(self.token_start()?.0);
        let stem = self.head.len();
        self.take();
        let next = self.peek()?;
        if stem > 0 && matches!(next, TokenKind::BlockSeqStart | TokenKind::BlockMapStart) {
            let mut rest = self.head.split_off(stem);
            std::mem::swap(&mut self.head, &mut rest);
            self.stem = Some(rest);
            if !self.head.is_empty() {
                self.head.remove(0);
            }
        }
        Ok(next)
    }

    fn block_map_key(&mut self) -> Result<Event, Error> {
        match self.peek()? {
            TokenKind::Key => {
                self.lead = Some(self.token_start()?.0);
                self.take();
                if matches!(self.peek()?, TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd) {
                    self.state = State::BlockMapValue;
                    return Ok(self.empty());
                }
                self.states.push(State::BlockMapValue);
                self.node(true, true)
            }
            TokenKind::BlockEnd => {
                self.pop_state();
                let mut event = self.end_event(EventKind::MapEnd);
                event.comments = self.take_comments();
                self.take();
                Ok(event)
            }
            _ => self.fail("a key must stand here"),
        }
    }

    fn block_map_value(&mut self) -> Result<Event, Error> {
        if self.peek()? == TokenKind::Value {
            self.take();
            if !matches!(self.peek()?, TokenKind::Key | TokenKind::Value | TokenKind::BlockEnd) {
                self.states.push(State::BlockMapKey);
                return self.node(true, true);
            }
        }
        self.state = State::BlockMapKey;
        Ok(self.empty())
    }

    /// Nothing is written where a node could be. Comments wait for the next event.
    fn empty(&mut self) -> Event {
        let end = self.last_end;
        let lead = self.lead.take().unwrap_or(end);
        let colon = matches!(self.last_kind, TokenKind::Value | TokenKind::BlockEntry);
        let gap = if colon { Gap::Value } else { Gap::Colon };
        Event { lead, ..self.end_event(EventKind::Empty(gap)) }
    }

    fn end_event(&self, kind: EventKind) -> Event {
        let end = self.last_end;
        Event { kind, lead: end, span: Span { start: end, end }, line: 0, anchor: None, tag: None, comments: None }
    }

    fn pop_state(&mut self) {
        self.state = self.states.pop().unwrap_or(State::End);
    }

    /// The next token's kind. Comments that stand before it are taken in.
    fn peek(&mut self) -> Result<TokenKind, Error> {
        let token = self.scanner.peek()?;
        let (kind, index) = (token.kind, token.start.index);
        while let Some(comment) = self.scanner.comments.front()
            && index >= comment.token
        {
            // No block's end has a head: it waits for what follows.
            if comment.kind == CommentKind::Head && kind == TokenKind::BlockEnd {
                break;
            }
            let Some(mut comment) = self.scanner.comments.pop_front() else { break };
            let to = match comment.kind {
                CommentKind::Head => &mut self.head,
                CommentKind::Line => &mut self.line,
                CommentKind::Foot => &mut self.foot,
            };
            if !to.is_empty() {
                to.push(Piece::Joint);
            }
            to.append(&mut comment.text);
        }
        Ok(kind)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.scanner.take()?;
        // The tokens that the scanner makes up have no bytes.
        if token.end > token.start.pos {
            self.last_end = token.end;
            self.last_kind = token.kind;
        }
        Some(token)
    }

    fn token_start(&mut self) -> Result<(u32, u32), Error> {
        let start = self.scanner.peek()?.start;
        Ok((start.pos, start.line + 1))
    }

    fn token_line(&mut self) -> Result<u32, Error> {
        Ok(self.token_start()?.1)
    }

    fn take_comments(&mut self) -> Option<Box<Comments>> {
        self.stem = None;
        if self.head.is_empty() && self.line.is_empty() && self.foot.is_empty() {
            return None;
        }
        Some(Box::new(Comments {
            head: std::mem::take(&mut self.head),
            line: std::mem::take(&mut self.line),
            foot: std::mem::take(&mut self.foot),
        }))
    }

    fn fail<T>(&mut self, problem: &str) -> Result<T, Error> {
        Err(syntax(self.token_line()?, problem))
    }
}

fn name_of(token: &Token) -> Span {
    match &token.data {
        Data::Text(Text::Source(span)) => *span,
        _ => Span::default(),
    }
}

fn syntax(line: u32, problem: &str) -> Error {
    Error::at(line, ErrorKind::Syntax(problem.into()))
}
