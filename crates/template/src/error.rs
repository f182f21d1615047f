//! What can go wrong, and where. No error shows what a value contains: only types, names and the template's own text.

use std::borrow::Cow;
use std::fmt;

use crate::text::Text;

/// A template that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}: {message}")]
pub struct ParseError {
    /// The template's name, as it was given.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// A template that cannot be executed with these data.
#[derive(Debug, thiserror::Error)]
#[error("template: {file}:{line}:{column}: executing {name:?} at <{at}>: {kind}")]
pub struct ExecError {
    /// The name that was given to the parser.
    pub file: String,
    /// The template in it that was executed: the same, or one that is defined inside.
    pub name: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
    /// The template's text at this place.
    pub at: String,
    /// What is wrong.
    pub kind: ExecErrorKind,
}

/// Why an execution ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecErrorKind {
    /// The template does what cannot be done: a missing key, a wrong type, …
    #[error("{0}")]
    Template(String),
    /// A function refused its arguments.
    #[error("error calling {function}: {message}")]
    Function {
        /// Its name.
        function: String,
        /// What it says.
        message: String,
    },
    /// The template called `fail`.
    #[error("error calling fail: the template asked to fail ({0})")]
    Fail(FailMessage),
    /// A limit was reached.
    #[error("{0}")]
    Limit(Limit),
}

/// What `fail` was called with. It is computed by the template and may contain secrets.
pub struct FailMessage(pub(crate) Text);

impl FailMessage {
    /// The message. **It may contain secrets**: not for logs, events or the status of an object.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }
}

impl fmt::Debug for FailMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailMessage({} bytes)", self.0.len())
    }
}

impl fmt::Display for FailMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its message of {} bytes is not shown, it may hold secrets", self.0.len())
    }
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// [`Limits::steps`](crate::Limits::steps).
    #[error("the template takes too long: it has used up its steps")]
    Steps,
    /// [`Limits::output`](crate::Limits::output).
    #[error("the output is too large")]
    Output,
    /// [`Limits::memory`](crate::Limits::memory).
    #[error("the template uses too much memory for its values")]
    Memory,
    /// [`Limits::depth`](crate::Limits::depth).
    #[error("templates, blocks or values are nested too deeply")]
    Depth,
}

/// Why a function gives no value.
pub enum Failure {
    /// It refuses its arguments. The message must not show their contents.
    Message(Cow<'static, str>),
    /// The template wants to end here, with a message of its own.
    Fail(Text),
    /// A limit was reached.
    Limit(Limit),
}

impl From<Limit> for Failure {
    fn from(limit: Limit) -> Self {
        Self::Limit(limit)
    }
}

impl From<&'static str> for Failure {
    fn from(message: &'static str) -> Self {
        Self::Message(message.into())
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message.into())
    }
}
