//! The command line of sops 3.13.3: what is written for that tool runs as it is.
//!
//! Its arguments are read by its own rules ([`flags`]), checked as it checks them, and handed to our commands as *their*
//! arguments ([`translate`]). Which command takes which flags is the [`table`]; what a flag is called and means comes from
//! our own definition, so that there is one.
//!
//! Same are: the command line, the exit statuses, what is printed on standard output, which type a file has by its name,
//! where the configuration is looked for. Different, on purpose:
//!
//! - Bytes stay the user's: sops writes the whole file anew in its own style, we change values in place.
//! - Where a key or a group is removed (`updatekeys`, `groups delete`, `edit -s`) the file gets a new data key, and a note on
//!   stderr says so: whoever had the key could have kept the old one. sops does so only in `rotate`.
//! - `updatekeys` applies a changed `shamir_threshold`; `set` of a value that is there already leaves the file as it is;
//!   `edit -s` keeps what was edited, which sops throws away.
//! - Where sops panics (a path through a value that is no map, a group that is not there, its last key removed) we fail
//!   with status 1 or 111 and the file as it was.
//! - Files are replaced whole or not at all. The editor's file is in memory where there is a memory file system.
//! - `decrypt` does not fail for a configuration that cannot be read: it needs nothing of it.
//! - Messages are our own, on stderr. Phrases that scripts look for are kept ("MAC mismatch", "sops metadata not found").

mod complete;
mod flags;
mod table;
mod translate;

use std::ffi::{OsStr, OsString};

use clap::Command;

use crate::command::version::SOPS_VERSION;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

pub(crate) use table::definition;

/// What a command line of sops asks for.
pub(crate) enum Request {
    /// To run one of our commands with these arguments.
    Run(Vec<OsString>),
    /// Nothing more: it was answered.
    Answered(Code),
}

/// Reads a command line of sops. `ours` is the definition of our own.
///
/// # Errors
/// What sops refuses, with its exit status.
pub(crate) fn read(ours: &Command, argv: &[OsString]) -> Result<Request, Failure> {
    let arguments = argv.get(1..).unwrap_or_default();
    if let Some(line) = complete::asked(arguments) {
        let names = complete::answer(&definition(ours), line);
        if !names.is_empty() {
            term::print(&names)?;
        }
        return Ok(Request::Answered(Code::Success));
    }
    let root = table::root(ours);
    let global = flags::parse(&root, arguments, flags::Order::FlagsFirst).map_err(|error| usage(&error, "sops"))?;
    if global.is_set("help") {
        return help(&mut definition(ours));
    }
    if global.is_set("version") {
        // To the letter: scripts compare it.
        term::print(&format!("sops {SOPS_VERSION}"))?;
        return Ok(Request::Answered(Code::Success));
    }
    let words: Vec<&str> = global.rest.iter().take(2).map_while(|word| word.to_str()).collect();
    match words.as_slice() {
        ["help" | "h"] => return help(&mut definition(ours)),
        ["help" | "h", topic] => {
            return match definition(ours).find_subcommand_mut(topic) {
                Some(command) => help(command),
                None => Err(Failure::new(Code::CouldNotWriteOutput, format!("No help topic for '{topic}'"))),
            };
        }
        [name, ..] => {
            if let Some(mut root) = table::with_one(root, ours, name)
                && let Some(command) = root.find_subcommand_mut(name)
            {
                return subcommand(command, name, &global);
            }
        }
        [] => {}
    }
    translate::legacy(ours, &global).map(Request::Run)
}

fn subcommand(command: &mut Command, name: &str, global: &flags::Parsed) -> Result<Request, Failure> {
    let arguments = &global.rest[1..];
    // Its arguments are not read: it only says that it comes later.
    if name == "publish" {
        return Ok(Request::Run(vec!["bulla".into(), "publish".into()]));
    }
    if command.has_subcommands() {
        return nested(command, name, arguments, global);
    }
    let parsed = flags::parse(command, arguments, flags::Order::Any).map_err(|error| usage(&error, name))?;
    if parsed.is_set("help") {
        return help(command);
    }
    translate::command(&[name], global, &parsed).map(Request::Run)
}

/// `groups add`, `completion bash`: a command whose first argument is a command.
fn nested(
    command: &mut Command,
    name: &str,
    arguments: &[OsString],
    global: &flags::Parsed,
) -> Result<Request, Failure> {
    let parsed = flags::parse(command, arguments, flags::Order::FlagsFirst).map_err(|error| usage(&error, name))?;
    let Some(inner) = parsed.rest.first().filter(|_| !parsed.is_set("help")) else { return help(command) };
    let inner = inner.to_string_lossy().into_owned();
    if inner == "help" || inner == "h" {
        return help(command);
    }
    let Some(definition) = command.find_subcommand_mut(&inner) else {
        return Err(Failure::new(Code::CouldNotWriteOutput, format!("No help topic for '{inner}'")));
    };
    let parsed = flags::parse(definition, &parsed.rest[1..], flags::Order::Any).map_err(|error| usage(&error, name))?;
    if parsed.is_set("help") {
        return help(definition);
    }
    translate::command(&[name, &inner], global, &parsed).map(Request::Run)
}

fn help(command: &mut Command) -> Result<Request, Failure> {
    term::print(&command.render_help().to_string())?;
    Ok(Request::Answered(Code::Success))
}

fn usage(error: &str, command: &str) -> Failure {
    let help = if command == "sops" { "sops --help".to_owned() } else { format!("sops {command} --help") };
    Failure::generic(format!("Incorrect Usage: {error}")).with_hint(format!("see {help}"))
}

/// Whether an argument looks like a flag.
fn looks_like_flag(argument: &OsStr) -> bool {
    argument.as_encoded_bytes().starts_with(b"-")
}
