//! Single values and their types.

use std::borrow::Cow;

/// One typed value, borrowed from a document where it can be.
///
/// These are the types that sops distinguishes. Strings are bytes: `!!binary` in YAML may decode to anything.
#[derive(Clone, PartialEq)]
pub enum Scalar<'a> {
    /// `null`, `~`, or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(Cow<'a, [u8]>),
    /// A time stamp, in the form that Go's `time.RFC3339Nano` prints: `2006-01-02T15:04:05.999999999Z07:00`.
    Time(Cow<'a, str>),
}

/// A scalar's type, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarType {
    /// `null`.
    Null,
    /// A boolean.
    Bool,
    /// A whole number.
    Int,
    /// Any other number.
    Float,
    /// A string.
    Str,
    /// A time stamp.
    Time,
}

impl<'a> Scalar<'a> {
    /// A string scalar.
    pub fn str(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Str(match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// The type.
    pub const fn scalar_type(&self) -> ScalarType {
        match self {
            Self::Null => ScalarType::Null,
            Self::Bool(_) => ScalarType::Bool,
            Self::Int(_) => ScalarType::Int,
            Self::Float(_) => ScalarType::Float,
            Self::Str(_) => ScalarType::Str,
            Self::Time(_) => ScalarType::Time,
        }
    }

    /// The bytes, if it is a string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text, if it is a string of UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }
}

/// Shows the type and, of a string, nothing of its contents: a scalar may be a secret.
impl std::fmt::Debug for Scalar<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}(…)", self.scalar_type())
    }
}
