//! `man`: the manual, made from the command line's definition.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};

use crate::app::App;
use crate::cli::Cli;
use crate::error::Failure;
use crate::exit::Code;
use crate::output::{Contents, Sink};

/// Arguments of `man`.
#[derive(Args, Debug)]
pub(crate) struct ManArgs {
    /// The page of this command; without, the one about bulla
    pub(crate) command: Vec<String>,

    /// Write all pages into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    pub(crate) output_dir: Option<PathBuf>,
}

/// Prints a page, or writes all.
///
/// # Errors
/// An unknown command, or output that cannot be written.
pub(crate) fn run(_app: &App, args: &ManArgs) -> Result<Code, Failure> {
    let mut root = Cli::command();
    root.build();
    if let Some(folder) = &args.output_dir {
        write_all(&root, root.get_name(), folder)?;
        return Ok(Code::Success);
    }
    let mut command = &root;
    let mut name = root.get_name().to_owned();
    for part in &args.command {
        command = command
            .find_subcommand(part)
            .ok_or_else(|| Failure::generic(format!("there is no command {name} {part}")))?;
        name = format!("{name}-{part}");
    }
    Sink::Stdout.write(&page(command, &name)?, Contents::Encrypted)?;
    Ok(Code::Success)
}

fn write_all(command: &Command, name: &str, folder: &Path) -> Result<(), Failure> {
    Sink::Below(folder.join(format!("{name}.1"))).write(&page(command, name)?, Contents::Encrypted)?;
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        write_all(subcommand, &format!("{name}-{}", subcommand.get_name()), folder)?;
    }
    Ok(())
}

fn page(command: &Command, name: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .render(&mut text)
        .map_err(|error| Failure::generic(format!("cannot make the manual page of {name}: {error}")))?;
    Ok(text)
}
