//! The values that templates work on: those of Go that JSON, sprig and literals give rise to, each with its Go type.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Failure, Limit};
use crate::functions::{Certificate, Version};
use crate::json;
use crate::limits::{Limits, Meter};
use crate::text::Text;
use crate::time::Time;

/// A value. Cloning it is cheap: strings, lists and maps are shared. Strings are wiped when their last owner goes.
///
/// There is neither `Debug` nor `Display`: most of what templates work on is secret.
#[derive(Clone)]
#[non_exhaustive]
pub enum Value {
    /// No value at all: a key that a map has not. Prints as `<no value>`.
    Missing,
    /// `nil`.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `int64`
    Int64(i64),
    /// `uint8`: a byte of a string.
    Uint8(u8),
    /// `uint64`
    Uint64(u64),
    /// `float64`
    Float(f64),
    /// `string`
    Text(Text),
    /// `json.Number`: the digits of a number in an answer of a server. Go takes it for a string of another type.
    Number(Text),
    /// `[]interface {}`, `[]string`, …
    List(Arc<List>),
    /// `map[string]interface {}` or `map[string]string`
    Map(Map),
    /// `time.Time`
    Time(Time),
    /// `*semver.Version`
    Version(Arc<Version>),
    /// What `genCA` and its like give.
    Certificate(Arc<Certificate>),
}

/// The type of a list's or map's elements.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Elem {
    /// `interface {}`
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// `[]interface {}`
    List,
}

/// A list, which never changes.
pub struct List {
    /// What its elements are.
    pub elem: Elem,
    /// Whether it is Go's `nil` of its type, which JSON shows as `null`.
    pub nil: bool,
    /// The elements.
    pub items: Vec<Value>,
}

/// A map, which its owners share and `set` changes for all of them.
#[derive(Clone)]
pub struct Map(Arc<MapInner>);

struct MapInner {
    elem: Elem,
    nil: bool,
    entries: RwLock<BTreeMap<Text, Value>>,
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A `[]interface {}`.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(List { elem: Elem::Any, nil: false, items }))
    }

    /// A list of a given type.
    pub(crate) fn typed_list(elem: Elem, items: Vec<Self>) -> Self {
        Self::List(Arc::new(List { elem, nil: false, items }))
    }

    /// The `nil` of a list's type.
    pub(crate) fn nil_list(elem: Elem) -> Self {
        Self::List(Arc::new(List { elem, nil: true, items: Vec::new() }))
    }

    /// A `map[string]interface {}`.
    pub fn map(entries: impl IntoIterator<Item = (Text, Self)>) -> Self {
        Self::Map(Map::new(Elem::Any, entries.into_iter().collect()))
    }

    /// A `map[string]string`: what the controllers of `SealedSecret` and `ExternalSecret` give to their templates.
    pub fn string_map(entries: impl IntoIterator<Item = (Text, Text)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key, Self::Text(value))).collect();
        Self::Map(Map::new(Elem::Text, entries))
    }

    /// What JSON says: numbers are floats, as in Go.
    ///
    /// # Errors
    /// Where the text is no JSON, or nested too deeply.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        in_words(json::decode_value(text, &mut Meter::new(Limits::default())))
    }

    /// What JSON says, numbers with the digits that they are written with: [`Value::Number`], as Go's client of Vault has them.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json), and when there is more of it than `limits` allow.
    pub fn from_json_exact(text: &[u8], limits: Limits) -> Result<Self, String> {
        in_words(json::decode_exact(text, &mut Meter::new(limits)))
    }

    /// A `[]string`.
    pub fn texts(texts: impl IntoIterator<Item = Text>) -> Self {
        Self::typed_list(Elem::Text, texts.into_iter().map(Self::Text).collect())
    }

    /// Whether there is nothing: missing, or an untyped `nil`.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// The name of its Go type, `%T`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Uint64(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Number(_) => "json.Number",
            Self::List(list) => match list.elem {
                Elem::Any => "[]interface {}",
                Elem::Text => "[]string",
                Elem::Int => "[]int",
                Elem::List => "[][]interface {}",
            },
            Self::Map(map) => match map.elem() {
                Elem::Text => "map[string]string",
                _ => "map[string]interface {}",
            },
            Self::Time(_) => "time.Time",
            Self::Version(_) => "*semver.Version",
            Self::Certificate(_) => "sprig.certificate",
        }
    }

    /// The name of its kind, as sprig's `kindOf` gives it.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "invalid",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Time(_) | Self::Certificate(_) => "struct",
            Self::Version(_) => "ptr",
            Self::Number(_) => "string",
            scalar => scalar.type_name(),
        }
    }

    /// How many bytes of text it has, without those of elements.
    pub(crate) fn text_len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Number(text) => text.len(),
            Self::Version(version) => version.original.len(),
            Self::Certificate(certificate) => certificate.fields().iter().map(|(_, text)| text.len()).sum(),
            _ => 0,
        }
    }

    /// What an `if` makes of it: whether it is not the zero of its type.
    pub fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Int64(value) => *value != 0,
            Self::Uint8(value) => *value != 0,
            Self::Uint64(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Number(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Time(_) | Self::Version(_) | Self::Certificate(_) => true,
        }
    }

    /// The value, if it is an integer of any type that fits.
    pub(crate) fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Int(value) | Self::Int64(value) => Some(*value),
            Self::Uint8(value) => Some(i64::from(*value)),
            // As Go converts it.
            Self::Uint64(value) => Some(value.cast_signed()),
            _ => None,
        }
    }
}

fn in_words(decoded: Result<Value, Failure>) -> Result<Value, String> {
    match decoded {
        Ok(value) => Ok(value),
        Err(Failure::Message(message)) => Err(message.into_owned()),
        Err(Failure::Limit(limit)) => Err(limit.to_string()),
        Err(Failure::Fail(_)) => Err(String::new()),
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl Map {
    pub(crate) fn new(elem: Elem, entries: BTreeMap<Text, Value>) -> Self {
        Self(Arc::new(MapInner { elem, nil: false, entries: RwLock::new(entries) }))
    }

    /// The `nil` of `map[string]interface {}`: empty, and nothing can be set in it.
    pub(crate) fn nil() -> Self {
        Self(Arc::new(MapInner { elem: Elem::Any, nil: true, entries: RwLock::default() }))
    }

    pub(crate) fn elem(&self) -> Elem {
        self.0.elem
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.0.nil
    }

    /// The entries, in the order of their keys.
    pub fn entries(&self) -> RwLockReadGuard<'_, BTreeMap<Text, Value>> {
        self.0.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<Text, Value>> {
        self.0.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<Value> {
        self.entries().get(key).cloned()
    }

    /// Sets a value for all owners.
    ///
    /// # Errors
    /// When the map would then contain itself, which would never end, or is `nil`.
    pub(crate) fn set(&self, key: Text, value: Value, meter: &mut Meter) -> Result<(), Failure> {
        if self.is_nil() {
            return Err("assignment to entry in nil map".into());
        }
        if self.is_within(&value, meter)? {
            return Err("a map cannot be put into itself".into());
        }
        meter.memory(2 * size_of::<Value>())?;
        let replaced = self.entries_mut().insert(key, value);
        drop(replaced);
        Ok(())
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        let removed = self.entries_mut().remove(key);
        drop(removed);
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether this map is, at any depth, within a value.
    fn is_within(&self, value: &Value, meter: &mut Meter) -> Result<bool, Limit> {
        if !value.holds_others() {
            return Ok(false);
        }
        let mut seen = HashSet::new();
        let mut open = vec![value.clone()];
        while let Some(value) = open.pop() {
            match value {
                Value::List(list) if seen.insert(Arc::as_ptr(&list).cast::<u8>()) => {
                    meter.steps(1 + list.items.len() as u64 / 8)?;
                    open.extend(list.items.iter().filter(|item| item.holds_others()).cloned());
                }
                Value::Map(map) if seen.insert(Arc::as_ptr(&map.0).cast::<u8>()) => {
                    if map.is_same(self) {
                        return Ok(true);
                    }
                    meter.steps(1 + map.len() as u64 / 8)?;
                    open.extend(map.entries().values().filter(|item| item.holds_others()).cloned());
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Value {
    fn holds_others(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }
}

/// Values nested deeply are taken apart in a loop: one inside the other, their drops would exhaust the stack.
impl Drop for List {
    fn drop(&mut self) {
        if self.elem == Elem::Any || self.elem == Elem::List {
            take_apart(std::mem::take(&mut self.items));
        }
    }
}

impl Drop for MapInner {
    fn drop(&mut self) {
        if self.elem == Elem::Any {
            let entries = std::mem::take(self.entries.get_mut().unwrap_or_else(PoisonError::into_inner));
            take_apart(entries.into_values().collect());
        }
    }
}

fn take_apart(mut open: Vec<Value>) {
    while let Some(value) = open.pop() {
        match value {
            Value::List(list) => {
                if let Some(mut list) = Arc::into_inner(list) {
                    open.append(&mut list.items);
                }
            }
            Value::Map(map) => {
                if let Some(mut map) = Arc::into_inner(map.0) {
                    let entries = map.entries.get_mut().unwrap_or_else(PoisonError::into_inner);
                    open.extend(std::mem::take(entries).into_values());
                }
            }
            _ => {}
        }
    }
}
