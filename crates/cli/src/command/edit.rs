//! `edit`: an encrypted file in the user's editor.

use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, TypeArgs};
use crate::edit::{self, Draft, Keys, OnDisk};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::git::{conflict, merge};
use crate::input::Source;
use crate::kind::{kind_of, output_kind};
use crate::plan::{self, NewFileArgs};
use crate::rekey;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla edit secrets.yaml
  SOPS_EDITOR='code --wait' bulla edit secrets.yaml
  bulla edit -s secrets.yaml            the keys as well

The plaintext is in memory only ($XDG_RUNTIME_DIR or /dev/shm) and wiped at the end. If
the editor fails, or what it saved cannot be encrypted, the editor is offered again; where
nobody can be asked, an encrypted copy is kept beside the file. What another process
changed meanwhile is merged. A file in which a Git merge left a conflict shows both sides
in the plain.";

/// Arguments of `edit`.
#[derive(Args, Debug)]
pub(crate) struct EditArgs {
    /// The encrypted file; a new one is made if it is not there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Show the file's keys as well; they may be changed
    #[arg(long, short)]
    pub(crate) show_master_keys: bool,

    /// Allow the plaintext on a disk where there is no memory file system
    #[arg(long)]
    pub(crate) insecure_temp_dir: bool,

    /// Take type and rules as for a file of this name
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) filename_override: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) new_file: NewFileArgs,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Edits the file.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &EditArgs) -> Result<Code, Failure> {
    let access = Access::new(app, &args.access)?;
    // sops puts the plaintext on a disk without asking; its users' scripts must run.
    let on_disk = if args.insecure_temp_dir || app.is_sops() { OnDisk::Allowed } else { OnDisk::Refused };
    let keys = if args.show_master_keys { Keys::Shown } else { Keys::Hidden };
    let mut draft = if args.file.exists() { of_file(app, args, &access, keys)? } else { of_new(app, args, &access)? };
    edit::run(app, &access, &mut draft, on_disk)
}

fn of_file(app: &App, args: &EditArgs, access: &Access, keys: Keys) -> Result<Draft, Failure> {
    let source = Source::File(args.file.clone());
    let text = source.read_existing()?;
    let said = name(args).to_string_lossy();
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    if conflict::has_markers(text.expose())
        && let Some(open) = merge::open_conflict(app, access, &source.name(), kind, &text, args.mac.into())?
    {
        return Ok(Draft::of_conflict(&args.file, kind, text, open));
    }
    let opened = engine::open(app, access, &source.name(), kind, text.clone(), args.mac.into())?;
    Ok(Draft::of_file(&args.file, (kind, out_kind), keys, text, opened))
}

fn of_new(app: &App, args: &EditArgs, access: &Access) -> Result<Draft, Failure> {
    let said = name(args).to_string_lossy();
    let kind = kind_of(app.personality, args.types.input_type, &said, &[]);
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    let plan = plan::require(app, &args.new_file, Some(name(args)), out_kind)?;
    let key = rekey::generate()?;
    let mut metadata = plan.metadata();
    metadata.groups = rekey::wrap(app, access, &args.file.display().to_string(), &key, &plan.recipients)
        .map_err(|failure| Failure { code: Code::NoDataKey, ..failure })?;
    Ok(Draft::of_new(&args.file, (kind, out_kind), metadata, key))
}

fn name(args: &EditArgs) -> &std::path::Path {
    args.filename_override.as_deref().filter(|path| !path.as_os_str().is_empty()).unwrap_or(&args.file)
}
