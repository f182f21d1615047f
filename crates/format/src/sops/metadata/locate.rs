//! Where the metadata stands in a document.

use bulla_document::{Document, Kind, NodeId, Syntax, Value};

use super::{Extra, Metadata, flat, read};
use crate::sops::Error;

/// The key of the map, or the section's name.
pub(super) const KEY: &str = "sops";
/// What flattened entries begin with in dotenv.
pub(super) const PREFIX: &str = "sops_";

/// The metadata and where it stands.
pub(in crate::sops) struct Located {
    pub(in crate::sops) metadata: Metadata,
    pub(in crate::sops) extra: Extra,
    /// The entries of roots that hold it, in document order.
    pub(in crate::sops) nodes: Vec<NodeId>,
}

/// Finds and reads the metadata of a document.
///
/// # Errors
/// [`Error::MetadataNotFound`], [`Error::Metadata`].
pub(in crate::sops) fn locate(document: &Document) -> Result<Located, Error> {
    let nodes = nodes(document);
    let first = *nodes.first().ok_or(Error::MetadataNotFound)?;
    let tree = match document.syntax() {
        Syntax::Dotenv => flat::unflatten(nodes.iter().map(|&node| {
            let name = document.key(node).and_then(|key| key.strip_prefix(PREFIX)).unwrap_or_default();
            (name.to_owned(), document.to_value(node))
        }))?,
        Syntax::Ini => {
            let Value::Map(entries) = document.to_value(first) else {
                return Err(super::bad("\"sops\" is not a section"));
            };
            flat::unflatten(entries.into_iter().map(|(name, value)| (name, unescaped(value))))?
        }
        _ => {
            // sops reads the first document's and leaves the others' out of the tree.
            if document.roots().first() != document.parent(first).as_ref() {
                return Err(Error::MetadataNotFound);
            }
            document.to_value(first)
        }
    };
    let (metadata, extra) = read::metadata(tree)?;
    Ok(Located { metadata, extra, nodes })
}

/// The entries of roots that hold metadata, or would be taken for it.
pub(in crate::sops) fn nodes(document: &Document) -> Vec<NodeId> {
    let is_metadata = |key: &str| match document.syntax() {
        Syntax::Dotenv => key.starts_with(PREFIX),
        _ => key == KEY,
    };
    let entries = document.roots().iter().flat_map(|&root| document.children(root));
    entries
        .filter(|&entry| document.kind(entry) != Kind::Comment && document.key(entry).is_some_and(is_metadata))
        .collect()
}

/// INI's metadata has the two characters `\n` for a line end.
fn unescaped(value: Value) -> Value {
    match value {
        Value::Str(bytes) => Value::str(String::from_utf8_lossy(&bytes).replace("\\n", "\n")),
        other => other,
    }
}
