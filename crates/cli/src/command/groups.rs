//! `groups add` and `groups delete`: the groups of keys of a file that is shared out among several.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::app::App;
use crate::args::{AccessArgs, GroupKeys, MacArgs, TypeArgs};
use crate::command::updatekeys;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::key_names::AwsArgs;
use crate::kind::{kind_of, output_kind};
use crate::output::{Contents, Sink};
use crate::rekey::Recipients;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla groups add -i -f secrets.yaml --age age1… --shamir-secret-sharing-threshold 2
  bulla groups delete -i -f secrets.yaml 1         the second group";

/// Arguments of `groups`.
#[derive(Args, Debug)]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Subcommand, Debug)]
enum GroupsCommand {
    /// Add a group
    #[command(after_help = EXAMPLES)]
    Add(AddArgs),
    /// Delete a group; the file gets a new data key
    #[command(after_help = EXAMPLES)]
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
struct AddArgs {
    #[command(flatten)]
    file: FileArgs,

    #[command(flatten)]
    keys: GroupKeys,

    #[command(flatten)]
    aws: AwsArgs,
}

#[derive(Args, Debug)]
struct DeleteArgs {
    #[command(flatten)]
    file: FileArgs,

    /// Which group, from 0
    index: usize,
}

#[derive(Args, Debug)]
struct FileArgs {
    /// The encrypted file
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,

    /// Replace the file by the result
    #[arg(long, short)]
    in_place: bool,

    /// How many key groups are needed to open the file
    #[arg(long, value_name = "N")]
    shamir_secret_sharing_threshold: Option<usize>,

    #[command(flatten)]
    types: TypeArgs,

    #[command(flatten)]
    mac: MacArgs,

    #[command(flatten)]
    access: AccessArgs,
}

/// Changes the groups.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &GroupsArgs) -> Result<Code, Failure> {
    match &args.command {
        GroupsCommand::Add(args) => {
            let keys = args.keys.ids(&args.aws.settings()?)?;
            if keys.is_empty() {
                return Err(Failure::new(Code::NoEncryptionKey, "the new group has no key")
                    .with_hint("name one with --age, --pgp or another key flag"));
            }
            change(app, &args.file, |groups| {
                groups.push(keys);
                Ok(())
            })
        }
        GroupsCommand::Delete(args) => change(app, &args.file, |groups| {
            if args.index >= groups.len() {
                let what = format!("there is no group {}: the file has {}, counted from 0", args.index, groups.len());
                return Err(Failure::generic(what));
            }
            groups.remove(args.index);
            Ok(())
        }),
    }
}

fn change(
    app: &App,
    args: &FileArgs,
    edit: impl FnOnce(&mut Vec<Vec<bulla_core::KeyId>>) -> Result<(), Failure>,
) -> Result<Code, Failure> {
    let access = Access::new(app, &args.access)?;
    let source = Source::File(args.file.clone());
    let _lock = if args.in_place { source.lock_existing()? } else { None };
    let name = source.name();
    let text = source.read_existing()?;
    let said = args.file.to_string_lossy();
    let kind = kind_of(app.personality, args.types.input_type, &said, text.expose());
    let out_kind = output_kind(app.personality, args.types, &said, kind);
    let (file, key) = engine::parse(app, &access, &name, kind, text)?;
    let old = Recipients::of(file.metadata());
    let mut groups = old.groups.clone();
    edit(&mut groups)?;
    let said = args.shamir_secret_sharing_threshold.filter(|&n| n != 0);
    let threshold = said.or(old.threshold);
    if threshold.is_some_and(|threshold| threshold > groups.len()) {
        return Err(Failure::generic(format!(
            "the change will make the Shamir threshold impossible to satisfy: it is {}, but there would be {} groups",
            threshold.unwrap_or_default(),
            groups.len()
        ))
        .with_hint("set it as well, with --shamir-secret-sharing-threshold"));
    }
    let new = Recipients { groups, threshold }.checked()?;
    let (result, key) = updatekeys::replace(app, &access, &name, &file, key, &new, args.mac.into())?;
    let result = engine::recast(app, &name, result, kind, out_kind, &key)?;
    let sink = if args.in_place { Sink::File(args.file.clone()) } else { Sink::Stdout };
    sink.write(result.expose(), Contents::Encrypted)?;
    Ok(Code::Success)
}
