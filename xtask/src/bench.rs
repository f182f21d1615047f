//! Benchmarks: the real peer and bulla on the same work in the same run, and the ratio of the two.

#[cfg(feature = "bench-cluster")]
mod api;
mod files;
mod inputs;
mod limit;
pub mod measure;
#[cfg(feature = "bench-cluster")]
mod node;
#[cfg(feature = "bench-cluster")]
mod seal;
#[cfg(feature = "bench-cluster")]
mod server;

use std::path::{Path, PathBuf};

#[cfg(feature = "bench-cluster")]
use anyhow::Context;
use anyhow::Result;
use clap::Subcommand;

/// Which benchmark.
#[derive(Subcommand)]
pub enum Which {
    /// Encrypted files, against sops
    Files {
        /// The peer's version
        #[arg(long, default_value = "3.11.0")]
        sops: String,
        /// Only the cases whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// An existing bulla binary instead of building the static one
        #[arg(long)]
        bulla: Option<PathBuf>,
    },
    /// Sealing, against kubeseal and the sealed-secrets controller (an hour: the peer makes 5 requests a second)
    #[cfg(feature = "bench-cluster")]
    Seal {
        #[command(flatten)]
        amount: seal::Amount,
    },
    /// Sealing, against kubeseal and the sealed-secrets controller (an hour: the peer makes 5 requests a second)
    #[cfg(not(feature = "bench-cluster"))]
    #[command(disable_help_flag = true)]
    Seal {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The node service, against the Secrets Store CSI driver (half an hour)
    #[cfg(feature = "bench-cluster")]
    Node {
        #[command(flatten)]
        amount: node::Amount,
    },
    /// The node service, against the Secrets Store CSI driver (half an hour)
    #[cfg(not(feature = "bench-cluster"))]
    #[command(disable_help_flag = true)]
    Node {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The server, against OpenBao (a quarter of an hour)
    #[cfg(feature = "bench-cluster")]
    Server {
        #[command(flatten)]
        amount: server::Amount,
    },
    /// The server, against OpenBao (a quarter of an hour)
    #[cfg(not(feature = "bench-cluster"))]
    #[command(disable_help_flag = true)]
    Server {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run one command and print what it used, as JSON (used by the benchmarks themselves)
    #[command(hide = true)]
    Measure {
        /// How many times
        #[arg(long)]
        times: u32,
        /// Standard input of each run
        #[arg(long)]
        stdin: Option<PathBuf>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

/// Runs it and prints its table.
pub fn run(root: &Path, which: &Which) -> Result<()> {
    match which {
        Which::Files { sops, only, bulla } => files::run(root, sops, only.as_deref(), bulla.as_deref()),
        #[cfg(feature = "bench-cluster")]
        Which::Seal { amount } => seal::run(root, amount),
        #[cfg(feature = "bench-cluster")]
        Which::Node { amount } => node::run(root, amount),
        #[cfg(feature = "bench-cluster")]
        Which::Server { amount } => server::run(root, amount),
        #[cfg(not(feature = "bench-cluster"))]
        Which::Seal { arguments } => with_more(root, "seal", arguments),
        #[cfg(not(feature = "bench-cluster"))]
        Which::Node { arguments } => with_more(root, "node", arguments),
        #[cfg(not(feature = "bench-cluster"))]
        Which::Server { arguments } => with_more(root, "server", arguments),
        Which::Measure { times, stdin, command } => measure::child(*times, stdin.as_deref(), command),
    }
}

/// Builds this program anew with what the benchmark needs, and becomes it.
#[cfg(not(feature = "bench-cluster"))]
fn with_more(root: &Path, which: &str, arguments: &[String]) -> Result<()> {
    crate::process::cargo(root)
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--features", "bench-cluster", "--", "bench", which])
        .args(arguments)
        .replace()
}

/// The empty folder of a benchmark, which has everything of it.
#[cfg(feature = "bench-cluster")]
fn fresh(root: &Path) -> Result<PathBuf> {
    let folder = root.join("target/bench");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("an earlier run's folder")?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
