//! What developers run: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool: what it prints is its purpose")]

mod bench;
mod cluster;
mod dist;
mod fuzz;
mod generate;
mod image;
mod peers;
mod process;
mod sbom;
mod shipped_image;
mod tidy;
mod traced;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What developers of bulla run.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the peers that tests and benchmarks run against, under target/peers
    Peers,
    /// Install the peers, then run every test
    Test {
        /// Passed on to `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Make the generated code anew; with --check only say whether it is current
    Generate {
        /// Change nothing, and fail if something would change
        #[arg(long)]
        check: bool,
    },
    /// Check the repository itself: layers, licences, sizes, docs
    Tidy,
    /// Run every fuzz target, sharing the time
    Fuzz {
        /// Seconds in all
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Only this target
        target: Option<String>,
    },
    /// Run a benchmark against the real peers and print its table
    Bench {
        /// Which one
        #[command(subcommand)]
        which: bench::Which,
    },
    /// Write the container image, and what it is made of beside it, under target/image
    Image {
        /// Skip link-time optimisation: faster to build, a little larger
        #[arg(long)]
        fast: bool,
        /// Run it in a cluster too, confined as far as Kubernetes can
        #[arg(long)]
        run: bool,
    },
    /// Run a real Kubernetes on this machine, for tests
    Cluster {
        /// What to do
        #[command(subcommand)]
        action: cluster::Action,
    },
    /// Build the static binary that is shipped, and check its size and hardening
    Dist {
        /// Skip link-time optimisation: faster to build, a little larger
        #[arg(long)]
        fast: bool,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    if let Some(root) = dist::order::called_for() {
        return dist::order::link(&root);
    }
    let root = root();
    match Cli::parse().command {
        Command::Peers => peers::install(&root),
        Command::Test { arguments } => {
            peers::install(&root)?;
            test(&root, &arguments)
        }
        Command::Generate { check: false } => generate::write(&root),
        Command::Generate { check: true } => generate::check(&root),
        Command::Tidy => tidy::check(&root),
        Command::Fuzz { seconds, target } => fuzz::run(&root, seconds, target.as_deref()),
        Command::Bench { which } => bench::run(&root, &which),
        Command::Cluster { action } => cluster::run(&root, action),
        Command::Image { fast, run } => {
            let image = shipped_image::write(&root, profile(fast))?;
            if run { shipped_image::run(&root, &image) } else { Ok(()) }
        }
        Command::Dist { fast } => dist::build(&root, profile(fast)).map(drop),
    }
}

fn profile(fast: bool) -> dist::Profile {
    if fast { dist::Profile::Release } else { dist::Profile::Dist }
}

/// Runs every test, on a cluster of their own unless `BULLA_TEST_KUBECONFIG` names one.
fn test(root: &Path, arguments: &[String]) -> Result<()> {
    const THREADS: &str = "RUST_TEST_THREADS";
    // Most tests of the cluster wait, for leases, pods and outages: with one at a time on each core the cores would, too.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = std::env::var(THREADS).unwrap_or_else(|_| (cores * 2).to_string());
    // All failures of a run are worth more than its first.
    let tests = || {
        let test = ["test", "--workspace", "--locked", "--no-fail-fast"];
        process::cargo(root).args(test).args(arguments).env(THREADS, &threads).run()
    };
    if std::env::var_os("BULLA_TEST_KUBECONFIG").is_some() {
        return tests();
    }
    cluster::with("test", root, |_| tests())
}

/// The workspace's folder.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), ToOwned::to_owned)
}
