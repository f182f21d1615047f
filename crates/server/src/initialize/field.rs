//! Values of requests: as they are written, or from somewhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bulla_core::{Env, file};

use super::convert::{self, Kind};
use crate::json::Value;

/// Largest file that a value is read from.
const FILE: u64 = 1 << 20;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// As it is written.
    Value(Value),
    /// Several.
    List(Vec<Self>),
    /// With names.
    Object(BTreeMap<String, Self>),
    /// From somewhere else, made what is wanted.
    Source(Source, Kind),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A variable of the environment.
    Env {
        /// Its name.
        name: String,
        /// Whether it is an error if there is none; else it is the empty text.
        required: bool,
    },
    /// The contents of a file.
    File(PathBuf),
    /// What a variable or a file held.
    Text(String),
    /// Of what was asked before.
    Request(Reference),
    /// Of what was answered before.
    Response(Reference),
}

/// A part of a request that was made, or of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The block.
    pub block: String,
    /// The request.
    pub request: String,
    /// The way to the part; none is all of it.
    pub selector: Vec<At>,
}

/// A step on the way into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Of an object.
    Key(String),
    /// Of a list.
    Index(usize),
}

/// What was asked and answered so far, by block and request.
#[derive(Default)]
pub(super) struct History {
    requests: BTreeMap<(String, String), Value>,
    responses: BTreeMap<(String, String), Value>,
}

impl Field {
    /// The same, with what variables and files hold now.
    pub(super) fn settled(&self, env: &dyn Env) -> Result<Self, String> {
        Ok(match self {
            Self::Value(_) => self.clone(),
            Self::List(many) => Self::List(many.iter().map(|one| one.settled(env)).collect::<Result<_, _>>()?),
            Self::Object(object) => {
                let settle = |(name, one): (&String, &Self)| Ok((name.clone(), one.settled(env)?));
                Self::Object(object.iter().map(settle).collect::<Result<_, String>>()?)
            }
            Self::Source(source, kind) => Self::Source(source.settled(env)?, *kind),
        })
    }

    /// What it is.
    pub(super) fn value(&self, history: &History) -> Result<Value, String> {
        Ok(match self {
            Self::Value(value) => value.clone(),
            Self::List(many) => Value::Array(many.iter().map(|one| one.value(history)).collect::<Result<_, _>>()?),
            Self::Object(object) => {
                let evaluate = |(name, one): (&String, &Self)| Ok((name.clone(), one.value(history)?));
                Value::Object(object.iter().map(evaluate).collect::<Result<_, String>>()?)
            }
            Self::Source(source, kind) => convert::to(source.value(history)?, *kind)?,
        })
    }

    /// What it refers to.
    pub(super) fn references(&self) -> Vec<&Reference> {
        match self {
            Self::List(many) => many.iter().flat_map(Self::references).collect(),
            Self::Object(object) => object.values().flat_map(Self::references).collect(),
            Self::Source(Source::Request(reference) | Source::Response(reference), _) => vec![reference],
            Self::Value(_) | Self::Source(..) => Vec::new(),
        }
    }
}

impl Source {
    fn settled(&self, env: &dyn Env) -> Result<Self, String> {
        match self {
            Self::Env { name, required } => match env.text(name) {
                None if *required => Err(format!("the variable {name} is not set")),
                text => Ok(Self::Text(text.unwrap_or_default())),
            },
            Self::File(path) => {
                let bytes = file::read(path, FILE).map_err(|error| error.to_string())?;
                let text = std::str::from_utf8(bytes.expose());
                text.map(|text| Self::Text(text.to_owned())).map_err(|_| format!("{} is not UTF-8", path.display()))
            }
            other => Ok(other.clone()),
        }
    }

    fn value(&self, history: &History) -> Result<Value, String> {
        match self {
            Self::Text(text) => Ok(text.as_str().into()),
            Self::Request(reference) => reference.find(&history.requests),
            Self::Response(reference) => reference.find(&history.responses),
            Self::Env { .. } | Self::File(_) => Err("it was not read".to_owned()),
        }
    }
}

impl Reference {
    fn find(&self, history: &BTreeMap<(String, String), Value>) -> Result<Value, String> {
        let Self { block, request, selector } = self;
        let whole = history.get(&(block.clone(), request.clone()));
        let mut value = whole.ok_or_else(|| format!("the request {request:?} of {block:?} was not made, or failed"))?;
        for at in selector {
            let part = match (at, value) {
                (At::Key(key), Value::Object(object)) => object.get(key),
                (At::Index(index), Value::Array(many)) => many.get(*index),
                _ => None,
            };
            value = part.ok_or_else(|| format!("the request {request:?} of {block:?} has nothing at {at}"))?;
        }
        Ok(value.clone())
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key:?}"),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl History {
    pub(super) fn add_request(&mut self, block: &str, request: &str, value: Value) {
        self.requests.insert((block.to_owned(), request.to_owned()), value);
    }

    pub(super) fn add_response(&mut self, block: &str, request: &str, value: Value) {
        self.responses.insert((block.to_owned(), request.to_owned()), value);
    }
}
