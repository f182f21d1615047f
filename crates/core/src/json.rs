//! JSON values as requests bring them and answers carry them.
//!
//! Three things differ from a general library. Numbers keep the digits they were written with, so that a value of 20 digits comes back as
//! it went in. Objects are sorted by key. And a value can be [`Value::Raw`]: text that was checked and made canonical when it was
//! written, and goes into an answer as it is. Reading a secret parses nothing.
//!
//! Values are secrets: `Debug` shows their kind alone.

use std::collections::BTreeMap;
use std::fmt;

mod parse;
mod print;
mod walk;

pub use parse::{Error, parse, parse_object, parse_request, parse_strict};
pub use walk::map_strings;

/// How deep the values of a request may be nested, as deep as nobody writes by hand and no parser's stack minds. What is answered or kept has them some levels
/// further down, and is read all the same.
pub const MAX_DEPTH: usize = 128;

/// How many entries a list or an object of a request may have.
pub const MAX_ENTRIES: usize = 10_000;
/// How many values a request may have.
pub const MAX_VALUES: usize = 100_000;
/// How long a string of a request may be, in bytes: as long as an entry of storage.
pub const MAX_STRING: usize = 1 << 20;

/// An object, sorted by key.
pub type Object = BTreeMap<String, Value>;

/// A JSON value.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, in the digits it was written with.
    Number(Box<str>),
    /// Text.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
    /// Canonical text of a value, from [`Value::to_vec`].
    Raw(Box<[u8]>),
}

impl Value {
    /// The text, compact and with sorted keys.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        print::value(self, &mut out);
        out
    }

    /// Appends the text to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        print::value(self, out);
    }

    /// What it holds as text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// What it holds, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The kind's name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
            Self::Raw(_) => "raw",
        }
    }
}

/// Text of an object, compact and with sorted keys.
pub fn object_to_vec(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    print::object(object, &mut out);
    out
}

/// Appends the text of an object to `out`.
pub fn write_object(object: &Object, out: &mut Vec<u8>) {
    print::object(object, out);
}

/// Appends a text as a JSON string to `out`.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    print::string(text, out);
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({})", self.kind())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

impl From<Object> for Value {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

macro_rules! from_integer {
    ($($integer:ty)*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Number(value.to_string().into())
            }
        }
    )*};
}

from_integer!(u8 u16 u32 u64 usize i32 i64);

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::Array(values.into_iter().map(Into::into).collect())
    }
}

impl From<&[String]> for Value {
    fn from(values: &[String]) -> Self {
        Self::Array(values.iter().map(|value| Self::String(value.clone())).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&BTreeMap<String, String>> for Value {
    fn from(values: &BTreeMap<String, String>) -> Self {
        Self::Object(values.iter().map(|(key, value)| (key.clone(), Self::String(value.clone()))).collect())
    }
}

/// An [`Object`] from keys and what becomes a [`Value`].
#[macro_export]
macro_rules! object {
    ($($key:tt : $value:expr),* $(,)?) => {
        $crate::json::Object::from([$(($key.to_owned(), $crate::json::Value::from($value))),*])
    };
}

#[cfg(test)]
mod tests;
