//! Follows a path into an encrypted document.

use bulla_document::{Document, Kind, NodeId, Step};

use super::Error;
use super::cipher::is_sealed_comment;
use super::open::shown;

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To a node.
    Node(NodeId),
    /// Past what is there.
    Missing {
        /// The deepest node that is there: a map or a list to add to, or a single value to replace.
        at: NodeId,
        /// How many steps lead there.
        depth: usize,
    },
}

/// Follows `path` from the root of the first document, past the metadata. What sops makes of comments in lists is not counted.
///
/// # Errors
/// [`Error::Path`] for a key into a list, an index into a map, and into the metadata.
pub(super) fn resolve(document: &Document, metadata: &[NodeId], path: &[Step]) -> Result<Target, Error> {
    let Some(&root) = document.roots().first() else { return Err(Error::Empty) };
    let mut at = root;
    for (depth, step) in path.iter().enumerate() {
        let child = match (document.kind(at), step) {
            (Kind::Map, Step::Key(_)) => document.child(at, step),
            (Kind::Seq, Step::Index(index)) => items(document, at).nth(*index),
            (Kind::Map, Step::Index(index)) => {
                return Err(Error::Path(format!("{} is a map; it has no item {index}", shown(&path[..depth]))));
            }
            (Kind::Seq, Step::Key(key)) => {
                return Err(Error::Path(format!("{} is a list; it has no entry {key:?}", shown(&path[..depth]))));
            }
            (Kind::Scalar | Kind::Comment, _) => None,
        };
        match child {
            Some(child) if metadata.contains(&child) => {
                return Err(Error::Path("that is the file's metadata, which is not a value of it".to_owned()));
            }
            Some(child) => at = child,
            None => return Ok(Target::Missing { at, depth }),
        }
    }
    Ok(Target::Node(at))
}

/// The items of a list.
pub(super) fn items(document: &Document, list: NodeId) -> impl Iterator<Item = NodeId> {
    let is_comment = |id| {
        document.kind(id) == Kind::Comment
            || document.kind(id) == Kind::Scalar && document.scalar(id).as_bytes().is_some_and(is_sealed_comment)
    };
    document.children(list).filter(move |&id| !is_comment(id))
}
