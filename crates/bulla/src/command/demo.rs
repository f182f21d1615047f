//! `demo`: the newcomer's journey.

use clap::{Args, ValueEnum};

use crate::app::App;
use crate::demo::{self, Folder, Talk};
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla demo
  bulla demo --keep                      leave its folder to look around in
  bulla demo --output json               only the outcome

Needs git and sh, no network, no cloud and no cluster.";

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Leave the folder in place, to look around in
    #[arg(long)]
    pub(crate) keep: bool,

    /// How the journey is told
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: OutputForm,
}

/// How the journey is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// Step by step.
    Text,
    /// Only its outcome.
    Json,
}

/// Runs it.
///
/// # Errors
/// If a step fails.
pub(crate) fn run(_app: &App, args: &DemoArgs) -> Result<Code, Failure> {
    let folder = if args.keep { Folder::Kept } else { Folder::Removed };
    let talk = match args.output {
        OutputForm::Text => Talk::Steps,
        OutputForm::Json => Talk::Json,
    };
    demo::run(folder, talk)
}
