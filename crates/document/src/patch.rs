//! Changes of a document, spliced into a copy of its text.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bulla_core::SecretBytes;

use crate::{Document, Error, ErrorKind, Kind, NodeId, Scalar, Syntax, Value};

/// Changes of one document. Nothing happens to the document; [`finish`](Self::finish) gives the new text.
///
/// Each node may be changed once, and not below a node that is changed. Changes may come in any order; in document order
/// they cost least.
pub struct Patch<'d> {
    pub(crate) document: &'d Document,
    /// The replacement texts, one after the other.
    pub(crate) buffer: SecretBytes,
    pub(crate) splices: Vec<Splice>,
    /// Entries added to and removed from comma-separated collections, by collection: where commas stay is known at the end.
    pub(crate) entries: Vec<(NodeId, EntryChange)>,
    /// Whole lines that were taken out.
    pub(crate) lines: Vec<Range<usize>>,
    /// New sections in the buffer, and where they go.
    pub(crate) sections: Vec<(usize, Range<usize>)>,
    /// What was taken out: its key is free again.
    removed: HashSet<NodeId>,
    /// The last entry that was taken out of a map or list, and whether any before it stays: for the next one behind it.
    pub(crate) last_removed: HashMap<NodeId, (NodeId, bool)>,
}

/// A change of a comma-separated collection.
pub(crate) enum EntryChange {
    /// Adds the entry that stands here in the buffer.
    Add(Range<usize>),
    /// Takes the entry out.
    Remove(NodeId),
}

/// `range` of the old text becomes `with` of the buffer. Insertions at the same place stay in the order they were made.
pub(crate) struct Splice {
    pub(crate) range: Range<usize>,
    pub(crate) with: Range<usize>,
}

impl<'d> Patch<'d> {
    pub(crate) fn new(document: &'d Document) -> Self {
        Self {
            document,
            buffer: SecretBytes::new(),
            splices: Vec::new(),
            entries: Vec::new(),
            lines: Vec::new(),
            sections: Vec::new(),
            removed: HashSet::new(),
            last_removed: HashMap::new(),
        }
    }

    /// Replaces the value of a scalar, or the text of a comment, keeping its quoting where the new value allows.
    ///
    /// # Errors
    /// [`ErrorKind::Unrepresentable`] for a value that the syntax has no form for (a NUL byte in dotenv).
    pub fn set_scalar(&mut self, id: NodeId, value: &Scalar<'_>) -> Result<(), Error> {
        let start = self.buffer.len();
        match self.document.syntax {
            Syntax::Yaml => crate::yaml::render_scalar(self.document, id, value, &mut self.buffer)?,
            Syntax::Json => crate::json::render_scalar(self.document, id, value, &mut self.buffer)?,
            Syntax::Dotenv => crate::dotenv::render_scalar(self.document, id, value, &mut self.buffer)?,
            Syntax::Ini => crate::ini::render_scalar(self.document, id, value, &mut self.buffer)?,
            Syntax::Toml => crate::toml::render_scalar(self.document, id, value, &mut self.buffer)?,
        }
        self.splice(self.document.node(id).span.range(), start);
        Ok(())
    }

    /// Replaces the value's source text as it is, unchecked: what [`Document::source`] gave before.
    pub fn set_source(&mut self, id: NodeId, source: &[u8]) {
        self.replace(self.document.node(id).span.range(), source);
    }

    /// Replaces a node by a whole tree (or a scalar by a scalar, or an alias by what it stands for).
    ///
    /// # Errors
    /// [`ErrorKind::Unrepresentable`] for a tree that the syntax has no form for (a list in dotenv).
    pub fn set_value(&mut self, id: NodeId, value: &Value) -> Result<(), Error> {
        if let (Kind::Scalar, false, Some(scalar)) =
            (self.document.kind(id), self.document.is_alias(id), value.as_scalar())
        {
            return self.set_scalar(id, &scalar);
        }
        match self.document.syntax {
            Syntax::Yaml => crate::yaml::set_value(self, id, value),
            Syntax::Json => crate::json::set_value(self, id, value),
            Syntax::Dotenv => crate::dotenv::set_value(self, id, value),
            Syntax::Ini => crate::ini::set_value(self, id, value),
            Syntax::Toml => crate::toml::set_value(self, id, value),
        }
    }

    /// Adds entries at the end of a map (sections to INI's or TOML's root), in the style of what stands there.
    ///
    /// # Errors
    /// [`ErrorKind::Unrepresentable`] for a tree that the syntax has no form for, [`ErrorKind::Path`] if `map` is no map,
    /// [`ErrorKind::DuplicateKey`] for a key that is there already (and not removed by this patch).
    pub fn insert(&mut self, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
        if self.document.kind(map) != Kind::Map {
            return Err(ErrorKind::Path("an entry can be added to a map only".into()).into());
        }
        self.reject_duplicates(map, entries)?;
        match self.document.syntax {
            Syntax::Yaml => crate::yaml::insert(self, map, entries),
            Syntax::Json => crate::json::insert(self, map, entries),
            Syntax::Dotenv => crate::dotenv::insert(self, map, entries),
            Syntax::Ini => crate::ini::insert(self, map, entries),
            Syntax::Toml => crate::toml::insert(self, map, entries),
        }
    }

    /// Adds an item at the end of a list.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn push(&mut self, list: NodeId, value: &Value) -> Result<(), Error> {
        if self.document.kind(list) != Kind::Seq {
            return Err(ErrorKind::Path("an item can be added to a list only".into()).into());
        }
        match self.document.syntax {
            Syntax::Yaml => crate::yaml::push(self, list, value),
            Syntax::Json => crate::json::push(self, list, value),
            Syntax::Toml => crate::toml::push(self, list, value),
            Syntax::Dotenv | Syntax::Ini => Err(ErrorKind::Unrepresentable("this syntax has no lists".into()).into()),
        }
    }

    /// Takes an entry or an item out, with its key and its line's comment. What [`insert`](Self::insert) added comes out
    /// without a trace.
    ///
    /// # Errors
    /// [`ErrorKind::Path`] for a root.
    pub fn remove(&mut self, id: NodeId) -> Result<(), Error> {
        self.removed.insert(id);
        match self.document.syntax {
            Syntax::Yaml => crate::yaml::remove(self, id),
            Syntax::Json => crate::json::remove(self, id),
            Syntax::Dotenv => crate::dotenv::remove(self, id),
            Syntax::Ini => crate::ini::remove(self, id),
            Syntax::Toml => crate::toml::remove(self, id),
        }
    }

    /// The changed text. The cost is one copy of the text, whatever the number of changes.
    pub fn finish(mut self) -> SecretBytes {
        match self.document.syntax {
            Syntax::Json => crate::json::settle(&mut self),
            Syntax::Dotenv => crate::lines::settle(&mut self),
            Syntax::Ini => crate::ini::settle(&mut self),
            Syntax::Toml => crate::toml::settle(&mut self),
            Syntax::Yaml => {}
        }
        self.splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
        let text = self.document.text.expose();
        let replaced: usize = self.splices.iter().map(|splice| splice.range.len()).sum();
        let mut out = SecretBytes::with_capacity((text.len() + self.buffer.len()).saturating_sub(replaced));
        let mut copied = 0;
        for splice in &self.splices {
            // An overlap is a caller's mistake; the first change wins, so that the text stays whole.
            if splice.range.start < copied {
                continue;
            }
            out.extend_from_slice(&text[copied..splice.range.start]);
            out.extend_from_slice(&self.buffer.expose()[splice.with.clone()]);
            copied = splice.range.end;
        }
        out.extend_from_slice(&text[copied..]);
        out
    }

    /// Replaces a stretch of the text.
    pub(crate) fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(with);
        self.splice(range, start);
    }

    /// Replaces a stretch of the text by what stands in the buffer from `start` on.
    pub(crate) fn splice(&mut self, range: Range<usize>, start: usize) {
        self.splices.push(Splice { range, with: start..self.buffer.len() });
    }

    /// Appends a stretch of the buffer to the buffer.
    pub(crate) fn copy_in_buffer(&mut self, range: Range<usize>) {
        let start = self.buffer.len();
        self.buffer.resize(start + range.len());
        self.buffer.expose_mut().copy_within(range, start);
    }

    /// Whether this patch takes the entry out.
    pub(crate) fn is_removed(&self, id: NodeId) -> bool {
        self.removed.contains(&id)
    }

    fn reject_duplicates(&self, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
        let mut new = HashSet::with_capacity(entries.len());
        for (key, _) in entries {
            let old = self.document.child(map, &crate::Step::Key(key.clone()));
            if !new.insert(key.as_str()) || old.is_some_and(|old| !self.removed.contains(&old)) {
                return Err(ErrorKind::DuplicateKey(key.clone()).into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use crate::testing::{self, text_of};
    use crate::{Kind, Scalar, Syntax, Value};

    #[test]
    fn changes_may_come_in_any_order() {
        let entries: Vec<String> = (0..50_000).map(|at| format!("\"k{at}\": {at}")).collect();
        let text = format!("{{{}}}", entries.join(", "));
        let document = testing::parse(Syntax::Json, text.as_bytes());
        let values: Vec<_> =
            document.subtree(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Scalar).collect();
        let changed = |order: &mut dyn Iterator<Item = usize>| {
            let mut patch = document.patch();
            for at in order {
                patch.set_scalar(values[at], &Scalar::Bool(true)).unwrap();
            }
            text_of(&patch.finish())
        };
        let expected = changed(&mut (0..values.len()));
        assert_eq!(expected.matches("true").count(), 50_000);
        assert_eq!(changed(&mut (0..values.len()).rev()), expected);
        // 7 and 50 000 have no common factor, so each comes once.
        assert_eq!(changed(&mut (0..values.len()).map(|at| at * 7 % 50_000)), expected);
    }

    #[test]
    fn nothing_changed_is_the_same_text() {
        let document = testing::parse(Syntax::Json, b" {\"a\": 1}\n");
        assert_eq!(text_of(&document.patch().finish()), " {\"a\": 1}\n");
    }

    #[test]
    fn of_two_changes_of_one_place_the_first_is_made() {
        let document = testing::parse(Syntax::Json, b"{\"a\": [1], \"b\": 2}");
        let ids: Vec<_> = document.subtree(document.roots()[0]).collect();
        let mut patch = document.patch();
        patch.set_value(ids[1], &Value::Bool(true)).unwrap();
        patch.set_scalar(ids[2], &Scalar::Int(3)).unwrap();
        assert_eq!(text_of(&patch.finish()), "{\"a\": true, \"b\": 2}");
    }

    #[test]
    fn entries_go_into_maps_and_items_into_lists() {
        let document = testing::parse(Syntax::Json, b"{\"a\": [1], \"b\": 2}");
        let ids: Vec<_> = document.subtree(document.roots()[0]).collect();
        let entry = [("k".to_owned(), Value::Null)];
        let mut patch = document.patch();
        assert_eq!(patch.insert(ids[1], &entry).unwrap_err().to_string(), "an entry can be added to a map only");
        assert_eq!(patch.push(ids[0], &Value::Null).unwrap_err().to_string(), "an item can be added to a list only");
        assert_eq!(text_of(&patch.finish()), "{\"a\": [1], \"b\": 2}");
    }
}
