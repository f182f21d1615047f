//! What developers run: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool: what it prints is its purpose")]

mod bench;
mod dist;
mod fuzz;
mod generate;
mod peers;
mod process;
mod tidy;

use std::path::PathBuf;

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
    /// Build the static binary that is shipped, and check its size and hardening
    Dist {
        /// Skip link-time optimisation: faster to build, a little larger
        #[arg(long)]
        fast: bool,
    },
}

fn main() -> Result<()> {
    let root = root();
    match Cli::parse().command {
        Command::Peers => peers::install(&root),
        Command::Test { arguments } => {
            peers::install(&root)?;
            process::cargo(&root).args(["test", "--workspace", "--locked"]).args(arguments).run()
        }
        Command::Generate { check: false } => generate::write(&root),
        Command::Generate { check: true } => generate::check(&root),
        Command::Tidy => tidy::check(&root),
        Command::Fuzz { seconds, target } => fuzz::run(&root, seconds, target.as_deref()),
        Command::Bench { which } => bench::run(&root, &which),
        Command::Dist { fast } => {
            dist::build(&root, if fast { dist::Profile::Release } else { dist::Profile::Dist }).map(|_| ())
        }
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.clone(), ToOwned::to_owned)
}
