//! The command line of Vault's and `OpenBao`'s clients: what is written for `vault` and `bao` runs as it is.
//!
//! Flags, variables, files, what is printed and exit statuses are the peer's (0: done; 1: the command line, or this machine; 2: what
//! the server said; `status`: 0 unsealed, 1 no answer, 2 sealed). Different, on purpose:
//!
//! - `login -method=approle` is there; other methods are those of the table in `command/login.rs`.
//! - Secrets can be given as `@file` and `-` where the peer has words alone: tokens and unseal keys.
//! - What is wrong with a `key=value` argument is said without the argument, which may be a secret.
//! - An answer that is no JSON is shown only if it is an error, cut, and without control characters.
//! - With `VAULT_MAX_RETRIES`, what writes is repeated only where the server says that it did nothing.
//! - Numbers keep the digits that the server sends.
//!
//! Not there: `proxy`, `ssh`, `pki`, `debug`, `plugin`, `operator raft` but its `snapshot save`, `diagnose`, token helpers that are programs.
//!
//! The table of commands (`command::COMMANDS`) is the one source of parsing, help and completion.

mod answer;
mod client;
mod command;
mod complete;
mod context;
mod data;
mod failure;
mod flags;
mod help;
mod helper;
mod policy_text;
mod show;

use std::ffi::OsString;

use bulla_core::Env;

use command::{Command, Output};
use context::Context;
use failure::Failure;
use flags::Given;

/// Under which name the program was started: what it calls itself, its product, and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `vault`.
    Vault,
    /// `bao`.
    Bao,
}

impl Name {
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Bao => "bao",
        }
    }

    pub(crate) const fn product(self) -> &'static str {
        match self {
            Self::Vault => "Vault",
            Self::Bao => "OpenBao",
        }
    }

    /// What its variables begin with, in what it prints.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Vault => "VAULT",
            Self::Bao => "BAO",
        }
    }
}

/// What the caller provides.
pub struct Host<'a> {
    /// The name the program was started under.
    pub name: Name,
    /// The environment.
    pub env: &'a dyn Env,
    /// The version of Vault's API that the server of this program has, as `1.2.3+build`.
    pub version: &'a str,
}

/// Runs a command line without the program's own name, and gives the exit status.
#[must_use]
pub fn run(host: &Host<'_>, arguments: &[OsString]) -> u8 {
    if let Some(line) = host.env.text("COMP_LINE") {
        return status(context::print(&complete::answer(&line)).map(|()| 0));
    }
    status(dispatch(host, arguments))
}

fn status(result: Result<u8, Failure>) -> u8 {
    match result {
        Ok(status) => status,
        Err(Failure { instead: Some(text), .. }) => status(context::print(&text).map(|()| 0)),
        Err(failure) => {
            if !failure.message.is_empty() {
                context::warn(&failure.message);
            }
            failure.status
        }
    }
}

fn dispatch(host: &Host<'_>, arguments: &[OsString]) -> Result<u8, Failure> {
    let is_help = |word: &OsString| ["-h", "-help", "--help", "help"].iter().any(|help| word == help);
    let is_version = |word: &OsString| ["-v", "-version", "--version", "version"].iter().any(|version| word == version);
    match arguments.first() {
        None => {
            context::warn(&help::group(host.name, ""));
            return Ok(127);
        }
        Some(word) if is_version(word) => {
            context::print(&format!(
                "{} v{} (bulla {})\n",
                host.name.product(),
                host.version,
                env!("CARGO_PKG_VERSION")
            ))?;
            return Ok(0);
        }
        Some(word) if is_help(word) => {
            context::print(&format!("{}\n", help::group(host.name, "")))?;
            return Ok(0);
        }
        Some(_) => {}
    }
    let Some((command, rest)) = command::find(arguments) else {
        return group(host, arguments);
    };
    let given = Given::read(rest, &command.known_flags())?;
    if given.help {
        context::print(&format!("{}\n", help::command(host.name, command)))?;
        return Ok(0);
    }
    let late = given.late();
    if !late.is_empty() && !matches!(command.name, "server") {
        context::warn(&format!(
            "Command flags must be provided before positional arguments. The following arguments will not be parsed as flags: [{}]",
            // A flag's value may be a secret.
            late.iter().map(|word| word.split('=').next().unwrap_or_default()).collect::<Vec<_>>().join(" ")
        ));
    }
    count(command, given.rest.len())?;
    let context = Context::new(host.name, given, host.env);
    let is_raw_allowed = command.name == "read";
    if command.output != Output::None && context.format()? == show::Format::Raw && !is_raw_allowed {
        return Err(Failure::usage("This command does not support the -format=raw option."));
    }
    (command.run)(&context)
}

/// A group of commands without one of its commands: its help.
fn group(host: &Host<'_>, arguments: &[OsString]) -> Result<u8, Failure> {
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let name = command::group(&words);
    let asks = words.iter().any(|word| matches!(*word, "-h" | "-help" | "--help"));
    let text = help::group(host.name, &name);
    if asks {
        context::print(&format!("{text}\n"))?;
        return Ok(0);
    }
    if words.first().is_some_and(|word| word.starts_with('-')) {
        context::warn(
            "Invalid flags before the subcommand. If these flags are for\nthe subcommand, please put them after the subcommand.\n",
        );
        context::warn(&text);
        return Ok(1);
    }
    context::warn(&text);
    Ok(if name.is_empty() { 127 } else { 1 })
}

fn count(command: &Command, words: usize) -> Result<(), Failure> {
    let (least, most) = command.words;
    let expected = match most {
        Some(most) if most == least => least.to_string(),
        Some(most) => format!("{least}-{most}"),
        None if matches!(command.name, "kv put" | "kv patch") => format!(">{least}"),
        None if command.name == "delete" => format!("at least {least}"),
        None => least.to_string(),
    };
    if words < least {
        return Err(Failure::usage(format!("Not enough arguments (expected {expected}, got {words})")));
    }
    if most.is_some_and(|most| words > most) {
        return Err(Failure::usage(format!("Too many arguments (expected {expected}, got {words})")));
    }
    Ok(())
}
