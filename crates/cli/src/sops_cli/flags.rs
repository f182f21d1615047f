//! Flags as Go's `flag` package and urfave/cli 1.22 read them, on which sops' command line stands.
//!
//! One dash or two mean the same: `-age x`, `--age x`, `-age=x`. A flag that is true or false takes a value only after
//! `=`. The first argument that is no flag ends them, as does `--`. Before a command's arguments are read, urfave moves
//! flags it knows to the front, each with the argument after it if that is no known flag.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgAction, Command};

/// Where flags may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Before every other argument.
    FlagsFirst,
    /// Anywhere.
    Any,
}

/// A command line that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// The flags that were given, by long name, with their values in order. Of flags without, `true` or `false`.
    pub(super) flags: Vec<(String, OsString)>,
    /// The other arguments.
    pub(super) rest: Vec<OsString>,
}

impl Parsed {
    /// Whether a flag without a value was given and not as false.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| value == "true")
    }

    /// A flag's value: the last that was given.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.flags.iter().rev().find_map(|(flag, value)| (flag == name).then_some(value.as_os_str()))
    }

    /// A flag's value, if it is not empty.
    pub(super) fn given(&self, name: &str) -> Option<&OsStr> {
        self.value(name).filter(|value| !value.is_empty())
    }
}

/// Reads arguments by the definition of their command.
///
/// # Errors
/// The message that sops has for it.
pub(super) fn parse(command: &Command, arguments: &[OsString], order: Order) -> Result<Parsed, String> {
    let reordered;
    let mut arguments = match order {
        Order::FlagsFirst => arguments,
        Order::Any => {
            reordered = flags_first(command, arguments);
            &reordered
        }
    };
    let mut parsed = Parsed::default();
    // Which of its names a flag was given by.
    let mut used: Vec<(String, String)> = Vec::new();
    while let Some((argument, after)) = arguments.split_first() {
        let bytes = argument.as_bytes();
        if bytes.len() < 2 || bytes[0] != b'-' {
            break;
        }
        arguments = after;
        let body = if bytes[1] == b'-' { &bytes[2..] } else { &bytes[1..] };
        if body.is_empty() {
            break;
        }
        if matches!(body[0], b'-' | b'=') {
            return Err(format!("bad flag syntax: {}", argument.to_string_lossy()));
        }
        let (name, value) = match body.iter().position(|&byte| byte == b'=') {
            Some(at) => (&body[..at], Some(OsStr::from_bytes(&body[at + 1..]).to_owned())),
            None => (body, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let Some(flag) = find(command, &name) else { return Err(format!("flag provided but not defined: -{name}")) };
        let value = match (kind(flag), value) {
            (Kind::Switch, None) => "true".into(),
            (Kind::Switch, Some(value)) => switch(&value)
                .ok_or_else(|| format!("invalid boolean value {:?} for -{name}: parse error", value.to_string_lossy()))?
                .into(),
            (Kind::Value, Some(value)) => value,
            (Kind::Value, None) => {
                let (value, after) =
                    arguments.split_first().ok_or_else(|| format!("flag needs an argument: -{name}"))?;
                arguments = after;
                value.clone()
            }
        };
        let long = flag.get_long().unwrap_or_default().to_owned();
        if (long == "indent" || long == "shamir-secret-sharing-threshold")
            && value.to_string_lossy().parse::<i64>().is_err()
        {
            return Err(format!("invalid value {:?} for flag -{name}: parse error", value.to_string_lossy()));
        }
        if let Some((_, other)) = used.iter().find(|(flag, other)| *flag == long && *other != name) {
            return Err(format!("Cannot use two forms of the same flag: {name} {other}"));
        }
        used.push((long.clone(), name));
        parsed.flags.push((long, value));
    }
    parsed.rest = arguments.to_vec();
    Ok(parsed)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Switch,
    Value,
}

fn kind(flag: &Arg) -> Kind {
    match flag.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => Kind::Switch,
        _ => Kind::Value,
    }
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let mut chars = name.chars();
        let short = chars.next().filter(|_| chars.next().is_none());
        arg.get_long() == Some(name)
            || (short.is_some() && arg.get_short() == short)
            || arg.get_visible_aliases().is_some_and(|aliases| aliases.contains(&name))
    })
}

fn switch(value: &OsStr) -> Option<&'static str> {
    // Unlike in a variable, an empty value is an error here.
    if value.is_empty() {
        return None;
    }
    crate::args::go_bool(value.to_str()?).ok().map(|value| if value { "true" } else { "false" })
}

/// urfave's `reorderArgs`, its oddity included: the argument after *any* flag goes with it.
fn flags_first(command: &Command, arguments: &[OsString]) -> Vec<OsString> {
    let (mut flags, mut rest) = (Vec::new(), Vec::new());
    let mut value_may_follow = false;
    for (index, argument) in arguments.iter().enumerate() {
        if value_may_follow && !is_flag(command, argument) {
            value_may_follow = false;
            flags.push(argument.clone());
        } else if argument == "--" {
            rest.insert(0, argument.clone());
            rest.extend_from_slice(&arguments[index + 1..]);
            break;
        } else if is_flag(command, argument) {
            flags.push(argument.clone());
            value_may_follow = !argument.as_bytes().contains(&b'=');
        } else {
            rest.push(argument.clone());
        }
    }
    flags.extend(rest);
    flags
}

fn is_flag(command: &Command, argument: &OsStr) -> bool {
    let Some(text) = argument.to_str() else { return false };
    if matches!(text, "-" | "--") {
        return false;
    }
    let Some(name) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else { return false };
    find(command, name.split('=').next().unwrap_or_default()).is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn command() -> Command {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let value = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
        Command::new("test").args([switch("in-place").short('i'), value("age").short('a'), value("indent")])
    }

    fn read(arguments: &[&str], order: Order) -> Result<Parsed, String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        parse(&command(), &arguments, order)
    }

    fn flags(parsed: &Parsed) -> Vec<(&str, &str)> {
        parsed.flags.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn one_dash_is_as_good_as_two_and_values_may_follow() {
        let parsed = read(&["-age=x", "--age", "y", "-i", "--in-place=false", "file", "-i"], Order::FlagsFirst);
        assert_eq!(parsed.unwrap_err(), "Cannot use two forms of the same flag: in-place i");
        let parsed = read(&["-age=x", "--age", "y", "-i", "file", "-i"], Order::FlagsFirst).unwrap();
        assert_eq!(flags(&parsed), [("age", "x"), ("age", "y"), ("in-place", "true")]);
        assert_eq!(parsed.rest, ["file", "-i"]);
        assert_eq!(parsed.value("age").unwrap(), "y");
    }

    #[test]
    fn commands_take_their_flags_anywhere() {
        let parsed = read(&["file", "-i", "--age", "x"], Order::Any).unwrap();
        assert!(parsed.is_set("in-place"));
        assert_eq!(parsed.value("age").unwrap(), "x");
        assert_eq!(parsed.rest, ["file"]);
        // A switch takes what follows it along, but not as its value.
        assert_eq!(read(&["a", "-i", "b"], Order::Any).unwrap().rest, ["b", "a"]);
        assert_eq!(read(&["a", "--", "-i"], Order::Any).unwrap().rest, ["a", "-i"]);
    }

    #[test]
    fn errors_are_those_of_sops() {
        for (arguments, message) in [
            (["--bogus", "x"], "flag provided but not defined: -bogus"),
            (["-i", "--age"], "flag needs an argument: -age"),
            (["-i=maybe", "x"], "invalid boolean value \"maybe\" for -i: parse error"),
            (["--indent", "x"], "invalid value \"x\" for flag -indent: parse error"),
            (["---age", "x"], "bad flag syntax: ---age"),
        ] {
            assert_eq!(read(&arguments, Order::Any).unwrap_err(), message);
        }
    }
}
