//! Owned trees: what `set` writes, what metadata is built from, what a conversion between syntaxes goes through.

use bulla_core::SecretBytes;
use zeroize::Zeroizing;

use crate::{Error, Scalar, Syntax};

/// A tree of values that belongs to no text. Wiped on drop where it holds strings.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string (bytes: see [`Scalar::Str`]).
    Str(Zeroizing<Vec<u8>>),
    /// A time stamp (see [`Scalar::Time`]).
    Time(String),
    /// A list.
    Seq(Vec<Value>),
    /// A map, in order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(Zeroizing::new(text.into().into_bytes()))
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<Scalar<'_>> {
        Some(match self {
            Self::Null => Scalar::Null,
            Self::Bool(value) => Scalar::Bool(*value),
            Self::Int(value) => Scalar::Int(*value),
            Self::Float(value) => Scalar::Float(*value),
            Self::Str(value) => Scalar::Str(value.as_slice().into()),
            Self::Time(value) => Scalar::Time(value.as_str().into()),
            Self::Seq(_) | Self::Map(_) => return None,
        })
    }

    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find_map(|(k, v)| (k == key).then_some(v)),
            _ => None,
        }
    }
}

/// How a tree is written out.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmitOptions {
    /// Spaces for each level; `None` for the syntax' own default (YAML 4, JSON a tab).
    pub indent: Option<u8>,
}

impl From<Scalar<'_>> for Value {
    fn from(scalar: Scalar<'_>) -> Self {
        match scalar {
            Scalar::Null => Self::Null,
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Str(bytes) => Self::Str(Zeroizing::new(bytes.into_owned())),
            Scalar::Time(text) => Self::Time(text.into_owned()),
        }
    }
}

/// Shows the shape and no contents.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Seq(items) => f.debug_list().entries(items).finish(),
            Self::Map(entries) => f.debug_map().entries(entries.iter().map(|(k, v)| (k, v))).finish(),
            scalar => scalar.as_scalar().map_or(Ok(()), |scalar| scalar.fmt(f)),
        }
    }
}

/// Writes trees as a text of `syntax`, several as several YAML documents. For conversions and new files; a text that
/// exists is changed with a [`Patch`](crate::Patch) instead.
///
/// # Errors
/// [`ErrorKind::Unrepresentable`](crate::ErrorKind::Unrepresentable) for a tree the syntax has no form for.
pub fn emit(values: &[Value], syntax: Syntax, options: EmitOptions) -> Result<SecretBytes, Error> {
    match syntax {
        Syntax::Yaml => Ok(crate::yaml::emit(values, options)),
        Syntax::Json => crate::json::emit(values, options),
        Syntax::Dotenv => crate::dotenv::emit(values, options),
        Syntax::Ini => crate::ini::emit(values, options),
        Syntax::Toml => crate::toml::emit(values, options),
    }
}
