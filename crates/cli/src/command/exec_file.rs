//! `exec-file`: runs a program that reads a decrypted file, which never touches the disk.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, TypeArgs};
use crate::command::exec_env::{self, HowArgs};
use crate::convert::convert;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exec::{self, FileForm, Lifetime};
use crate::exit::Code;
use crate::input::Source;
use crate::kind::{kind_of, output_kind};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla exec-file prod.yaml -- myapp --config {}
  bulla exec-file --memfd --filename app.toml app.toml -- myapp --config {}
  bulla exec-file server.key.enc -- nginx -g 'ssl_certificate_key {};'

{} becomes the path of a named pipe that gives the decrypted file to whoever opens it, or with --memfd of a sealed file in
memory. Nothing is written to a disk.";

/// Arguments of `exec-file`.
#[derive(Args, Debug)]
pub(crate) struct ExecFileArgs {
    /// The encrypted file
    pub(crate) file: PathBuf,

    /// The program and its arguments, {} standing for the decrypted file; with --shell one text for /bin/sh
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) how: HowArgs,

    /// Give the program a regular file in memory (a sealed memfd) instead of a named pipe
    #[arg(long, visible_alias = "no-fifo")]
    pub(crate) memfd: bool,

    /// The name of the decrypted file, for programs that go by it
    #[arg(long, value_name = "NAME")]
    pub(crate) filename: Option<OsString>,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Decrypts the file and runs the program.
///
/// # Errors
/// As decrypting; and if the program cannot be started, or nothing says where the file's path belongs.
pub(crate) fn run(app: &App, args: ExecFileArgs) -> Result<Code, Failure> {
    let name = args.file.display().to_string();
    let lifetime = if args.how.background { Lifetime::Background } else { Lifetime::Waited };
    let options = exec_env::options(app, args.command, args.how, exec_env::inherited(app), lifetime)?;
    let form = if args.memfd { FileForm::Memfd } else { FileForm::Fifo };
    let text = Source::File(args.file).read_existing()?;
    let kind = kind_of(app.personality, args.types.input_type, &name, text.expose());
    let access = Access::new(app, &args.access)?;
    let opened = engine::open(app, &access, &name, kind, text, args.mac.into())?;
    let out_kind = output_kind(app.personality, args.types, &name, kind);
    let text = convert(app, opened.plain.text, kind, out_kind)?;
    let filename = match (args.filename, form) {
        // What sops calls it.
        (None, FileForm::Fifo) if app.is_sops() => Some("tmp-file".into()),
        (filename, _) => filename,
    };
    exec::with_file(text, form, filename.as_deref(), &options)
}
