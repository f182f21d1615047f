//! `git merge`: the merge driver; `git resolve`: one side of a conflict.

use std::path::{Path, PathBuf};
use std::process::Command;

use bulla_core::{SecretBytes, file};
use bulla_format::sops;
use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs};
use crate::engine::Access;
use crate::error::Failure;
use crate::exit::Code;
use crate::git::conflict;
use crate::git::merge::{self, Outcome, Versions};
use crate::input::Source;
use crate::shell;

/// Arguments of `git merge`, as Git gives them to the driver: `%O %A %B %P`.
#[derive(Args, Debug)]
pub(crate) struct MergeArgs {
    /// The common ancestor's version
    base: PathBuf,
    /// Our version, which the outcome replaces
    ours: PathBuf,
    /// Their version
    theirs: PathBuf,
    /// The file's path in the repository
    path: PathBuf,

    /// The length of conflict markers, for files that are not encrypted
    #[arg(long, default_value = "7")]
    marker_size: usize,

    #[command(flatten)]
    mac: MacArgs,

    #[command(flatten)]
    access: AccessArgs,
}

/// Arguments of `git resolve`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("side").required(true).args(["ours", "theirs"]))]
pub(crate) struct ResolveArgs {
    /// The file with conflict markers
    file: PathBuf,

    /// Take the values of the branch that is merged into
    #[arg(long)]
    ours: bool,

    /// Take the values of the branch that is merged
    #[arg(long)]
    theirs: bool,
}

/// Merges. Status 1 tells Git that there is a conflict; any other failure leaves ours as it was and counts as one.
///
/// # Errors
/// If the versions cannot be merged.
pub(super) fn run(app: &App, args: &MergeArgs) -> Result<Code, Failure> {
    let name = args.path.display().to_string();
    let file = shell::argument(&args.path);
    // Git takes a status above 128 for a crash and gives the whole merge up.
    merge(app, args, &name).map_err(|failure| {
        let failure = Failure { code: Code::Generic, ..failure };
        failure.context("bulla cannot merge this file, ours is left in place").with_hint(format!(
            "take a side: git checkout --ours {file} (or --theirs), then git add {file}; or merge again where a key is at hand"
        ))
    })
}

fn merge(app: &App, args: &MergeArgs, name: &str) -> Result<Code, Failure> {
    let read = |path: &PathBuf| Source::File(path.clone()).read();
    let versions = Versions { base: read(&args.base)?, ours: read(&args.ours)?, theirs: read(&args.theirs)? };
    let access = Access::new(app, &args.access)?;
    let (text, code) = match merge::merge(app, &access, name, versions, args.mac.into())? {
        Outcome::Plain => return plain(args),
        Outcome::Merged(text) => (text, Ok(Code::Success)),
        Outcome::Conflict(text, paths) => {
            let file = shell::argument(&args.path);
            let conflict = Failure::generic(format!("{name}: both branches changed {}", paths.join(", ")))
                .with_hint(format!("see both in the plain: bulla edit {file}, then git add {file}"))
                .with_hint(format!("or take one side's: bulla git resolve --ours {file} (or --theirs)"));
            (text, Err(conflict))
        }
    };
    write(&args.ours, &text)?;
    match code {
        Ok(code) => Ok(code),
        Err(conflict) => {
            let _ = conflict.report(app.personality);
            Ok(Code::Generic)
        }
    }
}

/// A file that is not encrypted on either side is merged as Git does it.
fn plain(args: &MergeArgs) -> Result<Code, Failure> {
    let status = Command::new("git")
        .args(["merge-file", "-L", "ours", "-L", "base", "-L", "theirs"])
        .arg(format!("--marker-size={}", args.marker_size))
        .args([&args.ours, &args.base, &args.theirs])
        .status()
        .map_err(|error| Failure::generic(format!("cannot run git: {error}")))?;
    // Its status is the number of conflicts.
    Ok(if status.success() { Code::Success } else { Code::Generic })
}

/// Takes one side of a conflict. No key is needed: each side is a valid file.
///
/// # Errors
/// If there is no conflict in the file, or it cannot be replaced.
pub(super) fn resolve(args: &ResolveArgs) -> Result<Code, Failure> {
    let name = args.file.display();
    let text = Source::File(args.file.clone()).read()?;
    let sides = conflict::unfold(text.expose())
        .ok_or_else(|| Failure::generic(format!("{name}: there are no conflict markers in it")))?;
    let side = if args.ours { sides.ours } else { sides.theirs };
    let is_encrypted = sops::is_encrypted(sops::kind_of(&args.file.to_string_lossy(), side.expose()), side.expose());
    if is_encrypted && !conflict::is_folded(text.expose()) {
        return Err(Failure::generic(format!(
            "{name}: Git merged it by lines, without bulla; neither side is a whole file"
        ))
        .with_hint("merge it anew with: git mergetool --tool=bulla"));
    }
    write(&args.file, &side)?;
    Ok(Code::Success)
}

/// Replaces a file by ciphertext.
pub(super) fn write(path: &Path, text: &SecretBytes) -> Result<(), Failure> {
    file::replace(path, text.expose(), 0o644)
        .map_err(|error| Failure::new(Code::CouldNotWriteOutput, error.to_string()))
}
