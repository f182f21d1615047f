//! Documents: where they start and end, and their directives.

use super::super::scan::{Data, Piece, Token, TokenKind};
use super::{Comments, Event, EventKind, Gap, Parser, State, syntax};
use crate::Error;

impl Parser<'_> {
    pub(super) fn document_start(&mut self, implicit: bool) -> Result<Event, Error> {
        let mut kind = self.peek()?;
        while !implicit && kind == TokenKind::DocumentEnd {
            self.take();
            kind = self.peek()?;
        }
        if kind == TokenKind::StreamEnd {
            self.state = State::End;
            return Ok(self.end_event(EventKind::StreamEnd));
        }
        let directive = matches!(kind, TokenKind::VersionDirective | TokenKind::TagDirective);
        if implicit && !directive && kind != TokenKind::DocumentStart {
            self.states.push(State::DocumentEnd);
            self.state = State::BlockNode;
            let head = self.split_document_head();
            let mut event = self.end_event(EventKind::DocumentStart);
            if !head.is_empty() {
                event.comments = Some(Box::new(Comments { head, ..Comments::default() }));
            }
            return Ok(event);
        }
        self.directives()?;
        let event = self.end_event(EventKind::DocumentStart);
        if self.peek()? != TokenKind::DocumentStart {
            return self.fail("a document must start with '---' here");
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        self.take();
        Ok(event)
    }

    /// The part of the head comment above its last empty line belongs to the document.
    pub(super) fn split_document_head(&mut self) -> Vec<Piece> {
        for place in (1..self.head.len()).rev() {
            if self.head[place] != Piece::Joint {
                continue;
            }
            let last = place == self.head.len() - 1;
            if last || self.head[place - 1] == Piece::Joint {
                let rest = self.head.split_off(place + 1);
                let mut document = std::mem::replace(&mut self.head, rest);
                document.truncate(if last { place } else { place - 1 });
                return document;
            }
        }
        Vec::new()
    }

    pub(super) fn directives(&mut self) -> Result<(), Error> {
        let mut version = false;
        loop {
            let kind = self.peek()?;
            let line = self.token_line()?;
            match kind {
                TokenKind::VersionDirective => {
                    if version {
                        return self.fail("a second %YAML directive");
                    }
                    version = true;
                    if let Some(Token { data: Data::Version(false), .. }) = self.take() {
                        return Err(syntax(line, "the %YAML directive asks for another version than 1.1"));
                    }
                }
                TokenKind::TagDirective => {
                    if let Some(Token { data: Data::Tag(name), .. }) = self.take() {
                        self.tags.add(*name).map_err(|problem| syntax(line, problem))?;
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn document_content(&mut self) -> Result<Event, Error> {
        match self.peek()? {
            TokenKind::VersionDirective
            | TokenKind::TagDirective
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => {
                self.pop_state();
                let mut event = self.empty();
                event.kind = EventKind::Empty(Gap::Document);
                Ok(event)
            }
            _ => self.node(true, false),
        }
    }

    pub(super) fn document_end(&mut self) -> Result<Event, Error> {
        if self.peek()? == TokenKind::DocumentEnd {
            self.take();
        }
        self.tags.clear();
        self.state = State::DocumentStart;
        let mut event = self.end_event(EventKind::DocumentEnd);
        event.comments = self.take_comments();
        if let Some(comments) = &mut event.comments
            && comments.foot.is_empty()
        {
            comments.foot = std::mem::take(&mut comments.head);
        }
        Ok(event)
    }
}
