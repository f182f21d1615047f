//! The functions that templates can call: what they take, what they do, and which ones there are.

mod arithmetic;
mod certificates;
mod consul;
mod crypto;
mod date;
mod defaults;
mod dicts;
mod encoding;
mod keys;
mod lists;
mod math;
mod paths;
mod random;
mod reflect;
mod regex;
mod semver;
mod strings;
mod url;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub use certificates::Certificate;
pub use semver::Version;

use crate::builtins;
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::Text;
use crate::time::Time;
use crate::value::{List, Map, Value};

/// What a function takes at one place, by Go's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    /// `interface {}`
    Any,
    /// `string`
    Text,
    /// `int`
    Int,
    /// `uint32`, given as [`Value::Uint64`]
    Uint32,
    /// `float64`
    Float,
    /// `bool`
    Bool,
    /// `map[string]interface {}`
    Map,
    /// `[]interface {}`
    List,
    /// `time.Time`
    Time,
    /// `*semver.Version`
    Version,
    /// sprig's certificates
    Certificate,
}

impl Param {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Text => "string",
            Self::Int => "int",
            Self::Uint32 => "uint32",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Map => "map[string]interface {}",
            Self::List => "[]interface {}",
            Self::Time => "time.Time",
            Self::Version => "*semver.Version",
            Self::Certificate => "sprig.certificate",
        }
    }
}

/// Functions that do not evaluate all of their arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    None,
    And,
    Or,
}

/// What a function does: its arguments have been checked against its parameters.
pub type Run = dyn Fn(&mut Meter, &Args<'_>) -> Result<Value, Failure> + Send + Sync;

/// One function.
#[derive(Clone)]
pub struct Function {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Param],
    pub(crate) rest: Option<Param>,
    pub(crate) special: Special,
    pub(crate) run: Arc<Run>,
}

impl Function {
    /// A function with these parameters.
    ///
    /// It must take from the meter what it uses: memory for what it makes, steps for long work.
    pub fn new(
        name: &'static str,
        params: &'static [Param],
        run: impl Fn(&mut Meter, &Args<'_>) -> Result<Value, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self { name, params, rest: None, special: Special::None, run: Arc::new(run) }
    }

    /// The same for functions that capture nothing, so that closures need no types.
    pub(crate) fn plain(
        name: &'static str,
        params: &'static [Param],
        run: fn(&mut Meter, &Args<'_>) -> Result<Value, Failure>,
    ) -> Self {
        Self::new(name, params, run)
    }

    /// The same with any number of further arguments.
    #[must_use]
    pub fn with_rest(mut self, rest: Param) -> Self {
        self.rest = Some(rest);
        self
    }

    pub(crate) fn special(mut self, special: Special) -> Self {
        self.special = special;
        self
    }
}

/// The arguments of a call. The accessors give an empty value where the type is another, which the check before excludes.
pub struct Args<'a>(pub(crate) &'a [Value]);

impl<'a> Args<'a> {
    /// All of them.
    pub fn all(&self) -> &'a [Value] {
        self.0
    }

    /// Those from `index` on.
    pub fn from(&self, index: usize) -> &'a [Value] {
        self.0.get(index..).unwrap_or_default()
    }

    /// The value at `index`.
    pub fn value(&self, index: usize) -> &'a Value {
        self.0.get(index).unwrap_or(&Value::Nil)
    }

    /// The string at `index`.
    pub fn text(&self, index: usize) -> &'a [u8] {
        match self.value(index) {
            Value::Text(text) => text.expose(),
            _ => &[],
        }
    }

    /// The string at `index`, shared.
    pub(crate) fn shared_text(&self, index: usize) -> Text {
        match self.value(index) {
            Value::Text(text) => text.clone(),
            _ => Text::from(""),
        }
    }

    /// The string at `index`, if it is UTF-8.
    pub(crate) fn utf8(&self, index: usize) -> Result<&'a str, Failure> {
        std::str::from_utf8(self.text(index)).map_err(|_| "the text is not UTF-8".into())
    }

    /// The integer at `index`.
    pub fn int(&self, index: usize) -> i64 {
        self.value(index).as_integer().unwrap_or(0)
    }

    /// The float at `index`.
    pub fn float(&self, index: usize) -> f64 {
        if let Value::Float(value) = self.value(index) { *value } else { 0.0 }
    }

    /// The bool at `index`.
    pub fn bool(&self, index: usize) -> bool {
        matches!(self.value(index), Value::Bool(true))
    }

    /// The map at `index`.
    pub fn map(&self, index: usize) -> Map {
        if let Value::Map(map) = self.value(index) { map.clone() } else { Map::nil() }
    }

    /// The list at `index`, of whatever elements.
    ///
    /// # Errors
    /// That `what` cannot be done with its type.
    pub fn list(&self, index: usize, what: &str) -> Result<&'a Arc<List>, Failure> {
        match self.value(index) {
            Value::List(list) => Ok(list),
            other => Err(format!("Cannot {what} on type {}", other.kind_name()).into()),
        }
    }

    /// The time at `index`.
    pub(crate) fn time(&self, index: usize) -> Time {
        if let Value::Time(time) = self.value(index) { *time } else { Time::default() }
    }
}

/// Why a function cannot be called.
pub(crate) enum Missing {
    Unknown,
    LeftOut(&'static str),
}

/// Functions by name. Cloning shares them.
#[derive(Clone)]
pub struct Functions {
    functions: Arc<BTreeMap<&'static str, Function>>,
    left_out: Arc<BTreeMap<&'static str, &'static str>>,
}

impl Functions {
    /// The functions of the language itself.
    pub fn builtin() -> Self {
        static BUILTIN: LazyLock<Functions> = LazyLock::new(|| {
            let empty = Functions { functions: Arc::default(), left_out: Arc::default() };
            empty.with(builtins::functions())
        });
        BUILTIN.clone()
    }

    /// The functions of the language and those of sprig.
    pub fn sprig() -> Self {
        static SPRIG: LazyLock<Functions> = LazyLock::new(|| {
            let mut all = Vec::new();
            strings::add(&mut all);
            words::add(&mut all);
            lists::add(&mut all);
            dicts::add(&mut all);
            defaults::add(&mut all);
            math::add(&mut all);
            date::add(&mut all);
            encoding::add(&mut all);
            crypto::add(&mut all);
            keys::add(&mut all);
            certificates::add(&mut all);
            random::add(&mut all);
            regex::add(&mut all);
            reflect::add(&mut all);
            semver::add(&mut all);
            url::add(&mut all);
            paths::add(&mut all);
            Functions::builtin().with(all).without(&[
                ("env", "templates cannot read the environment"),
                ("expandenv", "templates cannot read the environment"),
                ("getHostByName", "templates cannot use the network"),
            ])
        });
        SPRIG.clone()
    }

    /// The functions of the language, those of consul-template that need nothing from outside, and sprig's, whose names begin with `sprig_`.
    pub fn consul_template() -> Self {
        static CONSUL: LazyLock<Functions> = LazyLock::new(|| {
            let (builtin, sprig) = (Functions::builtin(), Functions::sprig());
            // As long as the process lives, once.
            let prefixed = |name: &str| -> &'static str { format!("sprig_{name}").leak() };
            let of_sprig = sprig.functions.values().filter(|function| !builtin.functions.contains_key(function.name));
            let mut all: Vec<Function> =
                of_sprig.map(|function| Function { name: prefixed(function.name), ..function.clone() }).collect();
            consul::add(&mut all, &sprig);
            arithmetic::add(&mut all);
            encoding::add_consul(&mut all);
            let left_out: Vec<_> = sprig.left_out.iter().map(|(name, why)| (prefixed(name), *why)).collect();
            builtin.with(all).without(&left_out).without(consul::LEFT_OUT)
        });
        CONSUL.clone()
    }

    /// These and others; where names meet, the others.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = Function>) -> Self {
        let functions = Arc::make_mut(&mut self.functions);
        functions.extend(more.into_iter().map(|function| (function.name, function)));
        self
    }

    /// One of them under another name.
    fn renamed(&self, from: &str, name: &'static str) -> Option<Function> {
        self.functions.get(from).map(|function| Function { name, ..function.clone() })
    }

    /// Without some, each with the reason that is shown to who calls it.
    #[must_use]
    pub fn without(mut self, names: &[(&'static str, &'static str)]) -> Self {
        for (name, why) in names {
            Arc::make_mut(&mut self.functions).remove(name);
            Arc::make_mut(&mut self.left_out).insert(name, why);
        }
        self
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.functions.keys().copied()
    }

    pub(crate) fn find(&self, name: &str) -> Result<Function, Missing> {
        self.functions
            .get(name)
            .cloned()
            .ok_or_else(|| self.left_out.get(name).map_or(Missing::Unknown, |why| Missing::LeftOut(why)))
    }
}
