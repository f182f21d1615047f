//! `keygen`: a new age identity.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::output::say;
use crate::rekey;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla keygen                           into the file where sops and bulla look for keys
  bulla keygen --output keys.txt         prints the recipient to encrypt to";

/// Arguments of `keygen`.
#[derive(Args, Debug)]
pub(crate) struct KeygenArgs {
    /// Write the identity to this file, which must not exist; default: ~/.config/sops/age/keys.txt
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Writes the identity to a file that only its owner reads, and prints the recipient.
///
/// # Errors
/// If the file is there already, or cannot be written.
pub(crate) fn run(app: &App, args: &KeygenArgs) -> Result<Code, Failure> {
    let path = args.output.clone().or_else(|| default_path(app)).ok_or_else(|| {
        Failure::generic("neither HOME nor XDG_CONFIG_HOME says where your keys are").with_hint("pass --output FILE")
    })?;
    let new = bulla_kms::keygen::generate(&rekey::now());
    let write = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(new.file.expose())?;
        file.sync_all()
    };
    write().map_err(|error| {
        let failure = Failure::new(
            Code::CouldNotWriteOutput,
            format!("cannot write the identity to {}: {error}", path.display()),
        );
        if error.kind() == io::ErrorKind::AlreadyExists {
            return failure.with_hint("a key is never overwritten; pass another file with --output");
        }
        failure
    })?;
    say(&new.recipient)?;
    Ok(Code::Success)
}

/// Where sops looks for identities.
fn default_path(app: &App) -> Option<PathBuf> {
    let config = app.env.path("XDG_CONFIG_HOME").or_else(|| Some(app.env.home()?.join(".config")))?;
    Some(config.join("sops/age/keys.txt"))
}
