//! Where a value stands, in the two forms that are needed of it.
//!
//! **Associated data** of the cipher, sops' form: each key and a `:`, list indexes left out, a lone `:` at the top. Ambiguous.
//!
//! **The bound path**, what bulla's own MAC and layout cover: each component with its kind and, for keys, its length, so that no two paths
//! are the same bytes:
//! ```text
//! path      = *component
//! component = "k" length(4 bytes, little-endian) key / "i" index(8 bytes, little-endian)
//! ```

use std::fmt::Write as _;

/// A place in a document, changed step by step.
#[derive(Clone, Default)]
pub(super) struct Place {
    associated: Vec<u8>,
    bound: Vec<u8>,
}

/// A place to come back to.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    associated: usize,
    bound: usize,
}

impl Place {
    pub(super) fn enter_key(&mut self, key: &str) {
        self.associated.extend_from_slice(key.as_bytes());
        self.associated.push(b':');
        self.bound.push(b'k');
        // Documents are shorter than 4 GiB.
        self.bound.extend_from_slice(&u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.bound.extend_from_slice(key.as_bytes());
    }

    pub(super) fn enter_index(&mut self, index: u64) {
        self.bound.push(b'i');
        self.bound.extend_from_slice(&index.to_le_bytes());
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { associated: self.associated.len(), bound: self.bound.len() }
    }

    pub(super) fn leave_to(&mut self, mark: Mark) {
        self.associated.truncate(mark.associated);
        self.bound.truncate(mark.bound);
    }

    /// The cipher's associated data of a value or a comment here.
    pub(super) fn associated(&self) -> &[u8] {
        if self.associated.is_empty() { b":" } else { &self.associated }
    }

    /// The unambiguous path.
    pub(super) fn bound(&self) -> &[u8] {
        &self.bound
    }

    /// The components of the path.
    pub(super) fn components(&self) -> impl Iterator<Item = Component<'_>> {
        let mut rest = self.bound.as_slice();
        std::iter::from_fn(move || {
            let (&kind, after) = rest.split_first()?;
            if kind == b'i' {
                let (index, after) = after.split_first_chunk()?;
                rest = after;
                return Some(Component::Index(u64::from_le_bytes(*index)));
            }
            let (len, after) = after.split_first_chunk()?;
            let (key, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some(Component::Key(key))
        })
    }
}

/// One component of a path.
pub(super) enum Component<'p> {
    Key(&'p [u8]),
    Index(u64),
}

/// As messages show it: `a.b[0]`.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.bound.is_empty() {
            return f.write_str("the top");
        }
        for (position, component) in self.components().enumerate() {
            match component {
                Component::Index(index) => write!(f, "[{index}]")?,
                Component::Key(key) => {
                    let dot = if position > 0 { "." } else { "" };
                    f.write_str(dot)?;
                    // Keys come from files that anyone may have written, and go to terminals.
                    for c in String::from_utf8_lossy(key).chars() {
                        if c.is_control() { write!(f, "{}", c.escape_debug())? } else { f.write_char(c)? }
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_sops_and_as_messages_write_them() {
        let mut place = Place::default();
        assert_eq!((place.associated(), place.to_string().as_str()), (b":".as_slice(), "the top"));
        place.enter_key("list");
        let mark = place.mark();
        place.enter_index(2);
        place.enter_key("d");
        assert_eq!((place.associated(), place.to_string().as_str()), (b"list:d:".as_slice(), "list[2].d"));
        place.leave_to(mark);
        assert_eq!((place.associated(), place.to_string().as_str()), (b"list:".as_slice(), "list"));
    }

    #[test]
    fn keys_do_not_command_the_terminal_that_messages_go_to() {
        let mut place = Place::default();
        place.enter_key("é\u{1b}[31m\n\u{9b}k");
        assert_eq!(place.to_string(), "é\\u{1b}[31m\\n\\u{9b}k");
    }

    #[test]
    fn an_empty_key_at_the_top_is_not_the_top() {
        let mut place = Place::default();
        place.enter_key("");
        assert_eq!(place.associated(), b":");
        assert_ne!(place.bound(), b"");
        place.enter_key("a");
        assert_eq!(place.associated(), b":a:");
    }

    #[test]
    fn paths_that_sops_confuses_are_bound_apart() {
        let mut one = Place::default();
        one.enter_key("a:b");
        let mut two = Place::default();
        two.enter_key("a");
        two.enter_key("b");
        assert_eq!(one.associated(), two.associated());
        assert_ne!(one.bound(), two.bound());
    }
}
