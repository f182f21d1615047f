//! The command line of the program, which has five names. As `bulla` it takes bulla's, as `sops`, `kubeseal`, `vault` and `bao` those tools'.
//!
//! Nothing here knows a format or a key service: the engines do the work, this crate reads the command line, files and
//! the environment, and prints.

mod app;
mod args;
mod audit;
mod check;
mod cli;
mod command;
mod config;
mod convert;
mod demo;
mod diff;
mod edit;
mod engine;
mod env_vars;
mod error;
mod exec;
mod exit;
mod git;
mod group_diff;
mod input;
mod key_names;
mod kind;
mod kubeseal_cli;
mod logging;
mod many;
mod old_context;
mod output;
mod plan;
mod rekey;
mod seal;
mod settings;
mod shell;
mod signals;
mod sops_cli;
mod stream;
mod term;
mod tree_path;
mod vault_cli;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use app::Personality;

/// Runs the program with the arguments of this process. What it comes to is its exit code.
pub fn main() -> ExitCode {
    if let Err(error) = bulla_core::memory::harden_process() {
        return error::Failure::new(exit::Code::Generic, format!("cannot protect this process' memory: {error}"))
            .report(Personality::Bulla);
    }
    let argv: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = vault_cli::run(&argv) {
        return code;
    }
    let personality = personality(&argv);
    match cli::run(personality, argv) {
        Ok(code) => code.into(),
        Err(failure) => failure.report(personality),
    }
}

/// By the name the program was started under.
fn personality(argv: &[OsString]) -> Personality {
    match argv.first().map(Path::new).and_then(Path::file_stem) {
        Some(name) if name == "sops" => Personality::Sops,
        Some(name) if name == "kubeseal" => Personality::Kubeseal,
        _ => Personality::Bulla,
    }
}
