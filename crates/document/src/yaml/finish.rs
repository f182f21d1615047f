//! From the nodes of the text to the nodes of the document: comments in sops' order, and what aliases repeat.
//!
//! The order is that of sops' store: above an entry its key's head and line comments, then (for a single value) the value's;
//! below it the value's foot and the key's. A map's or list's own comments stand inside it, those of a list's item around
//! it. Below an alias stands what it repeats, with the comments that are its own.

use super::style::LOST;
use super::tree::{Note, Place, Tree, clone_text, clone_value};
use crate::model::{Node, NodeValue, Span, Text};
use crate::{Error, ErrorKind, Kind, Limits, NodeId};

pub(super) fn finish(tree: Tree, limits: &Limits) -> Result<(Vec<Node>, Vec<NodeId>), Error> {
    let Tree { nodes, mut notes, aliases, roots, seen_comments, .. } = tree;
    if seen_comments.is_empty() && aliases.is_empty() {
        return Ok((nodes, roots.iter().map(|&(root, _)| NodeId(root)).collect()));
    }
    find_lost(&mut notes, &seen_comments, &roots);
    notes.sort_by_key(|note| (note.node, note.place));
    let mut finisher = Finisher {
        out: Vec::with_capacity(nodes.len() + notes.len()),
        nodes: &nodes,
        notes: &notes,
        aliases: &aliases,
        limits,
        cursor: 0,
        work: 0,
        repeated: 0,
    };
    let mut new_roots = Vec::with_capacity(roots.len());
    for &(root, _) in &roots {
        let new = finisher.next_index()?;
        new_roots.push(NodeId(new));
        finisher.copy(root..nodes[root as usize].end, None, 0)?;
    }
    Ok((finisher.out, new_roots))
}

/// Adds the comments that belong to nothing to the document they stand in.
fn find_lost(notes: &mut Vec<Note>, seen: &[Span], roots: &[(u32, u32)]) {
    notes.retain(|note| note.place != Place::Lost);
    if notes.len() == seen.len() {
        return;
    }
    let mut kept: Vec<u32> = notes.iter().map(|note| note.span.start).collect();
    kept.sort_unstable();
    for line in seen {
        let span = Span { start: line.start + 1, end: line.end };
        if kept.binary_search(&span.start).is_err() {
            let after = roots.partition_point(|&(_, start)| start <= span.start);
            if let Some(&(node, _)) = roots.get(after.saturating_sub(1)) {
                notes.push(Note { node, place: Place::Lost, span });
            }
        }
    }
}

struct Finisher<'a> {
    out: Vec<Node>,
    nodes: &'a [Node],
    notes: &'a [Note],
    aliases: &'a [(u32, u32)],
    limits: &'a Limits,
    /// The first note of the node that comes next in the text.
    cursor: usize,
    /// How many nodes and keys were made, and how many of them by aliases.
    work: u64,
    repeated: u64,
}

/// The notes of one node.
type Notes = std::ops::Range<usize>;

/// A collection that is being copied.
struct Open {
    old: u32,
    notes: Notes,
    new: u32,
    end: u32,
}

impl Finisher<'_> {
    /// Copies the nodes of `range` below `parent`. Within an alias (`depth` levels below the root) what is copied is
    /// virtual.
    fn copy(&mut self, range: std::ops::Range<u32>, parent: Option<u32>, depth: usize) -> Result<(), Error> {
        let is_virtual = parent.is_some();
        let mut open: Vec<Open> = Vec::new();
        let mut next = range.start;
        loop {
            while let Some(last) = open.pop_if(|last| last.end <= next) {
                let above = open.last().map(|above| above.new).or(parent);
                self.close(&last, above, is_virtual)?;
            }
            if next >= range.end {
                return Ok(());
            }
            let old = &self.nodes[next as usize];
            let above = open.last().map(|above| above.new).or(parent);
            let notes = self.notes_of(next, is_virtual);
            let is_item = old.key.is_none() && above.is_some();
            let is_single = old.kind == Kind::Scalar || old.is_alias;
            if let Some(above) = above {
                let around: &[Place] = match (is_item, is_single) {
                    (true, _) => &[Place::Head, Place::Line],
                    (false, true) => &[Place::KeyHead, Place::KeyLine, Place::Head, Place::Line],
                    (false, false) => &[Place::KeyHead, Place::KeyLine],
                };
                self.comments(&notes, around, above, is_virtual)?;
            }
            let new = self.push(old, above, is_virtual)?;
            if is_single {
                if old.is_alias && old.kind != Kind::Scalar {
                    self.repeat(next, new, depth + open.len() + 1)?;
                }
                if let Some(above) = above {
                    self.comments(&notes, &[Place::Foot, Place::KeyFoot], above, is_virtual)?;
                }
                next += 1;
                continue;
            }
            let inside: &[Place] = match above {
                None => &[Place::KeyHead, Place::KeyLine, Place::Head, Place::Line],
                Some(_) if is_item => &[],
                Some(_) => &[Place::Head, Place::Line],
            };
            self.comments(&notes, inside, new, is_virtual)?;
            open.push(Open { old: next, notes, new, end: old.end });
            next += 1;
        }
    }

    fn close(&mut self, last: &Open, above: Option<u32>, is_virtual: bool) -> Result<(), Error> {
        let is_item = self.nodes[last.old as usize].key.is_none() && above.is_some();
        let inside: &[Place] = match above {
            None => &[Place::Foot, Place::KeyFoot, Place::Lost],
            Some(_) if is_item => &[],
            Some(_) => &[Place::Foot],
        };
        self.comments(&last.notes, inside, last.new, is_virtual)?;
        let end = self.next_index()?;
        self.out[last.new as usize].end = end;
        match above {
            Some(above) if is_item => self.comments(&last.notes, &[Place::Foot], above, is_virtual),
            Some(above) => self.comments(&last.notes, &[Place::KeyFoot], above, is_virtual),
            None => Ok(()),
        }
    }

    /// Puts what an alias stands for below it.
    fn repeat(&mut self, alias: u32, new: u32, depth: usize) -> Result<(), Error> {
        let Ok(found) = self.aliases.binary_search_by_key(&alias, |&(alias, _)| alias) else { return Ok(()) };
        let target = self.aliases[found].1;
        if depth >= self.limits.depth.min(1_000) {
            return Err(ErrorKind::Limit("aliases nest too deep".into()).into());
        }
        let notes = self.notes_of(target, true);
        self.comments(&notes, &[Place::Head, Place::Line], new, true)?;
        self.copy(target + 1..self.nodes[target as usize].end, Some(new), depth)?;
        self.comments(&notes, &[Place::Foot], new, true)?;
        let end = self.next_index()?;
        self.out[new as usize].end = end;
        Ok(())
    }

    fn push(&mut self, old: &Node, above: Option<u32>, is_virtual: bool) -> Result<u32, Error> {
        let new = self.next_index()?;
        let steps = 1 + u64::from(old.key.is_some()) + u64::from(old.is_alias);
        self.work += steps;
        if is_virtual {
            self.repeated += steps;
            check_ratio(self.work, self.repeated)?;
        }
        self.out.push(Node {
            kind: old.kind,
            style: old.style,
            is_virtual,
            is_alias: old.is_alias,
            non_string_key: old.non_string_key,
            parent: above.unwrap_or(new),
            end: new + 1,
            span: old.span,
            entry: old.entry,
            key: old.key.as_ref().map(clone_text),
            value: clone_value(&old.value),
        });
        Ok(new)
    }

    /// The notes of a node. Those of the text's own nodes are asked for in their order.
    fn notes_of(&mut self, node: u32, is_virtual: bool) -> Notes {
        let notes = self.notes;
        let start = if is_virtual {
            notes.partition_point(|note| note.node < node)
        } else {
            self.cursor += notes[self.cursor..].iter().take_while(|note| note.node < node).count();
            self.cursor
        };
        start..start + notes[start..].iter().take_while(|note| note.node == node).count()
    }

    /// Puts those of the notes that have one of these places, in the order of the places.
    fn comments(&mut self, notes: &Notes, places: &[Place], above: u32, is_virtual: bool) -> Result<(), Error> {
        let notes = &self.notes[notes.clone()];
        for &place in places {
            for note in notes.iter().filter(|note| note.place == place) {
                let new = self.next_index()?;
                self.out.push(Node {
                    kind: Kind::Comment,
                    style: if place == Place::Lost { LOST } else { 0 },
                    is_virtual,
                    is_alias: false,
                    non_string_key: false,
                    parent: above,
                    end: new + 1,
                    span: note.span,
                    entry: Span { start: note.span.start - 1, end: note.span.end },
                    key: None,
                    value: NodeValue::Str(Text::Source(note.span)),
                });
            }
        }
        Ok(())
    }

    fn next_index(&self) -> Result<u32, Error> {
        u32::try_from(self.out.len())
            .ok()
            .filter(|_| self.out.len() < self.limits.nodes.saturating_add(1))
            .ok_or_else(|| ErrorKind::Limit("the text has too many values".into()).into())
    }
}

/// yaml.v3's own bound on what aliases may repeat: all but a hundredth of a small text, a tenth of a large one. `work` counts
/// the nodes and keys there are in all, `repeated` those that aliases make.
#[allow(clippy::cast_precision_loss, reason = "a ratio")]
pub(super) fn check_ratio(work: u64, repeated: u64) -> Result<(), Error> {
    const LOW: f64 = 400_000.0;
    const HIGH: f64 = 4_000_000.0;
    let allowed = 0.99 - 0.89 * ((work as f64 - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
    if repeated > 100 && work > 1_000 && repeated as f64 / work as f64 > allowed {
        return Err(ErrorKind::Limit("its aliases repeat too much".into()).into());
    }
    Ok(())
}
