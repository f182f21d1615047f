//! Flags as Go's `flag` package reads them: one dash or two, `-name=value` or `-name value`, switches as `-name` or
//! `-name=false`; the first word that is no flag ends them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use bulla_kms::vault_client::read_duration;

use crate::failure::Failure;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or true or false.
    Switch,
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// Seconds, or a duration like `1h30m`.
    Time,
    /// A text, as often as one likes.
    Texts,
    /// `key=value`, as often as one likes.
    Pairs,
}

/// A flag that a command knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// For the help. Empty: not shown.
    pub(crate) about: &'static str,
}

/// A flag.
pub(crate) const fn flag(name: &'static str, kind: Kind, about: &'static str) -> Flag {
    Flag { name, kind, about }
}

/// Flags that are another's second name.
const ALIASES: &[(&str, &str)] = &[("ns", "namespace"), ("f", "force"), ("tls-skip", "tls-skip-verify")];

/// The flags of one command line, checked, and the words after them.
#[derive(Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What follows the flags.
    pub(crate) rest: Vec<String>,
    /// `-h` or `-help` is there.
    pub(crate) help: bool,
}

impl Given {
    /// Reads a command's arguments.
    ///
    /// # Errors
    /// A flag that is unknown, lacks its value, or has one of another kind.
    pub(crate) fn read(arguments: &[OsString], known: &[&[Flag]]) -> Result<Self, Failure> {
        let mut given = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let text = utf8(word)?;
            let Some(name) = text.strip_prefix('-').filter(|name| !name.is_empty()) else {
                given.rest.push(text.to_owned());
                break;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() {
                break;
            }
            let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
            if matches!(name, "h" | "help") {
                given.help = true;
                continue;
            }
            let real = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real);
            let flag = known.iter().copied().flatten().find(|flag| flag.name == real);
            let flag = flag.ok_or_else(|| Failure::usage(format!("flag provided but not defined: -{name}")))?;
            let value = match (flag.kind, value) {
                (Kind::Switch, value) => value.unwrap_or("true"),
                (_, Some(value)) => value,
                (_, None) => match words.next() {
                    Some(word) => utf8(word)?,
                    None => return Err(Failure::usage(format!("flag needs an argument: -{name}"))),
                },
            };
            check(flag, value)?;
            let values = given.values.entry(flag.name).or_default();
            if !matches!(flag.kind, Kind::Texts | Kind::Pairs) {
                values.clear();
            }
            values.push(value.to_owned());
        }
        for word in words {
            given.rest.push(utf8(word)?.to_owned());
        }
        Ok(given)
    }

    /// Words after the flags that look like flags.
    pub(crate) fn late(&self) -> Vec<&str> {
        let is_late = |word: &&str| word.len() > 1 && word.starts_with('-');
        self.rest.iter().map(String::as_str).filter(is_late).collect()
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.switch(name).unwrap_or(false)
    }

    /// What a switch was set to, if it was.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).and_then(switch)
    }

    /// A flag's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// A flag's text, if it is not empty.
    pub(crate) fn full(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// A flag's number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// A flag's time, in whole seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(read_duration).map(|time| time.as_secs())
    }

    /// All texts of a flag.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// All pairs of a flag.
    pub(crate) fn pairs(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        self.texts(name).iter().filter_map(|pair| pair.split_once('='))
    }
}

/// A switch as Go reads one.
pub(crate) fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn check(flag: &Flag, value: &str) -> Result<(), Failure> {
    let name = flag.name;
    let bad = |why: &str| Err(Failure::usage(format!("invalid value {value:?} for flag -{name}: {why}")));
    match flag.kind {
        Kind::Switch if switch(value).is_none() => bad("parse error"),
        Kind::Number if value.parse::<i64>().is_err() => {
            bad(&format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
        }
        Kind::Time if read_duration(value).is_none() => bad("not a time like 30s or 1h30m"),
        // What is wrong with it is not shown: headers are credentials as often as not.
        Kind::Pairs if !value.contains('=') => {
            Err(Failure::usage(format!("invalid value for flag -{name}: missing = in KV pair")))
        }
        _ => Ok(()),
    }
}

fn utf8(word: &OsString) -> Result<&str, Failure> {
    word.to_str().ok_or_else(|| Failure::usage("an argument is not UTF-8"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KNOWN: &[Flag] = &[
        flag("force", Kind::Switch, ""),
        flag("format", Kind::Text, ""),
        flag("version", Kind::Number, ""),
        flag("ttl", Kind::Time, ""),
        flag("policy", Kind::Texts, ""),
        flag("metadata", Kind::Pairs, ""),
    ];

    fn read(words: &[&str]) -> Result<Given, Failure> {
        Given::read(&words.iter().map(OsString::from).collect::<Vec<_>>(), &[KNOWN])
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let given =
            read(&["-f", "--format", "json", "-version=-1", "-ttl=90m", "-policy=a", "-policy", "b", "x", "-f"])
                .unwrap();
        assert!(given.is_on("force"));
        assert_eq!(
            (given.text("format"), given.number("version"), given.seconds("ttl")),
            (Some("json"), Some(-1), Some(5400))
        );
        assert_eq!(given.texts("policy"), ["a", "b"]);
        assert_eq!((given.rest.as_slice(), given.late()), (&["x".to_owned(), "-f".to_owned()][..], vec!["-f"]));
        assert_eq!(read(&["--", "-x"]).unwrap().rest, ["-x"]);
        assert_eq!(read(&["-", "-x"]).unwrap().rest, ["-", "-x"]);
        assert!(!read(&["-force=false"]).unwrap().is_on("force"));
    }

    #[test]
    fn what_a_flag_does_not_take_is_refused() {
        for words in
            [&["-nope"][..], &["-format"], &["-version=x"], &["-ttl=foo"], &["-force=maybe"], &["-metadata=hunter2"]]
        {
            let failure = read(words).err().unwrap();
            assert!(failure.status == 1 && !failure.message.contains("hunter2"), "{words:?}");
        }
    }
}
