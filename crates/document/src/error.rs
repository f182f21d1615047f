//! What is wrong with a text, and where.

/// A text that cannot be read, or a change that cannot be written.
///
/// Prints as `line 3: duplicate key "a"`. Never quotes a value, only keys and positions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{kind}", self.position())]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The line it was seen on, from 1; `None` where the whole text or a path is meant.
    pub line: Option<u32>,
}

impl Error {
    pub(crate) fn at(line: u32, kind: ErrorKind) -> Self {
        Self { kind, line: Some(line) }
    }

    /// An error at a byte of `text`.
    pub(crate) fn in_text(text: &[u8], at: usize, kind: ErrorKind) -> Self {
        let before = &text[..at.min(text.len())];
        Self::at(u32::try_from(1 + memchr::memchr_iter(b'\n', before).count()).unwrap_or(u32::MAX), kind)
    }

    fn position(&self) -> String {
        self.line.map_or_else(String::new, |line| format!("line {line}: "))
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, line: None }
    }
}

/// What is wrong with a text or a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not a text of this syntax. The message is the parser's own and quotes no values.
    #[error("{0}")]
    Syntax(String),
    /// Bytes that are not UTF-8 where text must be.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// The same key twice in one map.
    #[error("duplicate key {0:?}")]
    DuplicateKey(String),
    /// Deeper, larger or with more nodes than [`Limits`](crate::Limits) allow.
    #[error("{0}")]
    Limit(String),
    /// The root is a list or a single value where a map must be.
    #[error("{0}")]
    Root(String),
    /// A key that is not a string.
    #[error("the key {0} is not a string; only string keys can be encrypted")]
    NonStringKey(String),
    /// A path that does not lead anywhere, or through a value of the wrong type.
    #[error("{0}")]
    Path(String),
    /// A value that this syntax has no form for.
    #[error("{0}")]
    Unrepresentable(String),
}
