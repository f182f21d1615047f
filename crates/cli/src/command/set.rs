//! `set`: one value of an encrypted file is changed; nothing else moves.

use std::path::PathBuf;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, Syntax, Value};
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, TypeArgs};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::kind::{kind_of, output_kind};
use crate::output::{Contents, Sink};
use crate::{rekey, term, tree_path};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla set secrets.yaml '[\"db\"][\"password\"]' '\"s3cret\"'
  pwgen 32 1 | jq -R . | bulla set --value-stdin secrets.yaml '[\"db\"][\"password\"]'

The value is JSON: a string needs its quotes. Arguments can be seen by other users of the
machine; what comes by --value-stdin and --value-file cannot.";

/// Arguments of `set`.
#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The encrypted file
    pub(crate) file: PathBuf,

    #[arg(help = "Where: '[\"key\"][0]'", value_name = "PATH")]
    pub(crate) path: String,

    /// What, as JSON; with --value-file the file it is read from
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: Option<String>,

    /// Read the value from the file named by VALUE
    #[arg(long)]
    pub(crate) value_file: bool,

    /// Read the value from standard input
    #[arg(long)]
    pub(crate) value_stdin: bool,

    /// Succeed without a change if the value is there already (always so; taken for sops' sake)
    #[arg(long, hide = true)]
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

/// Sets the value.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &SetArgs) -> Result<Code, Failure> {
    let path = tree_path::parse(&args.path)
        .map_err(|error| Failure::new(Code::BadSet, format!("Invalid set index format: {error}")))?;
    let value = json(value_text(args)?)?;
    let access = Access::new(app, &args.access)?;
    let source = Source::File(args.file.clone());
    let _lock = source.lock_existing()?;
    let name = source.name();
    let text = source.read_existing()?;
    let said = args.file.to_string_lossy();
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    let (file, key) = engine::parse(app, &access, &name, kind, text)?;
    let changed = file
        .set(&key, &path, &value, args.mac.into(), &rekey::now())
        .map_err(|error| Failure::decrypting(&name, error))?;
    let Some(changed) = changed else {
        term::note("the value is there already; the file stays as it is");
        return Ok(Code::Success);
    };
    let result = engine::recast(app, &name, changed, kind, out_kind, &key)?;
    Sink::File(args.file.clone()).write(result.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}

fn value_text(args: &SetArgs) -> Result<SecretBytes, Failure> {
    let usage = |what: &str| Failure::new(Code::NoFile, format!("Error: {what}"));
    match (args.value_file, args.value_stdin, &args.value) {
        (true, true, _) => Err(Failure::generic("Error: cannot use both --value-file and --value-stdin")),
        (false, true, None) => Source::Stdin.read(),
        (false, true, Some(_)) => Err(usage("with --value-stdin the value is not an argument")),
        (true, false, Some(path)) => {
            Source::File(path.into()).read().map_err(|failure| Failure { code: Code::Generic, ..failure })
        }
        (false, false, Some(value)) => Ok(SecretBytes::from(value.as_bytes())),
        (_, false, None) => Err(usage("the value is missing").with_hint("give it, or use --value-stdin")),
    }
}

/// Reads any JSON value. The parser takes whole objects, so the value is read as the one entry of one.
fn json(text: SecretBytes) -> Result<Value, Failure> {
    let invalid = || {
        Failure::new(Code::BadSet, "Value for --set is not valid JSON")
            .with_hint("a string needs quotes of its own: '\"text\"'")
    };
    let mut object = SecretBytes::with_capacity(text.len() + 6);
    object.extend_from_slice(b"{\"v\":");
    object.extend_from_slice(text.expose());
    object.extend_from_slice(b"\n}");
    drop(text);
    let document = Document::parse(Syntax::Json, object).map_err(|_| invalid())?;
    let &[root] = document.roots() else { return Err(invalid()) };
    let mut entries = document.children(root).filter(|&entry| document.kind(entry) != Kind::Comment);
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(document.to_value(entry)),
        _ => Err(invalid()),
    }
}
