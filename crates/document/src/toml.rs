//! TOML 1.1, which sops does not know (to it such a file is binary).
//!
//! Tokens and their order are `toml_parser`'s; which table a line belongs to is decided here, as `toml_edit` decides it.
//!
//! # The tree
//! Tables are maps, arrays and arrays of tables are lists, in the order in which they first appear. Lines of one table may
//! stand apart (`[a]`, `[b]`, `[a.c]`), so the order of the tree is not that of the text.
//!
//! Numbers, booleans and strings are what they are. A date-time with an offset is a [`Time`](crate::Scalar::Time) in its RFC 3339 form. Local
//! dates and times (and leap seconds, and more than nanoseconds) have no such form: they are strings of their text, and
//! [`restores`] answers `false`, so that whoever encrypts them keeps the source, which brings the type back.
//!
//! A comment stands before the entry or table it heads, or whose line it ends; those behind the last entry belong to
//! the root, so that they stay what they are when a table is added at the end.
//!
//! # Changes
//! Entries are added behind the last line of their table, tables at the end of the text, separated by a blank line that a
//! removal takes along. A map or list inside a table becomes an inline table or array.

mod build;
mod collection;
mod edit;
mod emit;
mod layout;
mod scalar;
mod tree;

use bulla_core::SecretBytes;

use crate::{Document, Error, ErrorKind, Limits, NodeId, Syntax};

pub(crate) use edit::{insert, push, remove, render_scalar, restores, set_value, settle};
pub(crate) use emit::emit;

pub(crate) fn parse(text: SecretBytes, limits: &Limits) -> Result<Document, Error> {
    let nodes = match std::str::from_utf8(text.expose()) {
        Err(invalid) => Err((invalid.valid_up_to(), ErrorKind::InvalidUtf8)),
        Ok(source) => build::nodes(source, limits),
    };
    match nodes {
        Ok(nodes) => Ok(Document::new(Syntax::Toml, text, nodes, vec![NodeId(0)])),
        Err((at, kind)) => Err(Error::in_text(text.expose(), at, kind)),
    }
}

/// What is wrong, and at which byte.
type Fault = (usize, ErrorKind);

/// How a node is written. Scalars: [`scalar::Style`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    /// A single value, or a comment.
    Scalar = 0,
    /// `[a]`, an element of `[[a]]`, or the root.
    Table = 10,
    /// A table that only the headers of tables below it name: `a` in `[a.b]`.
    Implicit = 11,
    /// A table that dotted keys make: `a` in `a.b = 1`.
    Dotted = 12,
    /// `{ … }`
    InlineTable = 13,
    /// All `[[a]]`.
    ArrayOfTables = 14,
    /// `[ … ]`
    Array = 15,
}

impl Form {
    fn of(style: u8) -> Self {
        match style {
            10 => Self::Table,
            11 => Self::Implicit,
            12 => Self::Dotted,
            13 => Self::InlineTable,
            14 => Self::ArrayOfTables,
            15 => Self::Array,
            _ => Self::Scalar,
        }
    }

    /// Whether it stands between brackets, its entries between commas.
    fn is_inline(self) -> bool {
        matches!(self, Self::InlineTable | Self::Array)
    }
}

/// The end of the line that `at` is in, its line end included.
fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |len| at + len + 1)
}

/// The start of the line that `at` is in.
fn line_start(text: &[u8], at: usize) -> usize {
    let start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |feed| feed + 1);
    // A byte order mark is no part of the line.
    if start == 0 { start_of(text).min(at) } else { start }
}

/// Where the text starts, behind a byte order mark.
fn start_of(text: &[u8]) -> usize {
    if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

#[cfg(test)]
mod tests;
