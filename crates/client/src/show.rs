//! How answers are printed: tables, JSON, YAML.

pub(crate) mod json;
pub(crate) mod plain;
pub(crate) mod table;

use bulla_core::json::{Object, Value};
use bulla_core::yaml;

use crate::failure::Failure;

/// The form that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    /// The server's bytes.
    Raw,
}

impl Format {
    /// Reads `-format` or its variable.
    ///
    /// # Errors
    /// A form that is not known.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        match text.to_ascii_lowercase().as_str() {
            "table" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "yaml" | "yml" => Ok(Self::Yaml),
            "raw" => Ok(Self::Raw),
            _ => Err(Failure::usage(format!("Invalid output format: {text}"))),
        }
    }
}

/// Something to print. Fields keep their order in JSON.
pub(crate) enum Shown<'a> {
    Value(Value),
    Ref(&'a Value),
    Object(&'a Object),
    Fields(Vec<(&'a str, Shown<'a>)>),
}

impl<T: Into<Value>> From<T> for Shown<'_> {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

impl Shown<'_> {
    /// The text as JSON or YAML, without a newline at its end.
    pub(crate) fn text(&self, format: Format) -> String {
        let mut out = String::new();
        if format == Format::Yaml {
            yaml::write(&self.to_value(), &mut out);
            let end = out.trim_end_matches('\n').len();
            out.truncate(end);
        } else {
            json::write(self, 0, &mut out);
        }
        out
    }

    /// A copy, with its fields in the order of their names.
    fn to_value(&self) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Ref(value) => (*value).clone(),
            Self::Object(object) => Value::Object((*object).clone()),
            Self::Fields(fields) => {
                Value::Object(fields.iter().map(|(key, shown)| ((*key).to_owned(), shown.to_value())).collect())
            }
        }
    }

    /// What it is made of.
    pub(crate) fn node(&self) -> Node<'_> {
        match self {
            Self::Value(value) => Node::of(value),
            Self::Ref(value) => Node::of(value),
            Self::Object(object) => Node::Object(object),
            Self::Fields(fields) => Node::Fields(fields),
        }
    }
}

/// Text in lines that are no longer than the peer's, less `indent`.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    const WIDTH: usize = 78;
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - indent {
                lines.push(std::mem::take(&mut line));
            } else if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines.iter().map(|line| format!("{:indent$}{line}", "")).collect::<Vec<_>>().join("\n")
}

/// One step into something that is shown.
pub(crate) enum Node<'a> {
    Scalar(&'a Value),
    Array(&'a [Value]),
    Object(&'a Object),
    Fields(&'a [(&'a str, Shown<'a>)]),
}

impl<'a> Node<'a> {
    pub(crate) fn of(value: &'a Value) -> Self {
        match value {
            Value::Array(values) => Self::Array(values),
            Value::Object(object) => Self::Object(object),
            scalar => Self::Scalar(scalar),
        }
    }
}
