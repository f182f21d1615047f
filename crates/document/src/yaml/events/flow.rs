//! Flow collections: `[a, b]` and `{a: b}`.

use super::super::scan::TokenKind;
use super::{Event, EventKind, Layout, Parser, State};
use crate::Error;
use crate::model::Span;

impl Parser<'_> {
    pub(super) fn flow_seq_entry(&mut self, first: bool) -> Result<Event, Error> {
        let mut kind = self.peek()?;
        if kind != TokenKind::FlowSeqEnd {
            if !first {
                if kind != TokenKind::FlowEntry {
                    return self.fail("a ',' or ']' must stand here");
                }
                self.take();
                kind = self.peek()?;
            }
            if kind == TokenKind::Key {
                let (start, line) = self.token_start()?;
                self.state = State::PairKey;
                self.take();
                self.lead = Some(start);
                return Ok(Event {
                    kind: EventKind::MapStart(Layout::Pair),
                    lead: start,
                    span: Span { start, end: start },
                    line,
                    anchor: None,
                    tag: None,
                    comments: None,
                });
            }
            if kind != TokenKind::FlowSeqEnd {
                self.states.push(State::FlowSeqEntry);
                return self.node(false, false);
            }
        }
        Ok(self.flow_end(EventKind::SeqEnd))
    }

    pub(super) fn pair_key(&mut self) -> Result<Event, Error> {
        if !matches!(self.peek()?, TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowSeqEnd) {
            self.states.push(State::PairValue);
            return self.node(false, false);
        }
        // yaml.v3 takes this token, too, which makes `[? : a]` mean other things than it says.
        let event = self.empty();
        self.take();
        self.state = State::PairValue;
        Ok(event)
    }

    pub(super) fn pair_value(&mut self) -> Result<Event, Error> {
        if self.peek()? == TokenKind::Value {
            self.take();
            if !matches!(self.peek()?, TokenKind::FlowEntry | TokenKind::FlowSeqEnd) {
                self.states.push(State::PairEnd);
                return self.node(false, false);
            }
        }
        self.state = State::PairEnd;
        Ok(self.empty())
    }

    pub(super) fn flow_map_key(&mut self, first: bool) -> Result<Event, Error> {
        let mut kind = self.peek()?;
        if kind != TokenKind::FlowMapEnd {
            if !first {
                if kind != TokenKind::FlowEntry {
                    return self.fail("a ',' or '}' must stand here");
                }
                self.take();
                kind = self.peek()?;
            }
            if kind == TokenKind::Key {
                self.lead = Some(self.token_start()?.0);
                self.take();
                if matches!(self.peek()?, TokenKind::Value | TokenKind::FlowEntry | TokenKind::FlowMapEnd) {
                    self.state = State::FlowMapValue;
                    return Ok(self.empty());
                }
                self.states.push(State::FlowMapValue);
                return self.node(false, false);
            }
            if kind != TokenKind::FlowMapEnd {
                self.states.push(State::FlowMapEmptyValue);
                return self.node(false, false);
            }
        }
        Ok(self.flow_end(EventKind::MapEnd))
    }

    pub(super) fn flow_map_value(&mut self) -> Result<Event, Error> {
        if self.peek()? == TokenKind::Value {
            self.take();
            if !matches!(self.peek()?, TokenKind::FlowEntry | TokenKind::FlowMapEnd) {
                self.states.push(State::FlowMapKey);
                return self.node(false, false);
            }
        }
        self.state = State::FlowMapKey;
        Ok(self.empty())
    }

    pub(super) fn flow_end(&mut self, kind: EventKind) -> Event {
        self.pop_state();
        let comments = self.take_comments();
        self.take();
        Event { comments, ..self.end_event(kind) }
    }
}
