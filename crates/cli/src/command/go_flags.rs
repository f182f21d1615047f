//! Flags as Go's `flag` package reads them, for commands that take the place of one that is written in Go: one dash or two, `-name=value` or
//! `-name value`, switches as `-name` or `-name=false`. Words that are no flags are refused.

use std::ffi::OsString;

use crate::error::Failure;

/// The flags of a command line, one after the other.
pub(crate) struct GoFlags<'a> {
    words: std::slice::Iter<'a, OsString>,
    name: &'a str,
    given: Option<&'a str>,
    /// The command, for hints.
    command: &'static str,
}

impl<'a> GoFlags<'a> {
    /// Those of `command`, which is called so in its help.
    pub(crate) fn new(arguments: &'a [OsString], command: &'static str) -> Self {
        Self { words: arguments.iter(), name: "", given: None, command }
    }

    /// The name of the next flag.
    ///
    /// # Errors
    /// A word that is no flag.
    pub(crate) fn next(&mut self) -> Result<Option<&'a str>, Failure> {
        let Some(word) = self.words.next() else { return Ok(None) };
        let text = word.to_str().ok_or_else(|| Failure::generic("an argument is not UTF-8"))?;
        let flag = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
        let flag = flag.ok_or_else(|| Failure::generic(format!("unexpected argument {text:?}")))?;
        (self.name, self.given) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        Ok(Some(self.name))
    }

    /// The value of this flag, which may be the next word.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn value(&mut self) -> Result<String, Failure> {
        let value = self.given.or_else(|| self.words.next().and_then(|word| word.to_str()));
        value.map(str::to_owned).ok_or_else(|| Failure::generic(format!("-{} needs a value", self.name)))
    }

    /// Whether this flag, a switch, is on.
    ///
    /// # Errors
    /// Its value is neither true nor false.
    pub(crate) fn switch(&self) -> Result<bool, Failure> {
        match self.given {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(Failure::generic(format!("-{} is true or false, not {other:?}", self.name))),
        }
    }

    /// That the command has no such flag.
    pub(crate) fn unknown(&self) -> Failure {
        Failure::generic(format!("the flag -{} is not known", self.name))
            .with_hint(format!("see: {} -help", self.command))
    }
}
