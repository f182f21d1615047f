//! `check`: `.sops.yaml`, and whether the files are as it says.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::app::App;
use crate::check::{self, report};
use crate::error::Failure;
use crate::exit::Code;
use crate::output;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla check                            all files below the current folder
  bulla check prod.env                   which rule and which keys it gets
  bulla check --output json              for CI: status 1 if something is wrong";

/// Arguments of `check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Files to tell the rule and the keys of, and folders to look through; default: the current folder
    paths: Vec<PathBuf>,

    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    output: OutputForm,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Checks and prints. Status 1 if something is wrong: an error in a configuration, a plain file that a rule wants
/// encrypted, a file encrypted for others than its rule says.
///
/// # Errors
/// If a folder cannot be read.
pub(crate) fn run(app: &App, args: &CheckArgs) -> Result<Code, Failure> {
    let here = [PathBuf::from(".")];
    let paths = if args.paths.is_empty() { &here[..] } else { &args.paths };
    let report = check::check(app, paths)?;
    match args.output {
        OutputForm::Text => output::print(report::text(&report).as_bytes())?,
        OutputForm::Json => output::print(format!("{:#}\n", report::json(&report)).as_bytes())?,
    }
    Ok(if report.has_errors() { Code::Generic } else { Code::Success })
}
