//! Three-way merge of plaintexts: the tree decides what the outcome is, the lines decide whose bytes it has.
//!
//! A merge by lines keeps the comments and the layout of both sides, but it does not know what it merges. So its outcome is taken
//! only if it reads as the very tree that the merge by keys gives; otherwise theirs' changes are put into ours' text.

use bulla_core::SecretBytes;
use bulla_document::{Document, NodeId, Step, Value};
use bulla_format::sops::FileKind;
use diffy::MergeOptions;

use crate::git::conflict;
use crate::git::tree::{self, Change};

/// A length of markers that no text is likely to have.
const MARKER_LENGTH: usize = 31;

/// The outcome of a merge.
pub(crate) struct Merged {
    /// The merged text, conflicts as ours has them.
    pub(crate) text: SecretBytes,
    /// What both sides changed.
    pub(crate) conflict: Option<Conflict>,
}

/// What both sides changed.
pub(crate) struct Conflict {
    /// The merged text, conflicts as theirs has them.
    pub(crate) theirs: SecretBytes,
    /// Where: `a.b[0]`.
    pub(crate) paths: Vec<String>,
}

/// Merges three plaintexts of one kind. `base` is `None` where the file had no ancestor.
///
/// # Errors
/// What is wrong with a text. No plaintext is in it.
pub(crate) fn merge(
    kind: FileKind,
    base: Option<&SecretBytes>,
    ours: &SecretBytes,
    theirs: &SecretBytes,
) -> Result<Merged, String> {
    match kind {
        FileKind::Text(syntax) => {
            let parse = |side: &str, text: &SecretBytes| {
                Document::parse(syntax, text.clone()).map_err(|error| format!("{side}: {error}"))
            };
            let base = base.map(|base| parse("the common ancestor", base)).transpose()?;
            Ok(merge_documents(base.as_ref(), &parse("ours", ours)?, &parse("theirs", theirs)?))
        }
        FileKind::Binary => Ok(merge_lines(base, ours, theirs).unwrap_or_else(|| apart(ours.clone(), theirs.clone()))),
    }
}

fn merge_documents(base: Option<&Document>, ours: &Document, theirs: &Document) -> Merged {
    let (our_trees, their_trees) = (trees(ours), trees(theirs));
    let base_trees = base.map(trees);
    if our_trees.len() != their_trees.len() || base_trees.as_ref().is_some_and(|base| base.len() != our_trees.len()) {
        return merge_whole(base.zip(base_trees), (ours, our_trees), (theirs, their_trees));
    }
    let merges: Vec<tree::Merge> = (0..our_trees.len())
        .map(|at| tree::merge(base_trees.as_ref().map(|base| &base[at]), &our_trees[at], &their_trees[at]))
        .collect();
    let changes: Vec<Vec<Change>> = merges.iter().map(|merge| merge.changes.clone()).collect();
    let paths: Vec<String> =
        merges.iter().flat_map(|merge| merge.conflicts.iter().map(|conflict| conflict.path.clone())).collect();
    let as_theirs: Vec<Vec<Change>> = merges
        .into_iter()
        .map(|merge| [merge.changes, merge.conflicts.into_iter().map(|conflict| conflict.theirs).collect()].concat())
        .collect();
    let apply = |changes: &[Vec<Change>]| -> Vec<Value> {
        our_trees.iter().zip(changes).map(|(tree, changes)| tree::apply(tree.clone(), changes)).collect()
    };
    let wanted = apply(&changes);
    let wanted_as_theirs = apply(&as_theirs);

    let by_lines = merge_lines(base.map(Document::text), ours.text(), theirs.text());
    if let Some(merged) = by_lines {
        let theirs = merged.conflict.as_ref().map_or(&merged.text, |conflict| &conflict.theirs);
        if merged.conflict.is_none() == paths.is_empty()
            && reads_as(ours, &merged.text, &wanted)
            && reads_as(ours, theirs, &wanted_as_theirs)
        {
            let conflict = merged.conflict.map(|conflict| Conflict { paths, ..conflict });
            return Merged { conflict, ..merged };
        }
    }
    let both = || {
        let text = patched(ours, &changes, &wanted)?;
        let theirs = if paths.is_empty() { None } else { Some(patched(ours, &as_theirs, &wanted_as_theirs)?) };
        Ok::<_, String>((text, theirs))
    };
    // What cannot be written into ours (a value that an alias repeats) is for a person to write.
    let Ok((text, theirs)) = both() else { return apart(ours.text().clone(), theirs.text().clone()) };
    Merged { text, conflict: theirs.map(|theirs| Conflict { theirs, paths }) }
}

/// A different number of YAML documents: only a side that did not change gives way.
fn merge_whole(
    base: Option<(&Document, Vec<Value>)>,
    (ours, our_trees): (&Document, Vec<Value>),
    (theirs, their_trees): (&Document, Vec<Value>),
) -> Merged {
    let equal = |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| tree::same(a, b));
    match base {
        Some((_, base)) if equal(&base, &their_trees) => Merged { text: ours.text().clone(), conflict: None },
        Some((_, base)) if equal(&base, &our_trees) => Merged { text: theirs.text().clone(), conflict: None },
        _ => apart(ours.text().clone(), theirs.text().clone()),
    }
}

/// Both texts as they are, in conflict as a whole.
pub(crate) fn apart(ours: SecretBytes, theirs: SecretBytes) -> Merged {
    Merged { text: ours, conflict: Some(Conflict { theirs, paths: vec![tree::show(&[])] }) }
}

/// By lines. `None` if the texts have lines that look like the markers that are used meanwhile.
fn merge_lines(base: Option<&SecretBytes>, ours: &SecretBytes, theirs: &SecretBytes) -> Option<Merged> {
    let empty = SecretBytes::new();
    let base = base.unwrap_or(&empty);
    if [base, ours, theirs].iter().any(|text| conflict::has_markers(text.expose())) {
        return None;
    }
    let mut options = MergeOptions::new();
    options.set_conflict_marker_length(MARKER_LENGTH);
    match options.merge_bytes(base.expose(), ours.expose(), theirs.expose()) {
        Ok(text) => Some(Merged { text: SecretBytes::from(text), conflict: None }),
        Err(marked) => {
            let marked = SecretBytes::from(marked);
            let sides = conflict::unfold(marked.expose())?;
            let conflict = Conflict { theirs: sides.theirs, paths: vec![tree::show(&[])] };
            Some(Merged { text: sides.ours, conflict: Some(conflict) })
        }
    }
}

fn trees(document: &Document) -> Vec<Value> {
    document.roots().iter().map(|root| document.to_value(*root)).collect()
}

fn reads_as(like: &Document, text: &SecretBytes, wanted: &[Value]) -> bool {
    Document::parse(like.syntax(), text.clone()).is_ok_and(|document| {
        let trees = trees(&document);
        trees.len() == wanted.len() && trees.iter().zip(wanted).all(|(tree, wanted)| tree::same(tree, wanted))
    })
}

/// Ours' text with changes put in. The outcome is read again: what does not read as wanted is not given out.
fn patched(ours: &Document, changes: &[Vec<Change>], wanted: &[Value]) -> Result<SecretBytes, String> {
    let mut edit = ours.patch();
    for (root, changes) in ours.roots().iter().zip(changes) {
        for change in changes {
            let place = |path: &[Step]| find(ours, *root, path);
            match change {
                Change::Set(path, value) => edit.set_value(place(path)?, value),
                Change::Remove(path) => edit.remove(place(path)?),
                Change::Push(path, value) => edit.push(place(path)?, value),
                // Entries of one map go in together, below.
                Change::Insert(..) => Ok(()),
            }
            .map_err(|error| error.to_string())?;
        }
        for (path, entries) in insertions(changes) {
            edit.insert(find(ours, *root, path)?, &entries).map_err(|error| error.to_string())?;
        }
    }
    let text = edit.finish();
    if reads_as(ours, &text, wanted) {
        return Ok(text);
    }
    Err("it reads as another tree".to_owned())
}

/// Entries of a map.
type Entries = Vec<(String, Value)>;

/// The new entries, map by map.
fn insertions(changes: &[Change]) -> Vec<(&[Step], Entries)> {
    let mut maps: Vec<(&[Step], Entries)> = Vec::new();
    for change in changes {
        if let Change::Insert(path, key, value) = change {
            let entry = (key.clone(), value.clone());
            match maps.iter_mut().rev().find(|(map, _)| map == path) {
                Some((_, entries)) => entries.push(entry),
                None => maps.push((path, vec![entry])),
            }
        }
    }
    maps
}

fn find(document: &Document, root: NodeId, path: &[Step]) -> Result<NodeId, String> {
    document.find(root, path).ok_or_else(|| format!("{} is not there", tree::show(path)))
}
