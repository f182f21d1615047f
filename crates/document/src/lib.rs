//! Documents that are edited in place: YAML, JSON, dotenv, INI and TOML, of which only the bytes of a changed value move.
//!
//! A [`Document`] is the user's text, kept whole, with a flat tree over it: each node knows the bytes that a
//! change of its value replaces. A [`Patch`] collects changes and splices them into a copy of the text. No text is ever
//! re-emitted from a tree, so comments, quoting, indentation, anchors and line ends stay the user's own.
//!
//! Which types and which tree a text stands for follows what sops sees in it, because its MAC depends on it; where a syntax
//! differs from its specification for that reason, the syntax' module says so.
//!
//! Parsers do no I/O, never panic on input, and are bounded by [`Limits`].

mod detect;
mod error;
mod lines;
mod lookup;
mod model;
mod number;
mod patch;
mod scalar;
mod sink;
mod value;

pub mod dotenv;
mod ini;
mod json;
#[cfg(test)]
mod testing;
mod toml;
mod yaml;

pub use detect::{detect, syntax_of_name};
pub use error::{Error, ErrorKind};
pub use model::{Document, Kind, Limits, NodeId, Step, Syntax};
pub use patch::Patch;
pub use scalar::{Scalar, ScalarType};
pub use value::{EmitOptions, Value, emit};
