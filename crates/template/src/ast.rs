//! A parsed template.

use crate::functions::Function;
use crate::text::Text;

/// A place in the template's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub start: usize,
    pub end: usize,
}

/// The name of a variable, as an index into the template's list of names.
pub(crate) type Name = u32;

pub(crate) enum Node {
    /// Text that is printed as it stands.
    Text(Span),
    Action(Pipe),
    Branch(Branch),
    Range(Range),
    Template { span: Span, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

/// `if` or `with`, and what `else if` or `else with` add.
pub(crate) struct Branch {
    pub kind: BranchKind,
    pub arms: Vec<(Pipe, Vec<Node>)>,
    pub otherwise: Vec<Node>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BranchKind {
    If,
    With,
}

pub(crate) struct Range {
    pub pipe: Pipe,
    pub body: Vec<Node>,
    pub otherwise: Vec<Node>,
}

pub(crate) struct Pipe {
    pub span: Span,
    /// The variables it sets.
    pub names: Vec<Name>,
    pub sets: Sets,
    pub commands: Vec<Command>,
}

/// How a pipeline sets its variables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sets {
    /// `:=`
    Declares,
    /// `=`
    Assigns,
}

/// A word and its arguments.
pub(crate) struct Command {
    pub span: Span,
    pub word: Expr,
    pub args: Vec<Expr>,
}

pub(crate) struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

pub(crate) enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(Text),
    /// `.a.b`
    Field(Vec<Text>),
    /// `$x.a.b`
    Variable(Name, Vec<Text>),
    /// `(…).a.b`
    Chain(Box<Expr>, Vec<Text>),
    Function(Function),
    Pipe(Box<Pipe>),
}

/// A number literal, which is of whatever types can hold it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Number {
    pub int: Option<i64>,
    pub uint: Option<u64>,
    pub float: Option<f64>,
    /// Whether it is written as a float, so that where no type is asked for it is one.
    pub is_float: bool,
}
