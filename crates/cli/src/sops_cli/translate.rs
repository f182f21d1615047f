//! A command line of sops as the arguments of our commands.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;

use super::flags::Parsed;
use super::looks_like_flag;
use crate::args::KEY_FLAGS;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// The types that sops knows. Others are as if not given.
const TYPES: [&str; 5] = ["binary", "dotenv", "ini", "json", "yaml"];
/// Flags before the command that sops reads in commands as well, or that only exist there.
const GLOBAL: [&str; 6] =
    ["config", "indent", "verbose", "mac-only-encrypted", "unencrypted-comment-regex", "encrypted-comment-regex"];
/// Flags without a command that stand for commands, or have no effect here.
const NOT_OURS: [&str; 6] = ["decrypt", "encrypt", "rotate", "set", "disable-version-check", "check-for-updates"];

/// Our arguments for a command of sops.
///
/// # Errors
/// The wrong number of arguments, and what sops refuses before it looks at a file.
pub(super) fn command(path: &[&str], global: &Parsed, parsed: &Parsed) -> Result<Vec<OsString>, Failure> {
    let mut ours = Ours::new(path);
    for (name, _) in &global.flags {
        if !GLOBAL.contains(&name.as_str()) && !NOT_OURS.contains(&name.as_str()) {
            term::warn(&format!("--{name} has no effect before the command; write it after \"{}\"", path.join(" ")));
        }
    }
    let rules = matches!(path, ["encrypt" | "edit"]);
    for name in GLOBAL {
        if rules || matches!(name, "config" | "indent" | "verbose") {
            ours.flag(global, name);
        }
    }
    let mut names: Vec<&str> = parsed.flags.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    for name in names {
        ours.flag(parsed, name);
    }
    ours.arguments_of(path, parsed)?;
    Ok(ours.finish())
}

/// Our arguments for a command line of sops without a command: `sops -d FILE`, `sops FILE`. `definition` is that of ours.
///
/// # Errors
/// As [`command`].
pub(super) fn legacy(definition: &Command, parsed: &Parsed) -> Result<Vec<OsString>, Failure> {
    one(&parsed.rest, "no file specified")?;
    if parsed.is_set("in-place") && parsed.given("output").is_some() {
        return Err(conflict("cannot operate on both --output and --in-place"));
    }
    let file = Path::new(&parsed.rest[0]);
    let set = parsed.given("set");
    let modes = [
        (set.is_some(), "set"),
        (parsed.is_set("rotate"), "rotate"),
        (parsed.is_set("decrypt"), "decrypt"),
        (parsed.is_set("encrypt"), "encrypt"),
    ];
    if !file.exists() {
        let changes = ["add-", "rm-"]
            .iter()
            .any(|prefix| KEY_FLAGS.iter().any(|flag| parsed.given(&format!("{prefix}{}", flag.long)).is_some()));
        if changes {
            let what = format!(
                "Error: cannot add or remove keys on non-existent file {:?}, use `--kms` and `--pgp` instead.",
                file.display().to_string()
            );
            return Err(Failure::new(Code::NoFileToRekey, what));
        }
        if modes[1..].iter().any(|(asked, _)| *asked) {
            let what = format!("Error: cannot operate on non-existent file {:?}", file.display().to_string());
            return Err(Failure::new(Code::NoFile, what));
        }
    }
    if modes.iter().filter(|(asked, _)| *asked).count() > 1 {
        term::warn(
            "more than one of --encrypt, --decrypt, --rotate and --set is given; only the last of these is done",
        );
    }
    // Where several are asked for sops shows the result of the last in its own order.
    let name = modes.iter().find_map(|(asked, name)| asked.then_some(*name)).unwrap_or("edit");
    let mut ours = Ours::new(&[name]);
    let commands: Vec<&Command> = std::iter::once(definition).chain(definition.find_subcommand(name)).collect();
    // Every mode of sops takes every flag, and looks at those that are about it.
    let takes =
        |flag: &str| commands.iter().any(|command| command.get_arguments().any(|arg| arg.get_long() == Some(flag)));
    let mut names: Vec<&str> = parsed.flags.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for flag in names.into_iter().filter(|flag| !NOT_OURS.contains(flag) && takes(flag)) {
        ours.flag(parsed, flag);
    }
    match set.filter(|_| name == "set") {
        Some(set) => {
            let (path, value) = split_set(set).ok_or_else(|| Failure::new(Code::BadSet, "Invalid --set format"))?;
            ours.positional.extend([path_argument(&parsed.rest[0]), path, value]);
        }
        None => ours.first(&parsed.rest),
    }
    Ok(ours.finish())
}

/// `["key"] value`: sops splits at the first `] `.
fn split_set(set: &OsStr) -> Option<(OsString, OsString)> {
    let (path, value) = set.to_str()?.split_once("] ")?;
    Some((format!("{path}]").into(), value.into()))
}

/// Our arguments as they are put together.
struct Ours {
    arguments: Vec<OsString>,
    positional: Vec<OsString>,
}

impl Ours {
    fn new(path: &[&str]) -> Self {
        let mut arguments: Vec<OsString> = vec!["bulla".into()];
        arguments.extend(path.iter().map(OsString::from));
        Self { arguments, positional: Vec::new() }
    }

    /// Passes a flag on, if it was given: lists with all their values, others with the last.
    fn flag(&mut self, parsed: &Parsed, name: &str) {
        let Some(last) = parsed.value(name) else { return };
        let is_type = matches!(name, "input-type" | "output-type");
        if is_type && !TYPES.iter().any(|known| last == *known) {
            return;
        }
        let is_switch = last == "true" || last == "false";
        if is_switch && name != "enable-local-keyservice" && !is_text(name) {
            if last == "true" {
                self.arguments.push(format!("--{name}").into());
            }
            return;
        }
        let is_number = matches!(name, "indent" | "shamir-secret-sharing-threshold");
        if last.is_empty() && (is_number || !may_be_empty(name)) {
            return;
        }
        let is_list = name == "keyservice" || self.arguments.get(1).is_some_and(|command| command == "groups");
        for (flag, value) in &parsed.flags {
            if flag == name && (is_list || std::ptr::eq(value.as_os_str(), last)) {
                let mut argument = OsString::from(format!("--{name}="));
                argument.push(value);
                self.arguments.push(argument);
            }
        }
    }

    /// Takes the arguments that are no flags, as many as sops takes.
    fn arguments_of(&mut self, path: &[&str], parsed: &Parsed) -> Result<(), Failure> {
        let rest = &parsed.rest;
        let exactly = |wanted: usize, failure: Failure| if rest.len() == wanted { Ok(()) } else { Err(failure) };
        match path {
            ["encrypt" | "decrypt"] => {
                let stdin = rest.is_empty();
                if stdin && parsed.is_set("in-place") {
                    return Err(conflict("cannot use --in-place when reading from stdin"));
                }
                if path == ["encrypt"] && stdin && parsed.given("filename-override").is_none() {
                    return Err(conflict("must specify --filename-override when reading from stdin"));
                }
                self.first(rest);
            }
            ["rotate" | "edit" | "filestatus"] => {
                one(rest, "no file specified")?;
                self.first(rest);
            }
            ["set"] => {
                let stdin = parsed.is_set("value-stdin");
                if stdin && parsed.is_set("value-file") {
                    return Err(Failure::generic("Error: cannot use both --value-file and --value-stdin"));
                }
                let wanted = if stdin { 2 } else { 3 };
                let what = format!(
                    "Error: no file specified, or index and value are missing. \
                     Need precisely {wanted} positional arguments."
                );
                exactly(wanted, Failure::new(Code::NoFile, what))?;
                self.all(rest);
            }
            ["unset"] => {
                exactly(2, Failure::new(Code::NoFile, "Error: no file specified, or index is missing"))?;
                self.all(rest);
            }
            ["groups", "add"] => exactly(0, Failure::generic("error: no positional arguments allowed"))?,
            ["groups", "delete"] => {
                exactly(1, Failure::generic("error: exactly one positional argument (index) required"))?;
                self.all(rest);
            }
            ["exec-env" | "exec-file"] => {
                exactly(2, Failure::generic("error: missing file to decrypt"))?;
                if parsed.is_set("same-process") && parsed.is_set("background") {
                    return Err(conflict("The --same-process flag cannot be used with --background"));
                }
                self.all(rest);
            }
            // Whether there is a file at all, sops asks only after it found its configuration.
            ["updatekeys"] => self.all(rest),
            _ => {}
        }
        Ok(())
    }

    fn first(&mut self, rest: &[OsString]) {
        if rest.len() > 1 {
            term::warn("More than one positional argument provided. Only the first one will be used!");
            if let Some(flag) = rest[1..].iter().find(|argument| looks_like_flag(argument)) {
                term::warn(&format!(
                    "{:?} looks like a flag. Flags must come before the file.",
                    flag.to_string_lossy()
                ));
            }
        }
        self.positional.extend(rest.first().map(|argument| path_argument(argument)));
    }

    fn all(&mut self, rest: &[OsString]) {
        self.positional.extend(rest.first().map(|argument| path_argument(argument)));
        self.positional.extend_from_slice(rest.get(1..).unwrap_or_default());
    }

    fn finish(mut self) -> Vec<OsString> {
        self.arguments.push("--".into());
        self.arguments.append(&mut self.positional);
        self.arguments
    }
}

/// To sops `-` is a file of that name.
fn path_argument(argument: &OsStr) -> OsString {
    if argument == "-" { "./-".into() } else { argument.to_owned() }
}

/// Flags whose value may read `true` without being switches.
fn is_text(name: &str) -> bool {
    !matches!(
        name,
        "in-place"
            | "ignore-mac"
            | "mac-only-encrypted"
            | "show-master-keys"
            | "value-file"
            | "value-stdin"
            | "idempotent"
            | "yes"
            | "background"
            | "pristine"
            | "same-process"
            | "no-fifo"
            | "prompt"
            | "verbose"
    )
}

/// Flags with a variable: an empty value takes the variable's place.
fn may_be_empty(name: &str) -> bool {
    name == "decryption-order" || KEY_FLAGS.iter().any(|flag| flag.long == name)
}

fn one(rest: &[OsString], missing: &str) -> Result<(), Failure> {
    if rest.is_empty() { Err(Failure::new(Code::NoFile, format!("Error: {missing}"))) } else { Ok(()) }
}

fn conflict(what: &str) -> Failure {
    Failure::new(Code::ConflictingFlags, format!("Error: {what}"))
}
