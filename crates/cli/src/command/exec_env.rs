//! `exec-env`: runs a program with a file's decrypted entries in its environment.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::app::{App, Personality};
use crate::args::{AccessArgs, FileType, MacArgs};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exec::{self, CommandLine, Inherited, Lifetime, Options, SignalStatus, environment};
use crate::exit::Code;
use crate::input::Source;
use crate::kind::kind_of;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla exec-env prod.env -- npm start
  bulla exec-env prod.env --shell -- 'psql \"$DATABASE_URL\"'
  bulla exec-env --user app prod.env -- /usr/bin/server

No shell reads the command unless --shell is given. The same user can read a program's environment in /proc; a program
that reads a file is better started with exec-file.";

/// Arguments of `exec-env`.
#[derive(Args, Debug)]
pub(crate) struct ExecEnvArgs {
    /// The encrypted file
    pub(crate) file: PathBuf,

    /// The program and its arguments; with --shell one text for /bin/sh
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Give the program nothing but the file's entries, not the environment of bulla
    #[arg(long)]
    pub(crate) pristine: bool,

    /// Let the program take the place of this process instead of waiting for it
    #[arg(long, conflicts_with = "background")]
    pub(crate) same_process: bool,

    /// Take the file as this type, whatever its name
    #[arg(long, value_name = "TYPE")]
    pub(crate) input_type: Option<FileType>,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Flags that `exec-env` and `exec-file` share.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HowArgs {
    /// Run the command, one text, with /bin/sh -c
    #[arg(long)]
    pub(crate) shell: bool,

    /// Run the program as this user: a name, UID or UID:GID
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,

    /// Leave the program running and do not wait for it
    #[arg(long)]
    pub(crate) background: bool,
}

/// Decrypts the file and runs the program.
///
/// # Errors
/// As decrypting; and if the entries cannot be variables, or the program cannot be started.
pub(crate) fn run(app: &App, args: ExecEnvArgs) -> Result<Code, Failure> {
    let name = args.file.display().to_string();
    let lifetime = match (args.same_process, args.how.background) {
        (true, _) => Lifetime::Replaces,
        (false, true) => Lifetime::Background,
        (false, false) => Lifetime::Waited,
    };
    let inherited = if args.pristine { Inherited::Nothing } else { inherited(app) };
    let options = options(app, args.command, args.how, inherited, lifetime)?;
    let text = Source::File(args.file).read_existing()?;
    let kind = kind_of(app.personality, args.input_type, &name, text.expose());
    let access = Access::new(app, &args.access)?;
    let opened = engine::open(app, &access, &name, kind, text, args.mac.into())?;
    let variables = environment::variables(app.personality, &name, opened.plain)?;
    exec::with_environment(variables, &options)
}

/// What programs inherit unless told otherwise.
pub(super) fn inherited(app: &App) -> Inherited {
    match app.personality {
        Personality::Sops => Inherited::All,
        Personality::Bulla | Personality::Kubeseal => Inherited::WithoutKeys,
    }
}

/// How the program is run, by flags and by whose habits are kept: sops takes one text and gives it to a shell.
///
/// # Errors
/// If the command is not one text where it must be.
pub(super) fn options(
    app: &App,
    command: Vec<OsString>,
    how: HowArgs,
    inherited: Inherited,
    lifetime: Lifetime,
) -> Result<Options, Failure> {
    let command = match (how.shell || app.is_sops(), <[OsString; 1]>::try_from(command)) {
        (true, Ok([text])) => CommandLine::Shell(text),
        (true, Err(_)) if app.is_sops() => return Err(Failure::generic("error: missing file to decrypt")),
        (true, Err(_)) => {
            return Err(Failure::generic("--shell takes the command as one text")
                .with_hint("quote it: bulla exec-env FILE --shell -- 'psql \"$DATABASE_URL\"'"));
        }
        (false, Ok(argv)) => CommandLine::Argv(argv.into()),
        (false, Err(argv)) => CommandLine::Argv(argv),
    };
    let signal_status = if app.is_sops() { SignalStatus::Sops } else { SignalStatus::Shell };
    Ok(Options { command, inherited, user: how.user, lifetime, signal_status })
}
