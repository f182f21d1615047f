//! `encrypt`: plain files become encrypted ones.

use std::path::{Path, PathBuf};

use bulla_core::{DataKey, SecretBytes};
use bulla_format::sops::{self, FileKind, MacCheck, Metadata, Stash};
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, ManyArgs, OutputArgs, TypeArgs};
use crate::convert;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::{self, Source};
use crate::kind::{kind_of, output_kind};
use crate::many::{self, Outcome, Target, Targets};
use crate::output::Contents;
use crate::plan::{self, NewFileArgs};
use crate::rekey;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla encrypt -i secrets.yaml                    with the keys that .sops.yaml names for it
  bulla encrypt --age age1… .env > .env.enc        for one recipient
  bulla encrypt -i -r deploy/                      every file below that a rule meets
  kubectl create secret … -o yaml --dry-run=client | bulla encrypt --age age1… -";

/// Arguments of `encrypt`.
#[derive(Args, Debug)]
pub(crate) struct EncryptArgs {
    #[command(flatten)]
    pub(crate) many: ManyArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// Write the results into this folder, under the names that the files have below theirs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["in_place", "output"])]
    pub(crate) output_dir: Option<PathBuf>,

    /// Take type and rules as for a file of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) filename_override: Option<PathBuf>,

    /// Encrypt as this older, encrypted version of the file is: same keys and rules, and the same ciphertext for values
    /// that are the same
    #[arg(long, value_name = "OLD")]
    pub(crate) from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) new_file: NewFileArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// What a file is encrypted with: how, and the key that goes with it.
struct Recipe {
    metadata: Metadata,
    key: DataKey,
    stash: Option<Stash>,
}

/// Encrypts the files.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &EncryptArgs) -> Result<Code, Failure> {
    if args.from.is_some() && !args.new_file.keys.is_empty() {
        return Err(Failure::new(Code::ConflictingFlags, "--from takes the keys of the older file; name none")
            .with_hint("change the keys of a file with rotate or updatekeys"));
    }
    let access = Access::new(app, &args.access)?;
    let targets = Targets::find(app.personality, &args.many)?;
    input::check_destination(&targets, &args.output, args.output_dir.as_deref(), args.many.dry_run)?;
    many::run(&args.many, &targets, |target| encrypt_one(app, args, &access, target))
}

fn encrypt_one(app: &App, args: &EncryptArgs, access: &Access, target: &Target) -> Result<Outcome, Failure> {
    let sink = input::sink(&args.output, args.output_dir.as_deref(), target)?;
    let _lock = if args.output.in_place { target.source.lock()? } else { None };
    let path = named(args, &target.source);
    let name = target.source.name();
    let text = target.source.read()?;
    let said = path.map(Path::to_string_lossy).unwrap_or_default();
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    if !target.named && engine::is_encrypted(kind, &text) {
        return Ok(Outcome::Skipped("encrypted already".to_owned()));
    }
    let recipe = match &args.from {
        Some(old) => from(app, args, access, old)?,
        None => match plan_for(app, args, target, path, out_kind)? {
            Err(skipped) => return Ok(skipped),
            Ok(plan) if args.many.dry_run => {
                tracing::debug!(file = name, groups = plan.recipients.groups.len(), "would encrypt");
                return Ok(Outcome::Would("encrypted"));
            }
            Ok(plan) => {
                let key = rekey::generate()?;
                let mut metadata = plan.metadata();
                metadata.groups = rekey::wrap(app, access, &name, &key, &plan.recipients)?;
                Recipe { metadata, key, stash: None }
            }
        },
    };
    let text = convert::convert(app, text, kind, out_kind).map_err(|failure| failure.context(&name))?;
    let Recipe { metadata, key, stash } = recipe;
    let result: SecretBytes = sops::encrypt(out_kind, text, metadata, &key, stash.as_ref())
        .map_err(|error| Failure::encrypting(&name, error))?;
    if args.many.dry_run {
        return Ok(Outcome::Would("encrypted"));
    }
    sink.write(result.expose(), Contents::Encrypted)?;
    Ok(Outcome::Done("encrypted"))
}

/// How the file is encrypted; what to report instead, if it was only met in a folder and no rule is about it.
fn plan_for(
    app: &App,
    args: &EncryptArgs,
    target: &Target,
    path: Option<&Path>,
    kind: FileKind,
) -> Result<Result<plan::Plan, Outcome>, Failure> {
    if target.named {
        return plan::require(app, &args.new_file, path, kind).map(Ok);
    }
    let plan = plan::find(app, &args.new_file, path, kind)?;
    Ok(plan.ok_or_else(|| Outcome::Skipped("no rule meets it".to_owned())))
}

fn from(app: &App, args: &EncryptArgs, access: &Access, old: &Path) -> Result<Recipe, Failure> {
    let source = Source::File(old.to_owned());
    let text = source.read()?;
    let kind = kind_of(app.personality, args.types.output_type, &old.to_string_lossy(), text.expose());
    let opened = engine::open(app, access, &source.name(), kind, text, MacCheck::Check)?;
    let metadata = Metadata { last_modified: rekey::now(), ..opened.file.metadata().clone() };
    Ok(Recipe { metadata, key: opened.key, stash: Some(opened.plain.stash) })
}

/// The name that type and rules are found by.
fn named<'a>(args: &'a EncryptArgs, source: &'a Source) -> Option<&'a Path> {
    let said = args.filename_override.as_deref().filter(|path| !path.as_os_str().is_empty());
    said.or(match source {
        Source::File(path) => Some(path),
        Source::Stdin => None,
    })
}
