//! Tags: which type they name.

use super::scan::TagName;

const CORE: &str = "tag:yaml.org,2002:";

/// What a tag means for the type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// `!`, which yaml.v3 takes as no tag.
    None,
    Null,
    Bool,
    Str,
    Int,
    Float,
    Timestamp,
    Binary,
    Merge,
    /// Any other. A scalar under it is a string.
    Other,
}

/// The `%TAG` directives of the current document.
#[derive(Default)]
pub(super) struct Tags(Vec<TagName>);

impl Tags {
    pub(super) fn add(&mut self, name: TagName) -> Result<(), &'static str> {
        if self.0.iter().any(|known| known.handle == name.handle) {
            return Err("a second %TAG directive for one handle");
        }
        self.0.push(name);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn resolve(&self, name: &TagName) -> Result<Tag, &'static str> {
        let prefix: &[u8] = match self.0.iter().find(|known| known.handle == name.handle) {
            _ if name.handle.is_empty() => b"",
            Some(known) => &known.suffix,
            None if name.handle == b"!" => b"!",
            None if name.handle == b"!!" => CORE.as_bytes(),
            None => return Err("a tag with a handle that no %TAG directive declares"),
        };
        let full = [prefix, &name.suffix].concat();
        if full == b"!" {
            return Ok(Tag::None);
        }
        let short = full.strip_prefix(CORE.as_bytes()).or_else(|| full.strip_prefix(b"!!"));
        Ok(match short {
            Some(b"null") => Tag::Null,
            Some(b"bool") => Tag::Bool,
            Some(b"str") => Tag::Str,
            Some(b"int") => Tag::Int,
            Some(b"float") => Tag::Float,
            Some(b"timestamp") => Tag::Timestamp,
            Some(b"binary") => Tag::Binary,
            Some(b"merge") => Tag::Merge,
            _ => Tag::Other,
        })
    }
}
