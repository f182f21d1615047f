//! The configuration language of Vault's policies and server files: HCL, first version, or JSON of the same shape.
//!
//! ```text
//! body   = { item [","] }
//! item   = key { key } "{" body "}" | key "=" value
//! key    = identifier | string
//! value  = string | number | "true" | "false" | list | "{" body "}" | heredoc
//! list   = "[" [ value { "," value } [","] ] "]"
//! heredoc = "<<" ["-"] NAME newline { line } NAME
//! ```
//!
//! Comments begin with `#` or `//`, or stand in `/* */`. Strings escape as Go's do. Nothing is interpolated: `${` and `{{` are text.

mod json;
mod parse;

/// How deep blocks and lists may be nested.
const MAX_DEPTH: usize = 32;
/// How long a text may be, in bytes: as long as an entry of storage.
const MAX_TEXT: usize = 1 << 20;

/// What stands between braces.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// In the order they are written.
    pub items: Vec<Item>,
}

/// One entry: `a = value`, or `a "b" { … }`, which has the keys `a` and `b`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// One or more.
    pub keys: Vec<String>,
    /// What it is.
    pub value: Value,
    /// Where it begins, from 1.
    pub line: usize,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    String(String),
    /// A number as it is written.
    Number(String),
    /// True or false.
    Bool(bool),
    /// Some.
    List(Vec<Value>),
    /// A block.
    Body(Body),
}

/// Why a text is not of this language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("At {line}:{column}: {what}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// Reads a text. It is JSON if it begins with a brace.
///
/// # Errors
/// [`Error`] says where; also for a text that is longer than 1 MiB.
pub fn parse(text: &str) -> Result<Body, Error> {
    if text.len() > MAX_TEXT {
        let what = format!("the text is longer than the limit of {MAX_TEXT} bytes");
        return Err(Error { line: 1, column: 1, what });
    }
    if text.trim_start().starts_with('{') { json::parse(text) } else { parse::parse(text) }
}

impl Body {
    /// The items whose first key is `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Item> {
        self.items.iter().filter(move |item| item.keys.first().is_some_and(|first| first == key))
    }

    /// The value of `key`, if it is there as `key = value`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.items.iter().rfind(|item| item.keys.len() == 1 && item.keys[0] == key).map(|item| &item.value)
    }
}

impl Value {
    /// What it is as text: a string, a number, `true`, `false`.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::String(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::List(_) | Self::Body(_) => None,
        }
    }

    /// A list of texts; one text is a list of it.
    pub fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::List(values) => values.iter().map(Self::text).collect(),
            other => other.text().map(|text| vec![text]),
        }
    }
}

#[cfg(test)]
mod tests;
