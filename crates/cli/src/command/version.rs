//! `version`: which version this is.

use clap::Args;

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::output::say;

/// The release of sops whose command line, files and behaviour ours correspond to.
pub(crate) const SOPS_VERSION: &str = "3.13.3";

/// Arguments of `version`.
#[derive(Args, Debug)]
pub(crate) struct VersionArgs {}

/// Prints the version.
///
/// # Errors
/// If stdout cannot be written.
pub(crate) fn run(_app: &App, _args: &VersionArgs) -> Result<Code, Failure> {
    say(&format!("bulla {} (compatible with sops {SOPS_VERSION})", env!("CARGO_PKG_VERSION")))?;
    Ok(Code::Success)
}
