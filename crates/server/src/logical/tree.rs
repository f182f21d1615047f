//! Patterns of paths as a tree of segments. Literals go before names, names before rests.

use std::collections::BTreeMap;

/// What a path leads to, and what it has for the names of the pattern.
pub type Match = (usize, Vec<(&'static str, String)>);

/// Patterns, compiled.
#[derive(Default)]
pub struct Tree {
    root: Node,
}

#[derive(Default)]
struct Node {
    literals: BTreeMap<&'static str, Node>,
    name: Option<(&'static str, Box<Node>)>,
    rest: Option<(&'static str, usize)>,
    end: Option<usize>,
    end_with_slash: Option<usize>,
}

impl Tree {
    /// Adds a pattern that leads to `to`.
    pub fn add(&mut self, pattern: &'static str, to: usize) {
        let (pattern, optional) = pattern.strip_suffix("/?").map_or((pattern, false), |pattern| (pattern, true));
        let mut node = &mut self.root;
        for segment in pattern.split('/') {
            let inner = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
            match inner {
                Some(inner) => match inner.strip_suffix('*') {
                    Some(name) => {
                        node.rest = Some((name, to));
                        return;
                    }
                    None => node = &mut node.name.get_or_insert_with(|| (inner, Box::default())).1,
                },
                None => node = node.literals.entry(segment).or_default(),
            }
        }
        node.end = Some(to);
        if optional {
            node.end_with_slash = Some(to);
        }
    }

    /// Where `path` leads.
    pub fn find(&self, path: &str) -> Option<Match> {
        let mut captures = Vec::new();
        let to = self.root.find(Some(path), &mut captures)?;
        captures.reverse();
        Some((to, captures))
    }
}

impl Node {
    /// `rest` is `None` when the path has ended. Captures come last first.
    fn find(&self, rest: Option<&str>, captures: &mut Vec<(&'static str, String)>) -> Option<usize> {
        let Some(rest) = rest else { return self.end };
        if rest.is_empty()
            && let Some(to) = self.end_with_slash
        {
            return Some(to);
        }
        let (segment, tail) = rest.split_once('/').map_or((rest, None), |(segment, tail)| (segment, Some(tail)));
        if let Some(to) = self.literals.get(segment).and_then(|node| node.find(tail, captures)) {
            return Some(to);
        }
        if let Some((name, node)) = &self.name
            && is_name(segment)
            && let Some(to) = node.find(tail, captures)
        {
            captures.push((name, segment.to_owned()));
            return Some(to);
        }
        let (name, to) = self.rest?;
        captures.push((name, rest.to_owned()));
        Some(to)
    }
}

/// Letters, digits and `_`; between the first and the last also `-` and `.`. The names that the peer takes, and `@` in the middle, for users.
fn is_name(segment: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    segment.chars().all(|c| word(c) || "-.@+".contains(c)) && segment.starts_with(word) && segment.ends_with(word)
}
