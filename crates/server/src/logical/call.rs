//! What a handler gets.

use std::collections::BTreeMap;

use super::field::{self, Field, Kind};
use super::{Caller, Error, Operation, Request, Result, parse_seconds};
use crate::barrier::View;
use crate::core::lockout::Limits;
use crate::json::{Object, Value};

/// What an engine may know of where it is mounted.
#[derive(Clone, Debug, Default)]
pub struct MountInfo {
    /// Its path, with a slash at the end (`secret/`, `auth/approle/`).
    pub path: String,
    /// Its accessor.
    pub accessor: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// How long what it gives out lives if nobody says, in seconds.
    pub default_ttl: i64,
    /// How long at most, in seconds.
    pub max_ttl: i64,
    /// When names are locked out.
    pub lockout: Limits,
}

/// One request to one handler.
pub struct Call<'a> {
    /// The request.
    pub request: &'a Request,
    /// Its path below the mount.
    pub path: &'a str,
    /// Where the engine is mounted.
    pub mount: &'a MountInfo,
    /// The mount's storage.
    pub storage: &'a View,
    /// Who asks; nobody on paths that need no token.
    pub caller: Option<&'a Caller>,
    /// The fields.
    pub input: Input<'a>,
}

impl Call<'_> {
    /// Refuses to write over an entry that was made after it was found missing, by who may only make it.
    ///
    /// # Errors
    /// 403 if it is there, and who asks may not change it.
    pub fn check_new(&self, is_there: bool) -> Result<()> {
        let request = self.request;
        if !is_there || request.operation != Operation::Create {
            return Ok(());
        }
        let may = |caller: &Caller| caller.acl.check(Operation::Update, &request.path, request).allowed;
        if self.caller.is_some_and(may) { Ok(()) } else { Err(Error::denied()) }
    }
}

/// The fields of a call: those of its path, then those of its body or query.
pub struct Input<'a> {
    /// From the path.
    pub captures: Vec<(&'static str, String)>,
    /// From the body or query.
    pub data: &'a Object,
    /// What is declared.
    pub fields: &'static [Field],
}

impl<'a> Input<'a> {
    /// Of a body alone, of which nothing is declared.
    pub const fn of(data: &'a Object) -> Self {
        Self { captures: Vec::new(), data, fields: &[] }
    }
}

impl Input<'_> {
    /// Whether each field that is there has its type.
    pub(super) fn check(&self) -> Result<()> {
        for field in self.fields {
            // Objects are looked at by whoever asks for them.
            if let Some(value) = self.data.get(field.name).filter(|_| field.kind != Kind::Map) {
                field.check(value).map_err(|error| Error::bad_request(format!("Field validation failed: {error}")))?;
            }
        }
        Ok(())
    }

    /// What the path has for `name`; empty if it has none.
    pub fn capture(&self, name: &str) -> &str {
        self.captures.iter().find(|(one, _)| *one == name).map_or("", |(_, value)| value)
    }

    /// Whether the field is there.
    pub fn has(&self, name: &str) -> bool {
        self.data.contains_key(name)
    }

    /// The field as it was sent.
    pub fn raw(&self, name: &str) -> Option<&Value> {
        self.data.get(name)
    }

    fn read<T>(&self, name: &str, read: impl Fn(&Value) -> std::result::Result<T, String>) -> Result<Option<T>> {
        let Some(value) = self.data.get(name) else { return Ok(None) };
        read(value)
            .map(Some)
            .map_err(|error| Error::bad_request(format!("error converting input for field {name:?}: {error}")))
    }

    /// Text, from the path or the body.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        if let Some((_, value)) = self.captures.iter().find(|(one, _)| *one == name) {
            return Ok(Some(value.clone()));
        }
        self.read(name, field::text)
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, field::int)
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, field::float)
    }

    /// True or false.
    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, field::boolean)
    }

    /// Seconds.
    pub fn seconds(&self, name: &str) -> Result<Option<i64>> {
        if let Some((_, value)) = self.captures.iter().find(|(one, _)| *one == name) {
            return parse_seconds(value).map(Some).map_err(Error::bad_request);
        }
        self.read(name, field::seconds)
    }

    /// An object.
    pub fn map(&self, name: &str) -> Result<Option<Object>> {
        self.read(name, field::map)
    }

    /// An object of texts.
    pub fn text_map(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        self.read(name, field::text_map)
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        self.read(name, field::texts)
    }

    /// A list of whole numbers.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>> {
        self.read(name, field::ints)
    }

    /// After which name a listing begins, and how many names it has at most (0: all).
    pub fn page(&self) -> Result<(String, usize)> {
        let after = self.read("after", field::text)?.unwrap_or_default();
        let limit = self.read("limit", field::int)?.unwrap_or(0);
        Ok((after, usize::try_from(limit).unwrap_or(0)))
    }
}
