//! `exec-env`, `exec-file` and `env`: a program is started with secrets, which never touch the disk.
//!
//! - [`environment`]: what the secrets of a file are called in the program's environment;
//! - [`mounted`]: what those of mounted volumes are called; [`watch`]: when they change; [`install`]: this program in another container;
//! - [`fifo`], [`memfd`]: a file for the program that has no disk under it;
//! - [`user`]: another user to run it as;
//! - [`child`], [`signals`]: the running program, its signals and its exit status.
//!
//! Where plaintext is meanwhile: in this process' memory, in a pipe's or memfd's kernel pages, in the program. It is not
//! in any command line and not in the environment of bulla.

mod child;
pub(crate) mod environment;
mod fifo;
mod folder;
pub(crate) mod install;
mod memfd;
pub(crate) mod mounted;
mod signals;
mod user;
pub(crate) mod watch;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use bulla_core::SecretBytes;

use crate::error::Failure;
use crate::exit::Code;
use child::{Program, Start};
use environment::{Change, Variable};
use fifo::Fifo;
use folder::Folder;
use memfd::Memfd;
use user::User;

pub(crate) use child::Lifetime;

/// The variable of sops that holds a private key itself. The program gets secrets, not the key to all of them.
const KEY_VARIABLE: &str = "SOPS_AGE_KEY";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandLine {
    /// A program and its arguments, passed on as they are. Not empty.
    Argv(Vec<OsString>),
    /// A text for `/bin/sh -c`.
    Shell(OsString),
}

/// Whose environment the program starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inherited {
    /// Ours, without the private key that may be in it.
    WithoutKeys,
    /// Ours as it is, as sops has it.
    All,
    /// Nothing (`--pristine`).
    Nothing,
}

/// How a program that a signal ended is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalStatus {
    /// 128 and the signal's number, as shells have it.
    Shell,
    /// 255, as sops has it.
    Sops,
}

/// How to run a program, whatever it is given.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// What to run.
    pub(crate) command: CommandLine,
    /// Whose environment it starts from.
    pub(crate) inherited: Inherited,
    /// The user to run it as: a name, or `UID` or `UID:GID`.
    pub(crate) user: Option<String>,
    /// Whether it is waited for.
    pub(crate) lifetime: Lifetime,
    /// How its end by a signal is reported.
    pub(crate) signal_status: SignalStatus,
}

/// What stands for the file in the program's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileForm {
    /// A named pipe: its contents are in pages that are never swapped, and it can be read once for each time it is opened.
    Fifo,
    /// A sealed memfd: a regular file in memory, which can be mapped and sought in. Its pages can be swapped.
    Memfd,
}

/// Runs a program with variables in its environment. Answers its exit status.
///
/// # Errors
/// If the user is not known or cannot be taken on, or the program cannot be started.
pub(crate) fn with_environment(variables: Vec<Variable>, options: &Options) -> Result<Code, Failure> {
    let user = options.user.as_deref().map(User::find).transpose()?;
    let program = Program {
        command: options.command.clone(),
        environment: merge(options.inherited, user.as_ref(), variables),
        user,
    };
    child::run(Start { program, hand_over: None, lifetime: options.lifetime, signal_status: options.signal_status })
}

/// Runs a program that finds `contents` under the path put in for `{}`. `name` is that path's last part.
///
/// # Errors
/// As [`with_environment`]; if `{}` stands nowhere in an argv, or `name` is not a plain file name.
pub(crate) fn with_file(
    contents: SecretBytes,
    form: FileForm,
    name: Option<&OsStr>,
    options: &Options,
) -> Result<Code, Failure> {
    if let Some(name) = name {
        check_name(name)?;
    }
    let user = options.user.as_deref().map(User::find).transpose()?;
    let environment = merge(options.inherited, user.as_ref(), Vec::new());
    let start = |path: &Path, user, hand_over| {
        Ok::<_, Failure>(Start {
            program: Program { command: put_in(&options.command, path)?, environment, user },
            hand_over,
            lifetime: options.lifetime,
            signal_status: options.signal_status,
        })
    };
    // A pipe needs someone at its other end, and after the start only a waiting bulla is that.
    let form = if options.lifetime == Lifetime::Waited { form } else { FileForm::Memfd };
    match form {
        FileForm::Fifo => {
            let folder = Folder::create(user.as_ref())?;
            let path = folder.path().join(name.unwrap_or(OsStr::new("secret")));
            let start = start(&path, user.clone(), None)?;
            let fifo = Fifo::serve(&path, contents, user.as_ref())?;
            let status = child::run(start);
            fifo.stop();
            status
        }
        FileForm::Memfd => {
            let memfd = Memfd::sealed(&contents, user.as_ref())?;
            drop(contents);
            let Some(name) = name else {
                let path = memfd.path();
                return child::run(start(&path, user, Some(memfd))?);
            };
            // A link holds a name, no data; whoever follows it finds its own descriptor.
            let folder = Folder::create(user.as_ref())?;
            let path = folder.path().join(name);
            std::os::unix::fs::symlink(memfd.path(), &path)
                .map_err(|error| Failure::generic(format!("cannot make the link {}: {error}", path.display())))?;
            let start = start(&path, user, Some(memfd))?;
            if options.lifetime != Lifetime::Waited {
                folder.keep();
            }
            child::run(start)
        }
    }
}

/// The whole environment of the program: inherited, of the user, of the file; the later wins.
fn merge(inherited: Inherited, user: Option<&User>, variables: Vec<Variable>) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = match inherited {
        Inherited::Nothing => BTreeMap::new(),
        Inherited::All => std::env::vars_os().collect(),
        Inherited::WithoutKeys => std::env::vars_os().filter(|(name, _)| name != KEY_VARIABLE).collect(),
    };
    if let Some(user) = user {
        environment.extend(user.variables());
    }
    for Variable { name, change } in variables {
        match change {
            Change::Set(value) => {
                environment.insert(name.into(), OsString::from_vec(value.expose().to_vec()));
            }
            Change::Remove => {
                environment.remove(OsStr::new(&name));
            }
        }
    }
    environment
}

/// The command line with the path for `{}`.
fn put_in(command: &CommandLine, path: &Path) -> Result<CommandLine, Failure> {
    match command {
        CommandLine::Argv(argv) => {
            if !argv.iter().any(|argument| contains(argument, b"{}")) {
                return Err(Failure::generic("no argument of the command holds {}, where the file's path is put in")
                    .with_hint("write {} where the program expects the file: bulla exec-file FILE -- cat {}"));
            }
            Ok(CommandLine::Argv(argv.iter().map(|argument| replace(argument, path)).collect()))
        }
        CommandLine::Shell(text) => {
            let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,%".contains(byte);
            if !path.as_os_str().as_bytes().iter().all(harmless) {
                return Err(Failure::generic(format!(
                    "the path {:?} has characters in it that a shell would read as its own",
                    path.display().to_string()
                ))
                .with_hint("choose another --filename or TMPDIR, or run the program without a shell"));
            }
            Ok(CommandLine::Shell(replace(text, path)))
        }
    }
}

fn contains(text: &OsStr, part: &[u8]) -> bool {
    text.as_bytes().windows(part.len()).any(|window| window == part)
}

fn replace(text: &OsStr, path: &Path) -> OsString {
    let mut rest = text.as_bytes();
    let mut out = Vec::with_capacity(rest.len() + path.as_os_str().len());
    while let Some(at) = rest.windows(2).position(|window| window == b"{}") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(path.as_os_str().as_bytes());
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    OsString::from_vec(out)
}

fn check_name(name: &OsStr) -> Result<(), Failure> {
    let plain = Path::new(name).file_name() == Some(name);
    if plain {
        return Ok(());
    }
    Err(Failure::generic(format!("--filename {}: not the name of a file, without folders", name.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn argv(arguments: &[&str]) -> CommandLine {
        CommandLine::Argv(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn every_placeholder_of_every_argument_becomes_the_path() {
        let put = put_in(&argv(&["a", "x={},y={}", "{}"]), Path::new("/t/f")).unwrap();
        assert_eq!(put, argv(&["a", "x=/t/f,y=/t/f", "/t/f"]));
    }

    #[test]
    fn an_argv_without_a_placeholder_is_a_mistake_that_is_told() {
        assert!(put_in(&argv(&["cat", "file"]), Path::new("/t/f")).unwrap_err().message.contains("{}"));
    }

    #[test]
    fn a_path_that_a_shell_would_read_otherwise_is_refused_for_a_shell_only() {
        let path = Path::new("/t/$(id)");
        assert!(put_in(&CommandLine::Shell("cat {}".into()), path).is_err());
        assert_eq!(put_in(&argv(&["cat", "{}"]), path).unwrap(), argv(&["cat", "/t/$(id)"]));
    }

    #[test]
    fn only_a_plain_file_name_is_a_file_name() {
        for name in ["a.yaml", "..a", "a b"] {
            assert!(check_name(OsStr::new(name)).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "/a", "a/b", "a/", "../a"] {
            assert!(check_name(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
