//! `rotate`: a new data key, and keys added or removed.

use bulla_core::KeyId;
use bulla_format::sops::{self, Metadata};
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, AddKeys, MacArgs, ManyArgs, OutputArgs, RemoveKeys, TypeArgs};
use crate::convert;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::{self, Source};
use crate::key_names::AwsArgs;
use crate::kind::{kind_of, output_kind};
use crate::many::{self, Outcome, Target, Targets};
use crate::output::Contents;
use crate::rekey::{self, Recipients};
use crate::term;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla rotate -i secrets.yaml                                   a new data key
  bulla rotate -i --add-age age1… --rm-age age1… secrets.yaml    a recipient comes, another goes
  bulla rotate -i -r --report json deploy/                       every encrypted file below";

/// Arguments of `rotate`.
#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) many: ManyArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// Take the type as for a file of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) filename_override: Option<std::path::PathBuf>,

    #[command(flatten)]
    pub(crate) add: AddKeys,

    #[command(flatten)]
    pub(crate) remove: RemoveKeys,

    #[command(flatten)]
    pub(crate) aws: AwsArgs,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Which keys come and go.
struct Change {
    add: Vec<KeyId>,
    remove: Vec<KeyId>,
}

/// Rotates the files' data keys.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &RotateArgs) -> Result<Code, Failure> {
    let aws = args.aws.settings()?;
    let change = Change { add: args.add.ids(&aws)?, remove: args.remove.ids(&aws)? };
    if args.many.files.is_empty() && !args.many.recursive && app.is_sops() {
        return Err(Failure::new(Code::NoFile, "Error: no file specified"));
    }
    let access = Access::new(app, &args.access)?;
    let targets = Targets::find(app.personality, &args.many)?;
    input::check_destination(&targets, &args.output, None, args.many.dry_run)?;
    many::run(&args.many, &targets, |target| rotate_one(app, args, &access, &change, target))
}

fn rotate_one(
    app: &App,
    args: &RotateArgs,
    access: &Access,
    change: &Change,
    target: &Target,
) -> Result<Outcome, Failure> {
    let sink = input::sink(&args.output, None, target)?;
    let _lock = if args.output.in_place { lock(&target.source, change)? } else { None };
    let name = target.source.name();
    let text = target.source.read().map_err(|failure| missing(failure, change))?;
    let said = match (&args.filename_override, &target.source) {
        (Some(said), _) if !said.as_os_str().is_empty() => said.to_string_lossy(),
        (_, Source::File(path)) => path.to_string_lossy(),
        (_, Source::Stdin) => "".into(),
    };
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    if !target.named && !engine::is_encrypted(kind, &text) {
        return Ok(Outcome::Skipped("not encrypted".to_owned()));
    }
    if args.many.dry_run {
        return Ok(Outcome::Would("rotated"));
    }
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    let opened = engine::open(app, access, &name, kind, text, args.mac.into())?;
    let old = opened.file.metadata();
    let recipients = changed(&name, Recipients::of(old), change).checked().map_err(|failure| failure.context(&name))?;
    let key = rekey::generate()?;
    let metadata = Metadata {
        groups: rekey::wrap(app, access, &name, &key, &recipients)?,
        shamir_threshold: recipients.threshold,
        last_modified: rekey::now(),
        ..old.clone()
    };
    let text = convert::convert(app, opened.plain.text, kind, out_kind).map_err(|failure| failure.context(&name))?;
    let result = sops::encrypt(out_kind, text, metadata, &key, Some(&opened.plain.stash))
        .map_err(|error| Failure::encrypting(&name, error))?;
    sink.write(result.expose(), Contents::Encrypted)?;
    Ok(Outcome::Done("rotated"))
}

/// The recipients after a change: new keys go to the first group, removed ones out of each.
fn changed(name: &str, mut recipients: Recipients, change: &Change) -> Recipients {
    for id in &change.remove {
        let before: usize = recipients.groups.iter().map(Vec::len).sum();
        for group in &mut recipients.groups {
            group.retain(|known| !is_named_by(known, id));
        }
        if before == recipients.groups.iter().map(Vec::len).sum::<usize>() {
            term::warn(&format!("{name}: {} {id} is not one of its keys", id.kind()));
        }
    }
    match recipients.groups.first_mut() {
        Some(group) => group.extend(change.add.iter().cloned()),
        None => recipients.groups.push(change.add.clone()),
    }
    recipients
}

/// Whether a flag that names `said` means `known`. An ARN means the key whatever context and profile it was added with.
fn is_named_by(known: &KeyId, said: &KeyId) -> bool {
    match (known, said) {
        (KeyId::AwsKms { arn, role, .. }, KeyId::AwsKms { arn: said_arn, role: said_role, context, profile })
            if context.is_empty() && profile.is_none() =>
        {
            arn == said_arn && role == said_role
        }
        _ => rekey::same_key(known, said),
    }
}

fn lock(source: &Source, change: &Change) -> Result<Option<bulla_core::file::FileLock>, Failure> {
    source.lock().map_err(|failure| missing(failure, change))
}

/// sops gives a file that is not there two statuses here.
fn missing(failure: Failure, change: &Change) -> Failure {
    let code = match failure.code {
        Code::NoFile if change.add.is_empty() && change.remove.is_empty() => Code::CouldNotReadInput,
        Code::NoFile => Code::NoFileToRekey,
        code => code,
    };
    Failure { code, ..failure }
}
