//! `updatekeys`: files get the keys that the configuration now names for them.

use bulla_core::{DataKey, SecretBytes};
use bulla_format::sops::{self, EncryptedFile, MacCheck, Metadata};
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, FileType, MacArgs, ManyArgs};
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::group_diff::GroupDiff;
use crate::input::Source;
use crate::kind::kind_of;
use crate::many::{self, Outcome, Target, Targets};
use crate::output::{Contents, Sink};
use crate::rekey::{self, Recipients};
use crate::term::{self, Colours};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla updatekeys secrets.yaml         shows what would change, and asks
  bulla updatekeys -y -r .              every encrypted file below that a rule meets
  bulla updatekeys --dry-run -r .

A file that loses a key gets a new data key: whoever had the key could have kept the old one.";

/// Arguments of `updatekeys`.
#[derive(Args, Debug)]
pub(crate) struct UpdatekeysArgs {
    #[command(flatten)]
    pub(crate) many: ManyArgs,

    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Take the files as this type, whatever their names
    #[arg(long, value_name = "TYPE")]
    pub(crate) input_type: Option<FileType>,

    /// How many key groups are needed to open the files
    #[arg(long, value_name = "N")]
    pub(crate) shamir_secret_sharing_threshold: Option<usize>,

    #[command(flatten)]
    pub(crate) mac: MacArgs,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Updates the files' keys.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &UpdatekeysArgs) -> Result<Code, Failure> {
    if args.many.files.is_empty() {
        // sops looks for the configuration first.
        if app.is_sops() && app.configs.for_file(app, None)?.is_none() {
            return Err(Failure::generic("config file not found"));
        }
        return Err(Failure::new(Code::NoFile, "Error: no file specified"));
    }
    let access = Access::new(app, &args.access)?;
    let targets = Targets::find(app.personality, &args.many)?;
    // Questions are asked one after the other.
    let mut many = args.many.clone();
    if !args.yes && !many.dry_run {
        many.jobs = Some(std::num::NonZeroUsize::MIN);
    }
    many::run(&many, &targets, |target| update_one(app, args, &access, target))
}

fn update_one(app: &App, args: &UpdatekeysArgs, access: &Access, target: &Target) -> Result<Outcome, Failure> {
    let Source::File(path) = &target.source else {
        return Err(Failure::generic("updatekeys changes files in place; standard input cannot be"));
    };
    // sops has no status of its own for a file that is not there.
    let generic = |failure: Failure| Failure { code: Code::Generic, ..failure };
    let name = target.source.name();
    let lock = target.source.lock().map_err(generic)?;
    let text = target.source.read().map_err(generic)?;
    let kind = kind_of(app.personality, args.input_type, &path.to_string_lossy(), text.expose());
    if !target.named && !engine::is_encrypted(kind, &text) {
        return Ok(Outcome::Skipped("not encrypted".to_owned()));
    }
    let file = EncryptedFile::parse(kind, text).map_err(|error| Failure::decrypting(&name, error))?;
    let Some(found) = app.configs.for_file(app, Some(path))? else {
        return Err(Failure::generic("config file not found").with_hint("write the keys into .sops.yaml"));
    };
    let Some((_, rule)) = found.rule(path)? else {
        if !target.named {
            return Ok(Outcome::Skipped("no rule meets it".to_owned()));
        }
        return Err(Failure::generic(format!(
            "{name}: error loading config: no matching creation rules found in {}",
            found.path.display()
        )));
    };
    let old = Recipients::of(file.metadata());
    let said = args.shamir_secret_sharing_threshold.filter(|&n| n != 0);
    let threshold = said.or(rule.shamir_threshold).or(old.threshold.map(|n| n.min(rule.groups.len())));
    let new = Recipients { groups: rule.groups.clone(), threshold }.checked()?;
    let diff = GroupDiff::between(&old, &new);
    if diff.is_empty() {
        tracing::info!(file = name, "already up to date");
        return Ok(Outcome::Unchanged);
    }
    show(app, args, &name, &diff)?;
    if args.many.dry_run {
        return Ok(Outcome::Would("updated"));
    }
    if !args.yes && !confirmed()? {
        return Ok(Outcome::Unchanged);
    }
    let result = apply(app, args, access, &name, &file, &new)?;
    Sink::File(path.clone()).write(result.expose(), Contents::Encrypted)?;
    drop(lock);
    Ok(Outcome::Done("updated"))
}

/// The file with other recipients. A data key that someone lost the right to is replaced with all ciphertext.
fn apply(
    app: &App,
    args: &UpdatekeysArgs,
    access: &Access,
    name: &str,
    file: &EncryptedFile,
    new: &Recipients,
) -> Result<SecretBytes, Failure> {
    let old = file.metadata();
    let key = engine::unwrap(app, access, name, old)?;
    let (text, _) = replace(app, access, name, file, key, new, args.mac.into())?;
    Ok(text)
}

/// The file for other recipients, and its data key: a new one with all ciphertext anew, if a recipient is gone; else values
/// and MAC stay as they are.
///
/// # Errors
/// As decrypting and wrapping fail.
pub(crate) fn replace(
    app: &App,
    access: &Access,
    name: &str,
    file: &EncryptedFile,
    key: DataKey,
    new: &Recipients,
    check: MacCheck,
) -> Result<(SecretBytes, DataKey), Failure> {
    let old = file.metadata();
    if !new.exclude_any_of(&Recipients::of(old)) {
        let groups = rekey::rewrap(app, access, name, &key, old, new)?;
        let metadata = Metadata { groups, shamir_threshold: new.threshold, ..old.clone() };
        let text = file.with_metadata(&key, metadata, check).map_err(|error| Failure::decrypting(name, error))?;
        return Ok((text, key));
    }
    let plain = file.decrypt(&key, check).map_err(|error| Failure::decrypting(name, error))?;
    let key = rekey::generate()?;
    let metadata = Metadata {
        groups: rekey::wrap(app, access, name, &key, new)?,
        shamir_threshold: new.threshold,
        last_modified: rekey::now(),
        ..old.clone()
    };
    term::note(&format!("{name}: a key was removed, so the file gets a new data key"));
    let text = sops::encrypt(plain.kind, plain.text, metadata, &key, Some(&plain.stash))
        .map_err(|error| Failure::encrypting(name, error))?;
    Ok((text, key))
}

/// Prints the change: under the name `sops` on standard output as there, under ours where the question is.
fn show(app: &App, args: &UpdatekeysArgs, name: &str, diff: &GroupDiff<'_>) -> Result<(), Failure> {
    if app.is_sops() {
        let changes = diff.text(Colours::of(&std::io::stdout()));
        return term::print(&format!(
            "The following changes will be made to the file's groups:\n{}",
            changes.trim_end_matches('\n')
        ));
    }
    if !args.yes || args.many.dry_run {
        term::say(&format!(
            "{name}: the following changes to its groups:\n{}",
            diff.text(Colours::of(&std::io::stderr())).trim_end()
        ));
    }
    Ok(())
}

fn confirmed() -> Result<bool, Failure> {
    loop {
        match term::ask("Is this okay? (y/n):") {
            Some('y') => return Ok(true),
            Some('n') => return Ok(false),
            Some(_) => {}
            None => return Err(Failure::generic("nobody answered").with_hint("approve changes with --yes")),
        }
    }
}
