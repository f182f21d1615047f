//! `decrypt`: encrypted files become plain ones.

use std::path::{Path, PathBuf};

use bulla_document::Syntax;
use bulla_format::sops::FileKind;
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, ManyArgs, OutputArgs, TypeArgs, given};
use crate::convert;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::{self, Source};
use crate::kind::{kind_of, output_kind};
use crate::many::{self, Outcome, Target, Targets};
use crate::output::Contents;
use crate::stream::Stream;
use crate::tree_path;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla decrypt secrets.yaml                              to standard output
  bulla decrypt --extract '[\"db\"][\"password\"]' secrets.yaml
  bulla decrypt --output-type json secrets.yaml | jq .db
  kustomize build . | bulla decrypt - | kubectl apply -f -
  bulla decrypt -r --output-dir /dev/shm/plain deploy/    every encrypted file below";

/// Arguments of `decrypt`.
#[derive(Args, Debug)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    pub(crate) many: ManyArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    /// Write the results into this folder, under the names that the files have below theirs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["in_place", "output"])]
    pub(crate) output_dir: Option<PathBuf>,

    #[arg(long, help = "Write only the value or branch at this path: '[\"key\"][0]'", value_name = "PATH")]
    pub(crate) extract: Option<String>,

    /// Take the type as for a file of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) filename_override: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) types: TypeArgs,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Decrypts the files. Nothing is written before the integrity of the whole file is proven.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &DecryptArgs) -> Result<Code, Failure> {
    let access = Access::new(app, &args.access)?;
    let targets = Targets::find(app.personality, &args.many)?;
    input::check_destination(&targets, &args.output, args.output_dir.as_deref(), args.many.dry_run)?;
    many::run(&args.many, &targets, |target| decrypt_one(app, args, &access, target))
}

fn decrypt_one(app: &App, args: &DecryptArgs, access: &Access, target: &Target) -> Result<Outcome, Failure> {
    let sink = input::sink(&args.output, args.output_dir.as_deref(), target)?;
    let path = tree_path::parse(given(args.extract.as_ref()).unwrap_or_default())
        .map_err(|error| Failure::new(Code::BadPath, format!("error parsing --extract path: {error}")))?;
    let _lock = if args.output.in_place { target.source.lock()? } else { None };
    let name = target.source.name();
    let text = target.source.read()?;
    let said = match (&args.filename_override, &target.source) {
        (Some(said), _) if !said.as_os_str().is_empty() => said.to_string_lossy(),
        (_, Source::File(path)) => Path::to_string_lossy(path),
        (_, Source::Stdin) => "".into(),
    };
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    if !target.named && !engine::is_encrypted(kind, &text) {
        return Ok(Outcome::Skipped("not encrypted".to_owned()));
    }
    if args.many.dry_run {
        return Ok(Outcome::Would("decrypted"));
    }
    let out_kind: FileKind = output_kind(app.personality, args.types, &said, kind);
    if target.source == Source::Stdin
        && !app.is_sops()
        && (kind, out_kind) == (FileKind::Text(Syntax::Yaml), FileKind::Text(Syntax::Yaml))
        && path.is_empty()
        && let Some(stream) = Stream::find(&text)
    {
        let plain = stream.decrypt(app, access, &name, args.mac.into())?;
        sink.write(plain.expose(), Contents::plain(app.personality))?;
        return Ok(Outcome::Done("decrypted"));
    }
    let (file, key) = engine::parse(app, access, &name, kind, text)?;
    let result = if path.is_empty() {
        let plain = file.decrypt(&key, args.mac.into()).map_err(|error| Failure::decrypting(&name, error))?;
        convert::convert(app, plain.text, kind, out_kind)
    } else {
        let value = file.extract(&key, &path, args.mac.into()).map_err(|error| Failure::decrypting(&name, error))?;
        convert::part(app, value, out_kind)
    };
    let result = result.map_err(|failure| failure.context(&name))?;
    sink.write(result.expose(), Contents::plain(app.personality))?;
    Ok(Outcome::Done("decrypted"))
}
