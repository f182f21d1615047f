//! `git`: what Git calls, and what makes it call.

mod install;
mod merge;
mod mergetool;
mod pre_commit;
mod textconv;

use clap::{Args, Subcommand};

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla git install --hook               once in each clone
  bulla git install 'secrets/**'         for files that are still to come
  bulla git pre-commit --all             look through all files, in CI
  bulla git resolve --theirs prod.yaml   settle a conflict";

/// Arguments of `git`.
#[derive(Args, Debug)]
pub(crate) struct GitArgs {
    #[command(subcommand)]
    command: GitCommand,
}

#[derive(Subcommand, Debug)]
enum GitCommand {
    /// Make a repository use bulla for diffs, merges and, with --hook, before each commit
    Install(install::InstallArgs),
    /// Refuse a commit that holds plain secrets (the pre-commit hook); with --all look through all files, for CI
    PreCommit(pre_commit::PreCommitArgs),
    /// Settle a merge conflict in an encrypted file by taking one side's values
    Resolve(merge::ResolveArgs),
    /// Print a file decrypted, for git diff; encrypted as it is if no key opens it
    Textconv(textconv::TextconvArgs),
    /// Open a merge conflict in your editor (git mergetool)
    Mergetool(Box<mergetool::MergetoolArgs>),
    /// Merge three versions of an encrypted file (the merge driver)
    Merge(merge::MergeArgs),
}

/// Runs the subcommand.
///
/// # Errors
/// The subcommand's.
pub(crate) fn run(app: &App, args: GitArgs) -> Result<Code, Failure> {
    match args.command {
        GitCommand::Install(args) => install::run(app, &args),
        GitCommand::PreCommit(args) => pre_commit::run(app, &args),
        GitCommand::Resolve(args) => merge::resolve(&args),
        GitCommand::Textconv(args) => textconv::run(app, &args),
        GitCommand::Mergetool(args) => mergetool::run(app, *args),
        GitCommand::Merge(args) => merge::run(app, &args),
    }
}
