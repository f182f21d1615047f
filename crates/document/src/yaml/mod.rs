//! YAML, as sops reads it with `go.yaml.in/yaml/v3` (3.0.4, the version in sops 3.11 to 3.13).
//!
//! sops' MAC and the associated data of its values depend on the tree that yaml.v3 makes of a text: types, order, what aliases
//! stand for, and in which map or list a comment is. So this is a reader of yaml.v3's language, which is no YAML 1.2:
//! [`scan`] and [`events`] follow libyaml's grammar with yaml.v3's comments, [`resolve`] its mix of YAML 1.1 and 1.2 types,
//! [`tree`] and [`finish`] the order in which `stores/yaml/store.go` of sops lists entries and comments. The program in
//! `tests/interop/yaml-oracle` answers what yaml.v3 and sops see; the tests compare many texts with its answers. Why there is a
//! parser of our own stands in `docs/decisions/yaml-parser.md`.
//!
//! Where it is stricter on purpose:
//! - A key that stands twice, a value that its tag does not fit, too many aliases, a map or list as a key: refused in every
//!   document; sops looks at the first only. Keys that are equal only once an alias is followed count as the same.
//! - A whole number between 2^63 and 2^64 as a value: refused; sops has no type for it and stops later. Other keys that are no
//!   strings are marked ([`Document::has_non_string_key`]), but those marked `!!binary` are refused.
//! - An alias as a whole document, UTF-16, a second byte order mark: refused.
//! - Deeper than [`Limits::depth`]: refused; yaml.v3 goes to 10 000 levels.
//!
//! Where it sees more: yaml.v3 loses some comments (behind a `[`, behind a directive, a second foot of one entry), and sops drops
//! them from the file. Here the text stays, so such a comment is a node at its document's end: it is encrypted like any other.
//!
//! What a change replaces, a node's *span*: a value from its tag on, without the anchor before it; a block up to its last
//! line break; of a value of which nothing is written, the empty place behind the `:` or `-`; of a comment, the text behind `#`. A
//! comment within a value's span (behind the header of a block, between a tag and its value) goes with the value.

mod add;
mod around;
mod chars;
mod comment_out;
mod emit;
mod events;
mod finish;
mod literal;
mod remove;
mod render;
mod replace;
mod resolve;
mod scan;
mod style;
mod tag;
mod text;
mod time;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use bulla_core::SecretBytes;

pub(crate) use add::{insert, push};
pub(crate) use emit::emit;
pub(crate) use remove::remove;
pub(crate) use render::{custom_tag, render_scalar, restores};
pub(crate) use replace::set_value;

use crate::{Document, Error, ErrorKind, Limits, Syntax};

/// See [`Document::parse`].
pub(crate) fn parse(text: SecretBytes, limits: &Limits) -> Result<Document, Error> {
    if text.len() > limits.bytes.min(u32::MAX as usize - 16) {
        return Err(ErrorKind::Limit(format!("the text is longer than {} bytes", limits.bytes)).into());
    }
    chars::check(text.expose())?;
    let tree = tree::build(text.expose(), limits)?;
    if tree.roots.is_empty() && !text.is_empty() {
        return Err(ErrorKind::Root("there is no value in the text".into()).into());
    }
    let (has_aliases, has_alias_as_key) = (tree.has_aliases, tree.has_alias_as_key);
    let (nodes, roots) = finish::finish(tree, limits)?;
    Ok(Document { has_aliases, has_alias_as_key, ..Document::new(Syntax::Yaml, text, nodes, roots) })
}
