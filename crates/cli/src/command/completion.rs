//! `completion`: scripts that complete this command line in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::app::App;
use crate::cli::Cli;
use crate::error::Failure;
use crate::exit::Code;
use crate::output;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  source <(bulla completion bash)
  bulla completion zsh > \"${fpath[1]}/_bulla\"";

/// Arguments of `completion`.
#[derive(Args, Debug)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If standard output cannot be written.
pub(crate) fn run(app: &App, args: &CompletionArgs) -> Result<Code, Failure> {
    let mut script = Vec::new();
    if app.is_sops() {
        clap_complete::generate(args.shell, &mut crate::sops_cli::definition(&Cli::command()), "sops", &mut script);
    } else {
        clap_complete::generate(args.shell, &mut Cli::command(), "bulla", &mut script);
    }
    output::print(&script)?;
    Ok(Code::Success)
}
