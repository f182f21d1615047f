//! Templates in the language of Go's `text/template`, with the functions of sprig, sandboxed: no I/O, bounded in steps and size.
//!
//! [`Template::parse`] once, [`Template::execute`] as often as there are data. The language is that of Go 1.26, the functions are
//! those of sprig 3.3; what differs stands in `docs/templates.md`. Whatever a template does is paid for from [`Limits`] before it is
//! done, so that a hostile one ends with an error; no input makes this crate panic.
//!
//! Data and results are taken to be secret: strings are wiped when they are dropped, and no error shows what a value contains.

mod ast;
mod builtins;
mod compare;
mod convert;
mod duration;
mod error;
mod eval;
mod exec;
mod float;
mod functions;
mod json;
mod lex;
mod limits;
mod literal;
mod methods;
mod options;
mod parse;
mod print;
mod printf;
mod quote;
mod text;
mod time;
mod time_format;
mod time_parse;
mod unicode;
mod value;

use std::collections::BTreeMap;

use bulla_core::SecretBytes;

pub use error::{ExecError, ExecErrorKind, FailMessage, Failure, Limit, ParseError};
pub use functions::{Args, Certificate, Function, Functions, Param, Version};
pub use limits::{Limits, Meter};
pub use options::{MissingKey, Options};
pub use text::Text;
pub use time::Time;
pub use value::{Elem, List, Map, Value};

/// A parsed template. It can be shared between threads.
pub struct Template {
    name: String,
    text: String,
    missing_key: MissingKey,
    templates: BTreeMap<String, Vec<ast::Node>>,
    variables: Vec<String>,
}

impl Template {
    /// Parses `text`. Errors name the template `name`.
    ///
    /// # Errors
    /// What is wrong with it, and in which line.
    pub fn parse(name: &str, text: &str, options: &Options) -> Result<Self, ParseError> {
        if text.len() > options.text {
            let message = format!("the template is larger than {} bytes", options.text);
            return Err(ParseError { name: name.to_owned(), line: 1, message });
        }
        let parsed = parse::parse(name, text, &options.left, &options.right, &options.functions)?;
        Ok(Self {
            name: name.to_owned(),
            text: text.to_owned(),
            missing_key: options.missing_key,
            templates: parsed.templates,
            variables: parsed.variables,
        })
    }

    /// The output for `data`, which is what `.` and `$` stand for at first.
    ///
    /// A template can change maps in `data`, as `set` and `merge` do.
    ///
    /// # Errors
    /// What is wrong, where. Of the output so far nothing is given out.
    pub fn execute(&self, data: &Value, limits: &Limits) -> Result<SecretBytes, Box<ExecError>> {
        let Some((name, nodes)) = self.templates.get_key_value(&self.name) else {
            // `parse` always adds the text itself.
            return Ok(SecretBytes::new());
        };
        // Go cannot tell `nil` from nothing here.
        let data = if data.is_nil() { &Value::Missing } else { data };
        let out = exec::Exec::run(self, name, nodes, data, limits)?;
        Ok(SecretBytes::from(out.bytes()))
    }
}
