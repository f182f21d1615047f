//! How a template is read.

use crate::functions::Functions;

/// What a key that a map has not is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingKey {
    /// Nothing, which prints as `<no value>`.
    #[default]
    Default,
    /// The zero of the map's elements: an empty string, where they are strings.
    Zero,
    /// An error.
    Error,
}

/// How a template is read.
#[derive(Clone)]
pub struct Options {
    /// What starts an action; `{{` unless it is changed.
    pub left: String,
    /// What ends an action; `}}` unless it is changed.
    pub right: String,
    /// What a key that a map has not is.
    pub missing_key: MissingKey,
    /// The functions that it can call.
    pub functions: Functions,
    /// The longest template, in bytes.
    pub text: usize,
}

/// Go's delimiters, a missing key is nothing, sprig's functions, up to 384 KiB.
impl Default for Options {
    fn default() -> Self {
        Self {
            left: "{{".to_owned(),
            right: "}}".to_owned(),
            missing_key: MissingKey::Default,
            functions: Functions::sprig(),
            text: 3 << 17,
        }
    }
}
