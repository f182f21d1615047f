//! Runs a template: nodes are walked, text is written, each step is paid for.

use crate::Template;
use crate::ast::{Branch, BranchKind, Name, Node, Range, Sets, Span};
use crate::error::{ExecError, ExecErrorKind, Failure, Limit};
use crate::limits::{Limits, Meter};
use crate::print;
use crate::text::Buf;
use crate::value::Value;

/// The name of `$`.
const ROOT: Name = 0;
/// How many variables are passed in a step, on the way to the one that is meant.
const VARIABLES_A_STEP: u64 = 32;

pub(crate) struct Exec<'t> {
    pub template: &'t Template,
    /// The name of the template in it that is run.
    pub name: &'t str,
    pub meter: Meter,
    out: Buf,
    pub variables: Vec<(Name, Value)>,
    depth: usize,
}

/// Where a block ends.
enum Flow {
    Next,
    Break,
    Continue,
}

impl Flow {
    fn is_break(&self) -> bool {
        matches!(self, Self::Break)
    }
}

pub(crate) type Result<T> = std::result::Result<T, Box<ExecError>>;

impl<'t> Exec<'t> {
    /// Runs the template of this name.
    pub fn run(template: &'t Template, name: &'t str, nodes: &'t [Node], data: &Value, limits: &Limits) -> Result<Buf> {
        let mut exec = Self {
            template,
            name,
            meter: Meter::new(*limits),
            out: Buf::new(limits.output),
            variables: vec![(ROOT, data.clone())],
            depth: 0,
        };
        exec.list(data, nodes)?;
        Ok(exec.out)
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow> {
        for node in nodes {
            let flow = self.node(dot, node)?;
            if !matches!(flow, Flow::Next) {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow> {
        match node {
            Node::Text(span) => {
                self.step(*span)?;
                self.out.push(&self.template.text.as_bytes()[span.start..span.end]);
                self.written(*span)?;
            }
            Node::Action(pipe) => {
                let value = self.pipeline(dot, pipe)?;
                if pipe.names.is_empty() {
                    let printed = print::value(&value, &mut self.out, &mut self.meter);
                    printed.map_err(|limit| self.limit(pipe.span, limit))?;
                    self.written(pipe.span)?;
                }
            }
            Node::Branch(branch) => return self.branch(dot, branch),
            Node::Range(range) => return self.range(dot, range),
            Node::Template { span, name, pipe } => {
                let Some((name, nodes)) = self.template.templates.get_key_value(name) else {
                    return Err(self.error(*span, format!("template {name:?} not defined")));
                };
                let dot = match pipe {
                    Some(pipe) => self.pipeline(dot, pipe)?,
                    None => Value::Missing,
                };
                self.deeper(*span)?;
                self.steps(*span, name.len() as u64 / 16)?;
                let outer = std::mem::replace(&mut self.variables, vec![(ROOT, dot.clone())]);
                let caller = std::mem::replace(&mut self.name, name);
                self.list(&dot, nodes)?;
                self.variables = outer;
                self.name = caller;
                self.depth -= 1;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow> {
        let outer = self.variables.len();
        let mut flow = None;
        for (pipe, body) in &branch.arms {
            self.deeper(pipe.span)?;
            let value = self.pipeline(dot, pipe)?;
            if value.truth() {
                let dot = if branch.kind == BranchKind::With { &value } else { dot };
                flow = Some(self.list(dot, body)?);
            }
            self.depth -= 1;
            if flow.is_some() {
                break;
            }
        }
        let flow = match flow {
            Some(flow) => flow,
            None => self.list(dot, &branch.otherwise)?,
        };
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, range: &'t Range) -> Result<Flow> {
        let outer = self.variables.len();
        let span = range.pipe.span;
        self.deeper(span)?;
        let value = self.pipeline(dot, &range.pipe)?;
        let inner = self.variables.len();
        let mut empty = true;
        let one_name = |exec: &Self| {
            if range.pipe.names.len() > 1 {
                return Err(exec.error(span, "cannot iterate over an integer with more than one variable"));
            }
            Ok(())
        };
        match &value {
            Value::Missing | Value::Nil => {}
            Value::Int(_) | Value::Int64(_) | Value::Uint8(_) | Value::Uint64(_) => {
                one_name(self)?;
                let end = match value {
                    Value::Uint64(end) => end,
                    _ => value.as_integer().and_then(|end| u64::try_from(end).ok()).unwrap_or(0),
                };
                for index in 0..end {
                    empty = false;
                    let element = integer_like(&value, index);
                    if self.iteration(range, inner, Value::Missing, &element)?.is_break() {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (index, element) in list.items.iter().enumerate() {
                    empty = false;
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if self.iteration(range, inner, index, element)?.is_break() {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                // The body may change it.
                let paid = self.meter.items(2 * map.len());
                paid.map_err(|limit| self.limit(span, limit))?;
                let entries: Vec<_> = map.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                for (key, element) in entries {
                    empty = false;
                    if self.iteration(range, inner, Value::Text(key), &element)?.is_break() {
                        break;
                    }
                }
            }
            other => return Err(self.error(span, format!("range can't iterate over a {}", other.type_name()))),
        }
        let flow = if empty { self.list(dot, &range.otherwise)? } else { Flow::Next };
        self.depth -= 1;
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn iteration(&mut self, range: &'t Range, inner: usize, index: Value, element: &Value) -> Result<Flow> {
        self.step(range.pipe.span)?;
        let pipe = &range.pipe;
        match (pipe.names.as_slice(), pipe.sets) {
            ([name], Sets::Assigns) => self.assign(pipe.span, *name, element.clone())?,
            ([first, second, ..], Sets::Assigns) => {
                self.assign(pipe.span, *first, index)?;
                self.assign(pipe.span, *second, element.clone())?;
            }
            ([_], Sets::Declares) => self.set_from_top(1, element.clone()),
            ([_, _, ..], Sets::Declares) => {
                self.set_from_top(1, element.clone());
                self.set_from_top(2, index);
            }
            ([], _) => {}
        }
        let flow = self.list(element, &range.body)?;
        self.variables.truncate(inner);
        Ok(flow)
    }

    fn set_from_top(&mut self, place: usize, value: Value) {
        if let Some(variable) = self.variables.iter_mut().rev().nth(place - 1) {
            variable.1 = value;
        }
    }

    /// Sets the last variable of this name.
    pub fn assign(&mut self, span: Span, name: Name, value: Value) -> Result<()> {
        let place = self.place(span, name)?;
        self.variables[place].1 = value;
        Ok(())
    }

    /// Adds a variable.
    pub fn declare(&mut self, span: Span, name: Name, value: Value) -> Result<()> {
        self.meter.items(1).map_err(|limit| self.limit(span, limit))?;
        self.variables.push((name, value));
        Ok(())
    }

    /// Where the last variable of this name is.
    pub fn place(&mut self, span: Span, name: Name) -> Result<usize> {
        let found = self.variables.iter().rposition(|(candidate, _)| *candidate == name);
        let Some(place) = found else {
            let name = self.template.variables.get(name as usize).map_or("", String::as_str);
            return Err(self.error(span, format!("undefined variable: {name}")));
        };
        self.steps(span, (self.variables.len() - place) as u64 / VARIABLES_A_STEP)?;
        Ok(place)
    }

    /// Takes one step.
    pub fn step(&mut self, span: Span) -> Result<()> {
        self.steps(span, 1)
    }

    /// Takes steps.
    pub fn steps(&mut self, span: Span, count: u64) -> Result<()> {
        self.meter.steps(count).map_err(|limit| self.limit(span, limit))
    }

    /// Goes one level deeper; the caller comes back up.
    pub fn deeper(&mut self, span: Span) -> Result<()> {
        self.depth += 1;
        if self.depth > self.meter.depth() {
            return Err(self.limit(span, Limit::Depth));
        }
        Ok(())
    }

    pub fn back(&mut self) {
        self.depth -= 1;
    }

    fn written(&self, span: Span) -> Result<()> {
        if self.out.is_full() { Err(self.limit(span, Limit::Output)) } else { Ok(()) }
    }

    pub fn limit(&self, span: Span, limit: Limit) -> Box<ExecError> {
        self.failure(span, ExecErrorKind::Limit(limit))
    }

    pub fn error(&self, span: Span, message: impl Into<String>) -> Box<ExecError> {
        self.failure(span, ExecErrorKind::Template(message.into()))
    }

    /// What a function's failure is to the caller of the template.
    pub fn refused(&self, span: Span, function: &str, failure: Failure) -> Box<ExecError> {
        let kind = match failure {
            Failure::Message(message) => {
                ExecErrorKind::Function { function: function.to_owned(), message: message.into_owned() }
            }
            Failure::Fail(message) => ExecErrorKind::Fail(crate::error::FailMessage(message)),
            Failure::Limit(limit) => ExecErrorKind::Limit(limit),
        };
        self.failure(span, kind)
    }

    fn failure(&self, span: Span, kind: ExecErrorKind) -> Box<ExecError> {
        let text = &self.template.text;
        let before = &text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let mut at: String = text[span.start..span.end].chars().take(60).collect();
        if at.len() < span.end - span.start {
            at.push('…');
        }
        Box::new(ExecError {
            file: self.template.name.clone(),
            name: self.name.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + span.start - line_start,
            at,
            kind,
        })
    }
}

/// An integer of the same type.
fn integer_like(like: &Value, index: u64) -> Value {
    match like {
        Value::Int64(_) => Value::Int64(index.cast_signed()),
        Value::Uint8(_) => Value::Uint8(u8::try_from(index).unwrap_or(u8::MAX)),
        Value::Uint64(_) => Value::Uint64(index),
        _ => Value::Int(index.cast_signed()),
    }
}
