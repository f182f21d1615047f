//! `unset`: one value of an encrypted file is removed; nothing else moves.

use std::path::PathBuf;

use bulla_format::sops;
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, TypeArgs};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::kind::{kind_of, output_kind};
use crate::output::{Contents, Sink};
use crate::{rekey, tree_path};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla unset secrets.yaml '[\"db\"][\"old_password\"]'";

/// Arguments of `unset`.
#[derive(Args, Debug)]
pub(crate) struct UnsetArgs {
    /// The encrypted file
    pub(crate) file: PathBuf,

    #[arg(help = "Where: '[\"key\"][0]'", value_name = "PATH")]
    pub(crate) path: String,

    /// Succeed if there is no such value
    #[arg(long)]
    pub(crate) idempotent: bool,

    /// Taken for sops' sake: one value does not change the groups
    #[arg(long, hide = true)]
    pub(crate) shamir_secret_sharing_threshold: Option<usize>,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Removes the value.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &UnsetArgs) -> Result<Code, Failure> {
    let path = tree_path::parse(&args.path)
        .map_err(|error| Failure::new(Code::BadSet, format!("Invalid unset index format: {error}")))?;
    let access = Access::new(app, &args.access)?;
    let source = Source::File(args.file.clone());
    let _lock = source.lock_existing()?;
    let name = source.name();
    let text = source.read_existing()?;
    let said = args.file.to_string_lossy();
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    let (file, key) = engine::parse(app, &access, &name, kind, text)?;
    let changed = match file.unset(&key, &path, args.mac.into(), &rekey::now()) {
        Err(sops::Error::Path(_)) if args.idempotent => return Ok(Code::Success),
        result => result.map_err(|error| Failure::decrypting(&name, error))?,
    };
    let result = engine::recast(app, &name, changed, kind, out_kind, &key)?;
    Sink::File(args.file.clone()).write(result.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}
