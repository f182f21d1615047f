//! A node of the configuration's text with the path it was reached by, read as sops reads it: typed, `null` as nothing.

use std::collections::HashMap;

use bulla_document::{Document, Kind, NodeId, Scalar};

use crate::sops::Error;

/// A node and where it stands.
#[derive(Clone)]
pub(super) struct Node<'d> {
    document: &'d Document,
    id: NodeId,
    path: String,
}

/// The entries of a map, taken out by name; what is left is not known.
pub(super) struct Fields<'d> {
    of: String,
    fields: HashMap<String, Node<'d>>,
}

impl<'d> Node<'d> {
    pub(super) fn root(document: &'d Document, id: NodeId) -> Self {
        Self { document, id, path: String::new() }
    }

    /// What is wrong here, with the line.
    pub(super) fn fault(&self, what: &str) -> Error {
        Error::Rule(self.message(what))
    }

    pub(super) fn message(&self, what: &str) -> String {
        let path = if self.path.is_empty() { "the configuration" } else { &self.path };
        format!("line {}: {path} {what}", self.document.line(self.id))
    }

    pub(super) fn is_null(&self) -> bool {
        self.document.kind(self.id) == Kind::Scalar && self.document.scalar(self.id) == Scalar::Null
    }

    /// The entries of a map, those that `<<` merges in included; none if it is null.
    pub(super) fn fields(&self) -> Result<Fields<'d>, Error> {
        let mut fields = HashMap::new();
        if !self.is_null() {
            self.merge_into(&mut fields)?;
        }
        Ok(Fields { of: self.path.clone(), fields })
    }

    fn merge_into(&self, fields: &mut HashMap<String, Self>) -> Result<(), Error> {
        if self.document.kind(self.id) != Kind::Map {
            return Err(self.fault("must be a map"));
        }
        let mut merged = Vec::new();
        for child in self.children() {
            let key = self.document.key(child.id).unwrap_or_default();
            if key == "<<" {
                merged.push(child);
            } else {
                let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
                fields.entry(key.to_owned()).or_insert(Self { path, ..child });
            }
        }
        for source in merged {
            if self.document.kind(source.id) == Kind::Seq {
                source.children().try_for_each(|item| Self { path: self.path.clone(), ..item }.merge_into(fields))?;
            } else {
                Self { path: self.path.clone(), ..source }.merge_into(fields)?;
            }
        }
        Ok(())
    }

    /// The items of a list; none if it is null.
    pub(super) fn items(&self) -> Result<Vec<Self>, Error> {
        if self.is_null() {
            return Ok(Vec::new());
        }
        if self.document.kind(self.id) != Kind::Seq {
            return Err(self.fault("must be a list"));
        }
        let items = self.children().enumerate();
        Ok(items.map(|(index, item)| Self { path: format!("{}[{index}]", self.path), ..item }).collect())
    }

    pub(super) fn is_list(&self) -> bool {
        self.document.kind(self.id) == Kind::Seq
    }

    /// A text that is written as one; `None` for anything else.
    pub(super) fn exact_text(&self) -> Option<String> {
        if self.document.kind(self.id) != Kind::Scalar {
            return None;
        }
        self.document.scalar(self.id).as_str().map(str::to_owned)
    }

    /// A text; of numbers, booleans and dates the text they are written as. `None` for null.
    pub(super) fn text(&self) -> Result<Option<String>, Error> {
        if self.document.kind(self.id) != Kind::Scalar {
            return Err(self.fault("must be a text"));
        }
        Ok(match self.document.scalar(self.id) {
            Scalar::Null => None,
            Scalar::Str(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => Some(String::from_utf8_lossy(self.document.source(self.id)).into_owned()),
        })
    }

    /// A whole number; `None` for null.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "a float is taken if nothing is lost, which is what is compared"
    )]
    pub(super) fn number(&self) -> Result<Option<i64>, Error> {
        match self.document.scalar(self.id) {
            _ if self.document.kind(self.id) != Kind::Scalar => {}
            Scalar::Null => return Ok(None),
            Scalar::Int(number) => return Ok(Some(number)),
            Scalar::Float(number) if number as i64 as f64 == number => return Ok(Some(number as i64)),
            _ => {}
        }
        Err(self.fault("must be a whole number"))
    }

    /// A boolean, also as YAML 1.1 writes it; false for null.
    pub(super) fn flag(&self) -> Result<bool, Error> {
        match self.document.scalar(self.id) {
            _ if self.document.kind(self.id) != Kind::Scalar => {}
            Scalar::Null => return Ok(false),
            Scalar::Bool(flag) => return Ok(flag),
            Scalar::Str(text) if matches!(&*text, b"y" | b"Y" | b"yes" | b"on") => return Ok(true),
            Scalar::Str(text) if matches!(&*text, b"n" | b"N" | b"no" | b"off") => return Ok(false),
            _ => {}
        }
        Err(self.fault("must be true or false"))
    }

    fn children(&self) -> impl Iterator<Item = Self> + use<'d> {
        let document = self.document;
        let entries = document.children(self.id).filter(|&child| document.kind(child) != Kind::Comment);
        entries.map(move |id| Self { document, id, path: String::new() })
    }
}

impl<'d> Fields<'d> {
    pub(super) fn take(&mut self, name: &str) -> Option<Node<'d>> {
        self.fields.remove(name)
    }

    /// A text; `None` if it is missing, null or empty.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let text = self.take(name).map(|node| node.text()).transpose()?.flatten();
        Ok(text.filter(|text| !text.is_empty()))
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<i64>, Error> {
        Ok(self.take(name).map(|node| node.number()).transpose()?.flatten())
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Error> {
        Ok(self.take(name).map(|node| node.flag()).transpose()?.unwrap_or_default())
    }

    pub(super) fn items(&mut self, name: &str) -> Result<Vec<Node<'d>>, Error> {
        Ok(self.take(name).map(|node| node.items()).transpose()?.unwrap_or_default())
    }

    pub(super) fn fields(&mut self, name: &str) -> Result<Self, Error> {
        match self.take(name) {
            Some(node) => node.fields(),
            None => Ok(Self { of: format!("{}.{name}", self.of), fields: HashMap::new() }),
        }
    }

    /// The names of what is left.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// Says of what is left that it is not known.
    pub(super) fn warn(self, warnings: &mut Vec<String>) {
        let mut left: Vec<_> = self.fields.into_values().map(|node| node.message("is not known")).collect();
        left.sort();
        warnings.append(&mut left);
    }
}
