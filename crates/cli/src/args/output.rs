//! Where the result goes.

use std::path::PathBuf;

use clap::Args;

/// Flags of commands whose result is a file.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Replace the file by the result
    #[arg(long, short)]
    pub(crate) in_place: bool,

    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
