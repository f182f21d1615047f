//! Working on many files at once.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Files, folders and how they are gone through.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ManyArgs {
    /// Files, folders (with --recursive) or patterns (*.yaml); - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Go through folders
    #[arg(long, short)]
    pub(crate) recursive: bool,

    /// Say what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Work on this many files at the same time (default: the number of processors)
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,

    /// Print what was done to each file on standard output (text, json)
    #[arg(long, value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) report: Option<ReportFormat>,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A table for people.
    Text,
    /// JSON.
    Json,
}
