//! `env`: runs a program with the files of mounted volumes as its environment variables.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::Signal;

use crate::app::App;
use crate::args::duration;
use crate::env_vars::BULLA_ENV_FROM;
use crate::error::Failure;
use crate::exec::mounted::{Mapping, Mounted, Names};
use crate::exec::watch::{self, Change};
use crate::exec::{self, CommandLine, Inherited, Lifetime, Options, SignalStatus, install};
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla env -- /usr/bin/server                              every file of /run/secrets/bulla
  bulla env --from /secrets --prefix DB_ -- ./server        /secrets/password becomes DB_PASSWORD
  bulla env --map PGPASSWORD=password -- psql               that file alone, under that name
  bulla env --on-change restart -- ./server                 with new values once there are some
  bulla env --install /run/bulla                            copies this program there, for other containers

A file's name becomes a variable's: letters in upper case, `-`, `.` and `/` as `_`. The program takes the place of
this process, unless --on-change is given. No shell reads the command.";

/// Where files are looked for when nobody says where.
const FOLDER: &str = "/run/secrets/bulla";

/// Arguments of `env`.
#[derive(Args, Debug)]
pub(crate) struct EnvArgs {
    /// The program and its arguments
    #[arg(
        required_unless_present = "install",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<OsString>,

    #[arg(
        long,
        value_name = "FOLDER",
        help = "A mounted folder; may be repeated (default: BULLA_ENV_FROM, with colons between, then /run/secrets/bulla)"
    )]
    from: Vec<PathBuf>,

    /// What the names of variables begin with that files' names become
    #[arg(long, value_name = "PREFIX", default_value = "")]
    prefix: String,

    /// This file under this name; with one or more of them no other file is taken
    #[arg(long, value_name = "NAME=FILE", value_parser = Mapping::parse)]
    map: Vec<Mapping>,

    /// Take the other files too
    #[arg(long, requires = "map")]
    all: bool,

    #[arg(
        long,
        value_name = "HOW",
        default_value = "upper",
        hide_possible_values = true,
        help = "What becomes of files' names: upper (db-password is DB_PASSWORD) or as-is"
    )]
    names: NamesArg,

    /// Leave the line break at the end of a file where it is
    #[arg(long)]
    exact: bool,

    /// When files change: restart the program, or send it a signal (HUP, INT, QUIT, TERM, USR1, USR2)
    #[arg(long, value_name = "WHAT", value_parser = change)]
    on_change: Option<Change>,

    /// Wait a random part of this time before that, so that not all replicas do it at once
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, requires = "on_change")]
    splay: Duration,

    /// How long the program has to end before it is killed, for a restart
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration, requires = "on_change")]
    stop_timeout: Duration,

    /// Copy this program into a folder, as `bulla`, and do nothing else
    #[arg(long, value_name = "FOLDER", exclusive = true)]
    install: Option<PathBuf>,
}

/// What becomes of files' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NamesArg {
    /// Upper case, `_` for what no name has.
    Upper,
    /// Nothing.
    AsIs,
}

/// Reads the files and becomes the program; or copies this one.
///
/// # Errors
/// If a folder is not there (100), cannot be read (2), has no file or one that cannot be a variable (1), or the program cannot be run (126, 127).
pub(crate) fn run(app: &App, args: EnvArgs) -> Result<Code, Failure> {
    if let Some(folder) = &args.install {
        install::install(folder)?;
        return Ok(Code::Success);
    }
    let mounted = Mounted {
        folders: folders(app, args.from),
        prefix: args.prefix,
        mappings: args.map,
        all: args.all,
        names: match args.names {
            NamesArg::Upper => Names::Upper,
            NamesArg::AsIs => Names::AsIs,
        },
        exact: args.exact,
    };
    let options = |lifetime| Options {
        command: CommandLine::Argv(args.command),
        // The program's own environment: nothing in it is ours.
        inherited: Inherited::All,
        user: None,
        lifetime,
        signal_status: SignalStatus::Shell,
    };
    match args.on_change {
        None => exec::with_environment(mounted.variables()?, &options(Lifetime::Replaces)),
        Some(change) => {
            let patience = watch::Patience { splay: args.splay, stop: args.stop_timeout };
            watch::run(&mounted, &options(Lifetime::Waited), change, patience)
        }
    }
}

fn folders(app: &App, given: Vec<PathBuf>) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given;
    }
    let named = app.env.text(BULLA_ENV_FROM).filter(|text| !text.is_empty());
    named.as_deref().unwrap_or(FOLDER).split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

fn change(text: &str) -> Result<Change, String> {
    Ok(match text {
        "restart" => Change::Restart,
        "HUP" => Change::Tell(Signal::HUP),
        "INT" => Change::Tell(Signal::INT),
        "QUIT" => Change::Tell(Signal::QUIT),
        "TERM" => Change::Tell(Signal::TERM),
        "USR1" => Change::Tell(Signal::USR1),
        "USR2" => Change::Tell(Signal::USR2),
        _ => return Err("must be restart, or HUP, INT, QUIT, TERM, USR1 or USR2".to_owned()),
    })
}
