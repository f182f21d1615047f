//! `batch_input`: the items of a request, and the rows of its answer.

use std::borrow::Cow;

use crate::json::{self, Object, Value};
use crate::logical::{Call, Error, Result, go_type};

/// After how many quick items other requests get their turn.
const TURN: usize = 256;

/// An item to encrypt, decrypt or rewrap.
#[derive(Default)]
pub struct Item<'c> {
    pub plaintext: Cow<'c, str>,
    pub ciphertext: Cow<'c, str>,
    pub context: Cow<'c, str>,
    pub associated: Cow<'c, str>,
    pub reference: Cow<'c, str>,
    pub version: i64,
}

/// What each item must have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Must {
    Plaintext,
    Ciphertext,
    Nothing,
}

/// The text of a field; empty if it is not there.
pub fn text<'c>(call: &'c Call<'_>, name: &str) -> Result<Cow<'c, str>> {
    match call.input.raw(name) {
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        _ => Ok(Cow::Owned(call.input.text(name)?.unwrap_or_default())),
    }
}

fn unreadable(what: &str) -> Error {
    Error::wrapped(500, &format!("failed to parse batch input: {what}"))
}

fn type_of(value: &Value) -> &'static str {
    if value.is_null() { "<nil>" } else { go_type(value) }
}

/// The batch of a request, if it has one; not empty.
pub fn of<'c>(call: &'c Call<'_>) -> Result<Option<&'c Value>> {
    match call.input.raw("batch_input") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) if items.is_empty() => Err(Error::bad_request("missing batch input to process")),
        Some(batch) => Ok(Some(batch)),
    }
}

/// The items of a batch.
pub fn items(batch: &Value, must: Must) -> Result<Vec<Item<'_>>> {
    let Value::Array(values) = batch else {
        let found = type_of(batch);
        return Err(unreadable(&format!("source data must be an array or slice, got {found}")));
    };
    let mut items = Vec::with_capacity(values.len());
    let mut wrong = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let Value::Object(object) = value else {
            return Err(unreadable(&format!("[{at}] expected a map, got '{}'", type_of(value))));
        };
        let mut item = Item::default();
        read(object, at, must, &mut item, &mut wrong);
        items.push(item);
        // What is wrong is said, but not a million times.
        if wrong.len() > TURN {
            break;
        }
    }
    if wrong.is_empty() { Ok(items) } else { Err(unreadable(&wrong.join("\n"))) }
}

fn read<'c>(object: &'c Object, at: usize, must: Must, item: &mut Item<'c>, wrong: &mut Vec<String>) {
    let mut take = |name: &str, to: &mut Cow<'c, str>, missing: Option<&str>| match object.get(name) {
        Some(Value::String(text)) => *to = Cow::Borrowed(text),
        None => {
            if let Some(missing) = missing {
                wrong.push(format!("'[{at}].{name}' missing {missing}"));
            }
        }
        Some(Value::Null) if name != "plaintext" => {}
        Some(other) => {
            let found = type_of(other);
            wrong.push(format!("'[{at}].{name}' expected type 'string', got unconvertible type '{found}'"));
        }
    };
    take("context", &mut item.context, None);
    take("ciphertext", &mut item.ciphertext, (must == Must::Ciphertext).then_some("ciphertext to decrypt"));
    take("plaintext", &mut item.plaintext, (must == Must::Plaintext).then_some("plaintext to encrypt"));
    match object.get("key_version") {
        None | Some(Value::Null) => {}
        Some(Value::Number(digits)) => match digits.parse() {
            Ok(version) => item.version = version,
            Err(_) => wrong.push(format!(
                "error decoding json.Number into [{at}].key_version: strconv.ParseInt: parsing \"{digits}\": invalid syntax"
            )),
        },
        Some(other) => {
            let found = type_of(other);
            wrong.push(format!("'[{at}].key_version' expected type 'int', got unconvertible type '{found}'"));
        }
    }
    let mut take = |name: &str, to: &mut Cow<'c, str>| match object.get(name) {
        Some(Value::String(text)) => *to = Cow::Borrowed(text),
        None | Some(Value::Null) => {}
        Some(other) => {
            let found = type_of(other);
            wrong.push(format!("'[{at}].{name}' expected type 'string', got unconvertible type '{found}'"));
        }
    };
    take("associated_data", &mut item.associated);
    take("reference", &mut item.reference);
}

/// Items of texts, to be signed and verified.
pub struct Texts<'c>(Vec<Cow<'c, Object>>);

impl<'c> Texts<'c> {
    /// Those of a batch.
    pub fn of(batch: &'c Value) -> Result<Self> {
        let Value::Array(values) = batch else {
            let found = if matches!(batch, Value::Object(_)) { "map" } else { type_of(batch) };
            return Err(unreadable(&format!("'' source data must be an array or slice, got {found}")));
        };
        let failed = |what: String| unreadable(&format!("decoding failed due to the following error(s):\n\n{what}"));
        let mut items = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            let Value::Object(object) = value else {
                let found = type_of(value);
                return Err(failed(format!("'[{at}]' expected a map, got unconvertible type '{found}'")));
            };
            let odd =
                object.iter().find(|(_, value)| !matches!(value, Value::String(_) | Value::Number(_) | Value::Null));
            if let Some((name, value)) = odd {
                let found = type_of(value);
                return Err(failed(format!(
                    "'[{at}][{name}]' expected type 'string', got unconvertible type '{found}'"
                )));
            }
            items.push(Cow::Borrowed(object));
        }
        Ok(Self(items))
    }

    /// The one item of a request without a batch.
    pub fn single(item: Object) -> Self {
        Self(vec![Cow::Owned(item)])
    }

    /// The items.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A text of an item; `None` if it is not there.
    pub fn text<'i>(item: &'i Object, name: &str) -> Option<&'i str> {
        match item.get(name)? {
            Value::String(text) => Some(text),
            Value::Number(digits) => Some(digits),
            _ => Some(""),
        }
    }
}

/// The rows of an answer, written as they come. Names come in the order of the alphabet.
pub struct Rows {
    text: Vec<u8>,
    at: usize,
}

impl Rows {
    /// None yet, with room for `count`.
    pub fn new(count: usize) -> Self {
        // One is answered without rows, unless it is a batch.
        let room = if count > 1 { count.min(4096) * 128 } else { 0 };
        Self { text: Vec::with_capacity(room), at: 0 }
    }

    /// Begins a row.
    pub fn begin(&mut self) {
        self.text.extend_from_slice(if self.at == 0 { b"[{" } else { b",{" });
        self.at += 1;
    }

    fn name(&mut self, name: &str) {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        json::write_string(name, &mut self.text);
        self.text.push(b':');
    }

    /// A text of the row.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        json::write_string(value, &mut self.text);
    }

    /// A number of the row.
    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.text.extend_from_slice(value.to_string().as_bytes());
    }

    /// True or false.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.name(name);
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Ends a row.
    pub fn end(&mut self) {
        self.text.push(b'}');
    }

    /// The answer's data.
    pub fn into_data(mut self) -> Object {
        if self.at == 0 {
            self.text.push(b'[');
        }
        self.text.push(b']');
        object! { "batch_results": Value::Raw(self.text.into_boxed_slice()) }
    }

    /// Gives others their turn: after each row that takes long, and after some that do not.
    pub async fn turn(&self, slow: bool) {
        if slow || self.at.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
}
