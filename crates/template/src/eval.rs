//! Pipelines to values: commands, fields, variables, and calls with their arguments checked as Go checks them.

use crate::ast::{Command, Expr, ExprKind, Name, Number, Pipe, Sets, Span};
use crate::exec::{Exec, Result};
use crate::functions::{Args, Function, Param, Special};
use crate::methods;
use crate::options::MissingKey;
use crate::text::Text;
use crate::value::{Elem, Map, Value};

/// How many bytes are read in a step.
const BYTES_A_STEP: u64 = 16;

impl<'t> Exec<'t> {
    pub fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value> {
        self.deeper(pipe.span)?;
        let mut value: Option<Value> = None;
        for command in &pipe.commands {
            let result = self.command(dot, command, value.take())?;
            // An empty interface is what is in it: nothing.
            value = Some(if result.is_nil() { Value::Missing } else { result });
        }
        let value = value.unwrap_or(Value::Missing);
        for &name in &pipe.names {
            match pipe.sets {
                Sets::Declares => self.declare(pipe.span, name, value.clone())?,
                Sets::Assigns => self.assign(pipe.span, name, value.clone())?,
            }
        }
        self.back();
        Ok(value)
    }

    /// `last` is what comes through the pipe, the last argument.
    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value> {
        self.step(command.span)?;
        let word = &command.word;
        let has_args = !command.args.is_empty() || last.is_some();
        match &word.kind {
            ExprKind::Field(path) => self.path(dot, dot.clone(), word.span, path, &command.args, last),
            ExprKind::Chain(inner, path) => {
                let receiver = self.chained(dot, inner)?;
                self.path(dot, receiver, word.span, path, &command.args, last)
            }
            ExprKind::Function(function) => self.call(dot, function, command.span, &command.args, last),
            ExprKind::Variable(name, path) if !path.is_empty() => {
                let receiver = self.variable(word.span, *name)?;
                self.path(dot, receiver, word.span, path, &command.args, last)
            }
            _ if has_args => Err(self.error(word.span, "can't give argument to non-function")),
            ExprKind::Variable(name, _) => self.variable(word.span, *name),
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Err(self.error(word.span, "nil is not a command")),
            ExprKind::Number(number) => self.ideal(word.span, number),
            ExprKind::Text(text) => Ok(Value::Text(text.clone())),
        }
    }

    /// What stands before the fields of a chain.
    fn chained(&mut self, dot: &Value, inner: &'t Expr) -> Result<Value> {
        match &inner.kind {
            ExprKind::Nil => Err(self.error(inner.span, "indirection through explicit nil")),
            _ => self.operand(dot, inner),
        }
    }

    /// The value of an argument for which any type will do.
    fn operand(&mut self, dot: &Value, expr: &'t Expr) -> Result<Value> {
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Ok(Value::Nil),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Number(number) => self.ideal(expr.span, number),
            ExprKind::Text(text) => Ok(Value::Text(text.clone())),
            ExprKind::Field(path) => self.path(dot, dot.clone(), expr.span, path, &[], None),
            ExprKind::Variable(name, path) => {
                let value = self.variable(expr.span, *name)?;
                if path.is_empty() { Ok(value) } else { self.path(dot, value, expr.span, path, &[], None) }
            }
            ExprKind::Chain(inner, path) => {
                let receiver = self.chained(dot, inner)?;
                self.path(dot, receiver, expr.span, path, &[], None)
            }
            ExprKind::Function(function) => self.call(dot, function, expr.span, &[], None),
            ExprKind::Pipe(pipe) => self.pipeline(dot, pipe),
        }
    }

    fn variable(&mut self, span: Span, name: Name) -> Result<Value> {
        let place = self.place(span, name)?;
        Ok(self.variables[place].1.clone())
    }

    /// A number where no type is asked for: its spelling says which it is.
    fn ideal(&self, span: Span, number: &Number) -> Result<Value> {
        match (number.float, number.int) {
            (Some(float), _) if number.is_float => Ok(Value::Float(float)),
            (_, Some(int)) => Ok(Value::Int(int)),
            _ => Err(self.error(span, "the number overflows int")),
        }
    }

    /// `.a.b.c`, where the last may be a method with arguments.
    fn path(
        &mut self,
        dot: &Value,
        mut receiver: Value,
        span: Span,
        path: &'t [Text],
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        let Some((name, before)) = path.split_last() else { return Ok(receiver) };
        for name in before {
            receiver = self.field(dot, &receiver, span, name, &[], None)?;
        }
        self.field(dot, &receiver, span, name, args, last)
    }

    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        span: Span,
        name: &'t Text,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        self.steps(span, 1 + name.len() as u64 / BYTES_A_STEP)?;
        let shown = String::from_utf8_lossy(name.expose());
        match receiver {
            Value::Missing => {
                if self.template.missing_key == MissingKey::Error {
                    return Err(self.error(span, format!("nil data; no entry for key {shown:?}")));
                }
                Ok(Value::Missing)
            }
            Value::Nil => Err(self.error(span, format!("nil pointer evaluating interface {{}}.{shown}"))),
            Value::Map(map) => {
                if !args.is_empty() || last.is_some() {
                    return Err(self.error(span, format!("{shown} is not a method but has arguments")));
                }
                match (map.get(name.expose()), self.template.missing_key) {
                    (Some(value), _) => Ok(value),
                    (None, MissingKey::Default) => Ok(Value::Missing),
                    (None, MissingKey::Zero) => Ok(zero(map.elem())),
                    (None, MissingKey::Error) => Err(self.error(span, format!("map has no entry for key {shown:?}"))),
                }
            }
            receiver => {
                let Some(method) = methods::find(receiver, &shown) else {
                    let of = receiver.type_name();
                    return Err(self.error(span, format!("can't evaluate field {shown} in type {of}")));
                };
                self.run_function(dot, &method.function, &shown, span, args, last, vec![receiver.clone()])
            }
        }
    }

    fn call(
        &mut self,
        dot: &Value,
        function: &'t Function,
        span: Span,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        if function.special != Special::None {
            return self.short_circuit(dot, function, span, args, last);
        }
        self.run_function(dot, function, function.name, span, args, last, Vec::with_capacity(args.len() + 1))
    }

    /// `values` has a method's receiver in it; `shown` is what errors call the function.
    #[expect(clippy::too_many_arguments, reason = "a call has these parts")]
    fn run_function(
        &mut self,
        dot: &Value,
        function: &Function,
        shown: &str,
        span: Span,
        args: &'t [Expr],
        last: Option<Value>,
        mut values: Vec<Value>,
    ) -> Result<Value> {
        self.arguments(dot, function, span, args, last, &mut values)?;
        self.pay_for_reading(span, &values)?;
        let result = (function.run)(&mut self.meter, &Args(&values));
        result.map_err(|failure| self.refused(span, shown, failure))
    }

    /// Functions may look at each byte of their arguments, once: to compare, search or read them.
    fn pay_for_reading(&mut self, span: Span, values: &[Value]) -> Result<()> {
        let bytes: usize = values.iter().map(Value::text_len).sum();
        self.steps(span, bytes as u64 / BYTES_A_STEP)
    }

    /// `and` and `or` evaluate no more than they must.
    fn short_circuit(
        &mut self,
        dot: &Value,
        function: &'t Function,
        span: Span,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Result<Value> {
        if args.is_empty() && last.is_none() {
            return Err(self.error(span, format!("wrong number of args for {}: want at least 1 got 0", function.name)));
        }
        let mut value = Value::Missing;
        for arg in args {
            self.step(arg.span)?;
            value = self.operand(dot, arg)?;
            if value.truth() == (function.special == Special::Or) {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// Evaluates the arguments and checks their number and types. `values` may have a method's receiver in it.
    fn arguments(
        &mut self,
        dot: &Value,
        function: &Function,
        span: Span,
        args: &'t [Expr],
        last: Option<Value>,
        values: &mut Vec<Value>,
    ) -> Result<()> {
        let name = function.name;
        let count = args.len() + usize::from(last.is_some());
        let fixed = function.params.len();
        if function.rest.is_some() {
            if count < fixed {
                let message = format!("wrong number of args for {name}: want at least {fixed} got {count}");
                return Err(self.error(span, message));
            }
        } else if count != fixed {
            return Err(self.error(span, format!("wrong number of args for {name}: want {fixed} got {count}")));
        }
        let param = |index: usize| function.params.get(index).copied().or(function.rest).unwrap_or(Param::Any);
        for (index, arg) in args.iter().enumerate() {
            self.step(arg.span)?;
            let value = self.argument(dot, arg, param(index))?;
            values.push(value);
        }
        if let Some(last) = last {
            let value = self.checked(span, last, param(count - 1))?;
            values.push(value);
        }
        Ok(())
    }

    fn argument(&mut self, dot: &Value, arg: &'t Expr, param: Param) -> Result<Value> {
        let wrong = |exec: &Self, expected: &str| {
            let found = &exec.template.text[arg.span.start..arg.span.end];
            Err(exec.error(arg.span, format!("expected {expected}; found {found}")))
        };
        match (&arg.kind, param) {
            (ExprKind::Nil, Param::Any) => Ok(Value::Nil),
            (ExprKind::Nil, Param::Map) => Ok(Value::Map(Map::nil())),
            (ExprKind::Nil, Param::List) => Ok(Value::nil_list(Elem::Any)),
            (ExprKind::Nil, param) => Err(self.error(arg.span, format!("cannot assign nil to {}", param.type_name()))),
            (ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Text(_), Param::Any) => self.operand(dot, arg),
            (ExprKind::Bool(value), Param::Bool) => Ok(Value::Bool(*value)),
            (ExprKind::Text(text), Param::Text) => Ok(Value::Text(text.clone())),
            (ExprKind::Number(Number { int: Some(int), .. }), Param::Int) => Ok(Value::Int(*int)),
            (ExprKind::Number(Number { uint: Some(uint), .. }), Param::Uint32) => {
                // As Go sets an integer: what is too large loses its upper bits.
                Ok(Value::Uint64(uint & 0xffff_ffff))
            }
            (ExprKind::Number(Number { float: Some(float), .. }), Param::Float) => Ok(Value::Float(*float)),
            (ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::Text(_), param) => wrong(self, param.type_name()),
            _ => {
                let value = self.operand(dot, arg)?;
                self.checked(arg.span, value, param)
            }
        }
    }

    /// Whether a value can be given for a parameter.
    fn checked(&self, span: Span, value: Value, param: Param) -> Result<Value> {
        match (&value, param) {
            (Value::Missing | Value::Nil, Param::Any) => Ok(Value::Nil),
            (Value::Missing, Param::Map) => Ok(Value::Map(Map::nil())),
            (Value::Missing, Param::List) => Ok(Value::nil_list(Elem::Any)),
            (Value::Missing, param) => Err(self.error(span, format!("invalid value; expected {}", param.type_name()))),
            (_, Param::Any)
            | (Value::Text(_), Param::Text)
            | (Value::Int(_), Param::Int)
            | (Value::Bool(_), Param::Bool)
            | (Value::Float(_), Param::Float)
            | (Value::Time(_), Param::Time)
            | (Value::Version(_), Param::Version)
            | (Value::Certificate(_), Param::Certificate) => Ok(value),
            (Value::Map(map), Param::Map) if map.elem() == Elem::Any => Ok(value),
            (Value::List(list), Param::List) if list.elem == Elem::Any => Ok(value),
            _ => {
                let (expected, found) = (param.type_name(), value.type_name());
                Err(self.error(span, format!("wrong type for value; expected {expected}; got {found}")))
            }
        }
    }
}

/// The zero of a map's elements.
fn zero(elem: Elem) -> Value {
    match elem {
        Elem::Text => Value::text(""),
        _ => Value::Nil,
    }
}
