//! Reading a block: each setting by its kind, and what is left over.

use std::collections::BTreeSet;
use std::time::Duration;

use bulla_core::hcl::{Body, Item, Value};
use bulla_kms::vault_client::read_duration;

/// A block that is being read.
pub(super) struct Fields<'a> {
    /// What it is called in messages.
    place: String,
    body: &'a Body,
    asked: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(place: impl Into<String>, body: &'a Body) -> Self {
        Self { place: place.into(), body, asked: BTreeSet::new() }
    }

    /// What it is called.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// An error about this block.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.place)
    }

    fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.insert(name);
        self.body.value(name)
    }

    /// A text; a number or a truth is one, too.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value.text().map(Some).ok_or_else(|| self.wrong(format_args!("{name} is a text"))),
        }
    }

    /// A text that must be there.
    pub(super) fn needed(&mut self, name: &'static str) -> Result<String, String> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| self.wrong(format_args!("missing '{name}' value")))
    }

    /// True or false, also as a text.
    pub(super) fn truth(&mut self, name: &'static str) -> Result<Option<bool>, String> {
        match self.text(name)?.as_deref() {
            None | Some("") => Ok(None),
            Some("true" | "1" | "t" | "T" | "True" | "TRUE") => Ok(Some(true)),
            Some("false" | "0" | "f" | "F" | "False" | "FALSE") => Ok(Some(false)),
            Some(_) => Err(self.wrong(format_args!("{name} is true or false"))),
        }
    }

    /// Seconds, or a duration like `1h30m`.
    pub(super) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, String> {
        match self.text(name)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => match read_duration(text) {
                Some(duration) => Ok(Some(duration)),
                None => Err(self.wrong(format_args!("{name} is a duration, like \"5m\""))),
            },
        }
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<i64>, String> {
        match self.text(name)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| self.wrong(format_args!("{name} is a whole number"))),
        }
    }

    /// The mode of a file: a text is octal; of numbers those that begin with 0 are.
    pub(super) fn mode(&mut self, name: &'static str) -> Result<Option<u32>, String> {
        let read = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().filter(|mode| *mode <= 0o7777);
        let mode = match self.value(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::String(text)) => read(text.strip_prefix("0o").unwrap_or(text), 8),
            Some(Value::Number(digits)) if digits.starts_with('0') => read(digits, 8),
            Some(Value::Number(digits)) => read(digits, 10),
            Some(_) => None,
        };
        mode.map(Some).ok_or_else(|| self.wrong(format_args!("{name} is the mode of a file, like \"0644\"")))
    }

    /// Some texts; one is a list of it.
    pub(super) fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => value.texts().map(Some).ok_or_else(|| self.wrong(format_args!("{name} is a list of texts"))),
        }
    }

    /// The one block of that name.
    pub(super) fn block(&mut self, name: &'static str) -> Result<Option<Body>, String> {
        self.asked.insert(name);
        single(self.body, name).map_err(|why| self.wrong(why))
    }

    /// Blocks that are read by themselves.
    pub(super) fn read_elsewhere(&mut self, names: &[&'static str]) {
        self.asked.extend(names);
    }

    /// What stands in the block that nobody asked for.
    pub(super) fn unknown(&self) -> Vec<String> {
        let names = self.body.items.iter().filter_map(|item| item.keys.first());
        names.filter(|name| !self.asked.contains(name.as_str())).cloned().collect()
    }

    /// Notes what nobody asked for, for a warning.
    pub(super) fn note_unknown(&self, notes: &mut Vec<String>) {
        super::notes::of_block(self, notes);
    }

    /// That nobody asked for is an error.
    pub(super) fn refuse_unknown(&self) -> Result<(), String> {
        match self.unknown().first() {
            None => Ok(()),
            Some(name) => Err(self.wrong(format_args!("there is no setting {name:?}"))),
        }
    }
}

/// A block with a label, or a type in it: `method "approle" { … }`.
pub(super) struct Labelled {
    pub(super) label: Option<String>,
    pub(super) body: Body,
}

/// All blocks of a name. In JSON a label may be one object further in: `"method": {"approle": {"config": …}}`.
pub(super) fn labelled(body: &Body, name: &str) -> Result<Vec<Labelled>, String> {
    let mut blocks = Vec::new();
    for item in body.items.iter().filter(|item| item.keys.first().is_some_and(|first| first == name)) {
        let Value::Body(inner) = &item.value else { return Err(format!("{name} is a block")) };
        let first = |item: &Item| item.keys.first().cloned().filter(|key| key != "config");
        let labels: BTreeSet<Option<String>> = inner.items.iter().map(first).collect();
        let is_one_further = item.keys.len() == 1
            && !labels.is_empty()
            && !labels.contains(&None)
            && inner.items.iter().all(|item| matches!(item.value, Value::Body(_)));
        if !is_one_further {
            blocks.push(Labelled { label: item.keys.get(1).cloned(), body: inner.clone() });
            continue;
        }
        for label in labels.into_iter().flatten() {
            if let Some(body) = single(inner, &label)? {
                blocks.push(Labelled { label: Some(label), body });
            }
        }
    }
    Ok(blocks)
}

/// The one block of a name. In JSON an object that has objects alone is read as several, with labels: they are put together again.
pub(super) fn single(body: &Body, name: &str) -> Result<Option<Body>, String> {
    let mut found: Option<Body> = None;
    let mut is_split = false;
    for item in body.items.iter().filter(|item| item.keys.first().is_some_and(|first| first == name)) {
        let Value::Body(inner) = &item.value else { return Err(format!("{name} is a block")) };
        let labels = &item.keys[1..];
        if found.is_some() && (!is_split || labels.is_empty()) {
            return Err(format!("there is more than one block {name}"));
        }
        if labels.is_empty() {
            found = Some(inner.clone());
        } else {
            is_split = true;
            let part = Item { keys: labels.to_vec(), value: item.value.clone(), line: item.line };
            found.get_or_insert_with(Body::default).items.push(part);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_core::hcl;

    use super::*;

    #[test]
    fn a_block_is_the_same_in_hcl_and_json() {
        for text in [
            "a { m \"x\" { c = { k = 1 } }\n s { p = 2 } }",
            r#"{"a":{"m":{"x":{"c":{"k":1}}},"s":{"p":2}}}"#,
            r#"{"a":[{"m":[{"x":[{"c":[{"k":1}]}]}],"s":[{"p":2}]}]}"#,
        ] {
            let body = hcl::parse(text).unwrap();
            let a = single(&body, "a").unwrap().unwrap();
            let methods = labelled(&a, "m").unwrap();
            assert_eq!(methods.len(), 1, "{text}");
            assert_eq!(methods[0].label.as_deref(), Some("x"), "{text}");
            let config = single(&methods[0].body, "c").unwrap().unwrap();
            assert_eq!(Fields::new("c", &config).number("k").unwrap(), Some(1), "{text}");
            let s = single(&a, "s").unwrap().unwrap();
            assert_eq!(Fields::new("s", &s).text("p").unwrap().as_deref(), Some("2"), "{text}");
        }
        assert!(single(&hcl::parse("a {}\na {}").unwrap(), "a").is_err());
        assert!(single(&hcl::parse("a = 1").unwrap(), "a").is_err());
    }

    #[test]
    fn modes_are_octal_where_they_look_like_it() {
        let body = hcl::parse("a = \"0640\"\nb = 0640\nc = 416\nd = \"9\"\ne = true\nf = \"\"").unwrap();
        let mut fields = Fields::new("x", &body);
        for name in ["a", "b", "c"] {
            assert_eq!(fields.mode(name).unwrap(), Some(0o640), "{name}");
        }
        assert!(fields.mode("d").is_err() && fields.mode("e").is_err());
        assert_eq!(fields.mode("f").unwrap(), None);
        assert!(fields.unknown().is_empty());
    }
}
