//! `publish`: not yet; said clearly, so that nobody believes that something was published.

use std::ffi::OsString;

use clap::Args;

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;

/// Arguments of `publish`, which are not read.
#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) rest: Vec<OsString>,
}

/// Fails.
///
/// # Errors
/// Always.
pub(crate) fn run(_app: &App, _args: &PublishArgs) -> Result<Code, Failure> {
    Err(Failure::generic("publish comes with a later version of bulla; nothing was published")
        .with_hint("sops itself can publish the files that bulla writes"))
}
