//! Tokens to a tree, by the grammar of Go's `text/template/parse`.

use std::collections::{BTreeMap, HashMap};

use crate::ast::{Branch, BranchKind, Command, Expr, ExprKind, Name, Node, Number, Pipe, Range, Sets, Span};
use crate::error::ParseError;
use crate::functions::{Functions, Missing};
use crate::lex::{Keyword, Kind, Token, lex};
use crate::literal;
use crate::text::Text;

/// How deep actions and parentheses may be nested in a template's text.
const DEPTH: usize = 60;

/// What a template's text comes to.
pub(crate) struct Parsed {
    /// The templates by name: the text itself and what it defines.
    pub templates: BTreeMap<String, Vec<Node>>,
    /// The names of variables; the first is `$`.
    pub variables: Vec<String>,
}

/// Parses a template.
pub(crate) fn parse(name: &str, text: &str, left: &str, right: &str, functions: &Functions) -> Result<Parsed> {
    let tokens = lex(text, left, right);
    let mut parser = Parser {
        name,
        text,
        functions,
        tokens,
        at: 0,
        scope: Scope::default(),
        depth: 0,
        action_line: 0,
        variables: Variables::default(),
        templates: BTreeMap::new(),
    };
    parser.variables.name("$");
    parser.root()?;
    Ok(Parsed { templates: parser.templates, variables: parser.variables.names })
}

struct Parser<'t> {
    name: &'t str,
    text: &'t str,
    functions: &'t Functions,
    tokens: Vec<Token>,
    at: usize,
    scope: Scope,
    depth: usize,
    /// The line in which the present action starts; 0 outside.
    action_line: usize,
    variables: Variables,
    templates: BTreeMap<String, Vec<Node>>,
}

/// What a template sees of its surroundings: nothing of another's.
#[derive(Default)]
struct Scope {
    /// Variables that are declared here, beside `$`.
    declared: Vec<Name>,
    ranges: usize,
}

#[derive(Default)]
struct Variables {
    names: Vec<String>,
    index: HashMap<String, Name>,
}

impl Variables {
    fn name(&mut self, name: &str) -> Name {
        if let Some(&found) = self.index.get(name) {
            return found;
        }
        let new = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), new);
        new
    }
}

/// What ends a list of nodes.
enum Stop {
    End,
    /// After `{{else}}`, or before the `if` or `with` of `{{else if …`.
    Else,
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'t> Parser<'t> {
    /// The whole text, in which alone templates are defined.
    fn root(&mut self) -> Result<()> {
        let mut nodes = Vec::new();
        loop {
            match self.peek().kind {
                Kind::End => break,
                Kind::LeftDelim if self.after_space(self.at + 1).kind == Kind::Keyword(Keyword::Define) => {
                    self.next();
                    self.next_non_space();
                    self.definition()?;
                }
                _ => match self.text_or_action()? {
                    Item::Node(node) => nodes.push(node),
                    Item::Stop(Stop::End) => return Err(self.error("unexpected {{end}}")),
                    Item::Stop(Stop::Else) => return Err(self.error("unexpected {{else}}")),
                },
            }
        }
        self.add(self.name.to_owned(), nodes)
    }

    /// After `define`.
    fn definition(&mut self) -> Result<()> {
        const CONTEXT: &str = "define clause";
        let name = self.template_name(CONTEXT)?;
        self.expect_right(CONTEXT)?;
        let outer = std::mem::take(&mut self.scope);
        let (nodes, stop) = self.list()?;
        self.scope = outer;
        if let Stop::Else = stop {
            return Err(self.error("unexpected {{else}} in define clause"));
        }
        self.add(name, nodes)
    }

    /// A template that is empty but for space gives way to another of the same name.
    fn add(&mut self, name: String, nodes: Vec<Node>) -> Result<()> {
        let text = self.text;
        let is_empty = |nodes: &[Node]| {
            nodes.iter().all(|node| matches!(node, Node::Text(span) if text[span.start..span.end].trim().is_empty()))
        };
        if self.templates.get(&name).is_some_and(|old| !is_empty(old)) {
            if is_empty(&nodes) {
                return Ok(());
            }
            return Err(self.error(format!("multiple definition of template {name:?}")));
        }
        self.templates.insert(name, nodes);
        Ok(())
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop)> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("blocks are nested too deeply"));
        }
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Stop(stop) => {
                    self.depth -= 1;
                    nodes.shrink_to_fit();
                    return Ok((nodes, stop));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Item> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(Span { start: token.start, end: token.end }))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    /// After the left delimiter.
    fn action(&mut self) -> Result<Item> {
        let Kind::Keyword(keyword) = self.peek_non_space().kind else {
            return Ok(Item::Node(Node::Action(self.pipeline("command", &Kind::RightDelim)?)));
        };
        let token = self.next_non_space();
        let node = match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => self.jump("break", Node::Break)?,
            Keyword::Continue => self.jump("continue", Node::Continue)?,
            Keyword::Else => {
                let next = self.peek_non_space().kind.clone();
                if !matches!(next, Kind::Keyword(Keyword::If | Keyword::With)) {
                    self.expect_right("else")?;
                }
                return Ok(Item::Stop(Stop::Else));
            }
            Keyword::End => {
                self.expect_right("end")?;
                return Ok(Item::Stop(Stop::End));
            }
            Keyword::If => self.branch(BranchKind::If)?,
            Keyword::With => self.branch(BranchKind::With)?,
            Keyword::Range => self.range()?,
            Keyword::Template => self.template(&token)?,
            Keyword::Define => return Err(self.unexpected(&token, "command")),
        };
        Ok(Item::Node(node))
    }

    fn jump(&mut self, name: &str, node: Node) -> Result<Node> {
        self.expect_right(&format!("{{{{{name}}}}}"))?;
        if self.scope.ranges == 0 {
            return Err(self.error(format!("{{{{{name}}}}} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    /// After `if` or `with`. What `else if` would nest in Go lies side by side here.
    fn branch(&mut self, kind: BranchKind) -> Result<Node> {
        let (context, keyword) = match kind {
            BranchKind::If => ("if", Keyword::If),
            BranchKind::With => ("with", Keyword::With),
        };
        let outer = self.scope.declared.len();
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let pipe = self.pipeline(context, &Kind::RightDelim)?;
            let (body, stop) = self.list()?;
            arms.push((pipe, body));
            if let Stop::End = stop {
                break;
            }
            if self.peek().kind == Kind::Keyword(keyword) {
                self.next();
                continue;
            }
            otherwise = self.last_list()?;
            break;
        }
        self.scope.declared.truncate(outer);
        Ok(Node::Branch(Branch { kind, arms, otherwise }))
    }

    fn range(&mut self) -> Result<Node> {
        let outer = self.scope.declared.len();
        let pipe = self.pipeline("range", &Kind::RightDelim)?;
        self.scope.ranges += 1;
        let (body, stop) = self.list()?;
        self.scope.ranges -= 1;
        let otherwise = if let Stop::Else = stop { self.last_list()? } else { Vec::new() };
        self.scope.declared.truncate(outer);
        Ok(Node::Range(Range { pipe, body, otherwise }))
    }

    /// After `{{else}}`.
    fn last_list(&mut self) -> Result<Vec<Node>> {
        let (nodes, stop) = self.list()?;
        match stop {
            Stop::End => Ok(nodes),
            Stop::Else => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn block(&mut self) -> Result<Node> {
        const CONTEXT: &str = "block clause";
        let start = self.peek_non_space().start;
        let name = self.template_name(CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, &Kind::RightDelim)?;
        let span = Span { start, end: pipe.span.end };
        let outer = std::mem::take(&mut self.scope);
        let (nodes, stop) = self.list()?;
        self.scope = outer;
        if let Stop::Else = stop {
            return Err(self.error("unexpected {{else}} in block clause"));
        }
        self.add(name.clone(), nodes)?;
        Ok(Node::Template { span, name, pipe: Some(pipe) })
    }

    fn template(&mut self, keyword: &Token) -> Result<Node> {
        const CONTEXT: &str = "template clause";
        let name = self.template_name(CONTEXT)?;
        let pipe = if self.peek_non_space().kind == Kind::RightDelim {
            self.next_non_space();
            None
        } else {
            Some(self.pipeline(CONTEXT, &Kind::RightDelim)?)
        };
        Ok(Node::Template { span: self.span_from(keyword.start), name, pipe })
    }

    fn template_name(&mut self, context: &str) -> Result<String> {
        let token = self.next_non_space();
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return Err(self.unexpected(&token, context));
        }
        let name = literal::string(self.source(&token)).ok_or_else(|| self.error("invalid syntax"))?;
        Ok(String::from_utf8_lossy(name.expose()).into_owned())
    }

    /// Up to and with `end`.
    fn pipeline(&mut self, context: &str, end: &Kind) -> Result<Pipe> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(self.error("expressions are nested too deeply"));
        }
        let start = self.peek_non_space().start;
        let (names, sets) = self.declarations(context)?;
        let mut commands = Vec::new();
        loop {
            let token = self.peek_non_space().clone();
            if token.kind == *end {
                self.next_non_space();
                break;
            }
            match token.kind {
                Kind::Bool
                | Kind::Char
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => commands.push(self.command()?),
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        // Most have one, where a vector that grows makes room for four.
        commands.shrink_to_fit();
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (stage, command) in commands.iter().enumerate().skip(1) {
            use ExprKind::{Bool, Dot, Nil, Number, Text};
            if matches!(command.word.kind, Bool(_) | Dot | Nil | Number(_) | Text(_)) {
                return Err(self.error(format!("non executable command in pipeline stage {}", stage + 1)));
            }
        }
        self.depth -= 1;
        let span = Span { start, end: commands.last().map_or(start, |command| command.span.end) };
        Ok(Pipe { span, names, sets, commands })
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declarations(&mut self, context: &str) -> Result<(Vec<Name>, Sets)> {
        let mut names = Vec::new();
        loop {
            let variable = self.peek_non_space().clone();
            if variable.kind != Kind::Variable {
                return Ok((names, Sets::Declares));
            }
            let place = self.at;
            self.next_non_space();
            let next = self.peek_non_space().clone();
            let sets = match next.kind {
                Kind::Declare => Some(Sets::Declares),
                Kind::Assign => Some(Sets::Assigns),
                Kind::Other if self.source(&next) == "," => None,
                _ => {
                    self.at = place;
                    return Ok((names, Sets::Declares));
                }
            };
            self.next_non_space();
            let name = self.variables.name(self.source(&variable));
            names.push(name);
            self.scope.declared.push(name);
            if let Some(sets) = sets {
                return Ok((names, sets));
            }
            if context != "range" || names.len() == 2 {
                return Err(self.error(format!("too many declarations in {context}")));
            }
            if !matches!(self.peek_non_space().kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                return Err(self.error("range can only initialize variables"));
            }
        }
    }

    /// Up to a `|`, which is taken, or what ends the pipeline, which is not.
    fn command(&mut self) -> Result<Command> {
        let start = self.peek_non_space().start;
        let mut words = Vec::new();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                words.push(operand);
            }
            let token = self.peek().clone();
            match token.kind {
                Kind::Space => {
                    self.next();
                    continue;
                }
                Kind::RightDelim | Kind::RightParen => {}
                Kind::Pipe => {
                    self.next();
                }
                _ => {
                    self.next();
                    return Err(self.unexpected(&token, "operand"));
                }
            }
            break;
        }
        let span = Span { start, end: words.last().map_or(start, |word| word.span.end) };
        let mut words = words.into_iter();
        let Some(word) = words.next() else { return Err(self.error("empty command")) };
        Ok(Command { span, word, args: words.collect() })
    }

    /// A term and the fields after it.
    fn operand(&mut self) -> Result<Option<Expr>> {
        let Some(term) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            let token = self.next();
            fields.push(Text::from(&self.source(&token)[1..]));
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        let span = self.span_from(term.span.start);
        let kind = match term.kind {
            ExprKind::Field(mut path) => {
                path.append(&mut fields);
                ExprKind::Field(path)
            }
            ExprKind::Variable(name, mut path) => {
                path.append(&mut fields);
                ExprKind::Variable(name, path)
            }
            ExprKind::Bool(_) | ExprKind::Text(_) | ExprKind::Number(_) | ExprKind::Nil | ExprKind::Dot => {
                let term = &self.text[term.span.start..term.span.end];
                return Err(self.error(format!("unexpected . after term {term:?}")));
            }
            kind => ExprKind::Chain(Box::new(Expr { span: term.span, kind }), fields),
        };
        Ok(Some(Expr { span, kind }))
    }

    fn term(&mut self) -> Result<Option<Expr>> {
        let place = self.at;
        let token = self.next_non_space();
        let source = self.source(&token);
        let kind = match token.kind {
            Kind::Identifier => ExprKind::Function(self.functions.find(source).map_err(|missing| {
                self.error(match missing {
                    Missing::Unknown => format!("function {source:?} not defined"),
                    Missing::LeftOut(why) => format!("function {source:?} not defined: {why}"),
                })
            })?),
            Kind::Dot => ExprKind::Dot,
            Kind::Nil => ExprKind::Nil,
            Kind::Variable => {
                let name = self.variables.name(source);
                if source != "$" && !self.scope.declared.contains(&name) {
                    return Err(self.error(format!("undefined variable {source:?}")));
                }
                ExprKind::Variable(name, Vec::new())
            }
            Kind::Field => ExprKind::Field(vec![Text::from(&source[1..])]),
            Kind::Bool => ExprKind::Bool(source == "true"),
            Kind::Char => {
                let c = literal::character(source).map_err(|message| self.error(message))?;
                let code = u32::from(c);
                ExprKind::Number(Number {
                    int: Some(code.into()),
                    uint: Some(code.into()),
                    float: Some(code.into()),
                    is_float: false,
                })
            }
            Kind::Complex | Kind::Number => {
                ExprKind::Number(literal::number(source).map_err(|message| self.error(message))?)
            }
            Kind::LeftParen => ExprKind::Pipe(Box::new(self.pipeline("parenthesized pipeline", &Kind::RightParen)?)),
            Kind::String | Kind::RawString => {
                ExprKind::Text(literal::string(source).ok_or_else(|| self.error("invalid syntax"))?)
            }
            _ => {
                self.at = place;
                return Ok(None);
            }
        };
        Ok(Some(Expr { span: self.span_from(token.start), kind }))
    }

    fn expect_right(&mut self, context: &str) -> Result<()> {
        let token = self.next_non_space();
        if token.kind == Kind::RightDelim { Ok(()) } else { Err(self.unexpected(&token, context)) }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Steps over space.
    fn peek_non_space(&mut self) -> &Token {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
        self.peek()
    }

    fn next_non_space(&mut self) -> Token {
        self.peek_non_space();
        self.next()
    }

    /// The first token from `at` on that is no space, which stays.
    fn after_space(&self, at: usize) -> &Token {
        let last = self.tokens.len() - 1;
        let mut at = at.min(last);
        while at < last && self.tokens[at].kind == Kind::Space {
            at += 1;
        }
        &self.tokens[at]
    }

    /// From `start` to the end of the token before.
    fn span_from(&self, start: usize) -> Span {
        let before = self.at.min(self.tokens.len()).saturating_sub(1);
        Span { start, end: self.tokens[before].end.max(start) }
    }

    fn source(&self, token: &Token) -> &'t str {
        &self.text[token.start..token.end]
    }

    fn unexpected(&self, token: &Token, context: &str) -> ParseError {
        let what = match &token.kind {
            Kind::Error(message) => {
                let mut message = message.clone();
                if self.action_line != 0 && self.action_line != token.line {
                    let action = if message.ends_with(" action") { "" } else { " in action" };
                    message += &format!("{action} started at {}:{}", self.name, self.action_line);
                }
                return self.error(message);
            }
            Kind::End => "EOF".to_owned(),
            Kind::Keyword(_) => format!("<{}>", self.source(token)),
            _ => {
                let text = self.source(token);
                let short: String = text.chars().take(10).collect();
                if short.len() < text.len() { format!("{short:?}...") } else { format!("{short:?}") }
            }
        };
        self.error(format!("unexpected {what} in {context}"))
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        let token = &self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)];
        ParseError { name: self.name.to_owned(), line: token.line, message: message.into() }
    }
}

enum Item {
    Node(Node),
    Stop(Stop),
}
