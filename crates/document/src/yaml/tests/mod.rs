//! YAML's tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "a test's own texts")]
#![allow(clippy::disallowed_methods, reason = "a test's own files")]

mod differential;
mod edits;
mod generate;
mod hostile;
mod oracle;

use crate::{Document, Error, Limits, Syntax};
use bulla_core::SecretBytes;

fn parse(text: &[u8]) -> Result<Document, Error> {
    Document::parse_within(Syntax::Yaml, SecretBytes::from(text), &Limits::default())
}
