//! `git install`: drivers, attributes and hook.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::git::guard;
use crate::git::install::{self, Scope};
use crate::git::repository::Repository;
use crate::git::scan::State;
use crate::output;

/// Arguments of `git install`.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Which files are encrypted, as .gitattributes has patterns; default: those in the index that are
    patterns: Vec<String>,

    /// Change your own Git configuration instead of the repository's
    #[arg(long, conflicts_with = "local")]
    global: bool,

    /// Change the repository's configuration and .gitattributes (default)
    #[arg(long)]
    local: bool,

    /// Install the pre-commit hook as well
    #[arg(long, conflicts_with = "global")]
    hook: bool,
}

/// Installs, and says what it did.
///
/// # Errors
/// If git refuses, a file cannot be written, or there is another hook.
pub(super) fn run(app: &App, args: &InstallArgs) -> Result<Code, Failure> {
    let scope = if args.global { Scope::Global } else { Scope::Local };
    let here = PathBuf::from(".");
    let repository = match scope {
        Scope::Global => Repository::anywhere(&here),
        Scope::Local => Repository::at(&here)?,
    };
    let mut done = install::drivers(&repository, scope)?;
    let patterns = match (args.patterns.as_slice(), scope) {
        ([], Scope::Local) => encrypted_files(app, &repository)?,
        (patterns, _) => patterns.to_vec(),
    };
    done.extend(install::attributes(&repository, scope, &patterns)?);
    if args.hook {
        done.extend(install::hook(&repository, scope)?);
    }
    for line in done {
        output::print(format!("{line}\n").as_bytes())?;
    }
    if patterns.is_empty() && scope == Scope::Local {
        output::print(b"no file in the index is encrypted; name patterns: bulla git install 'secrets/*.yaml'\n")?;
    }
    Ok(Code::Success)
}

fn encrypted_files(app: &App, repository: &Repository) -> Result<Vec<String>, Failure> {
    let entries = repository.tracked()?;
    let mut encrypted: Vec<&Path> = Vec::new();
    repository.blobs(entries.iter().map(|entry| entry.blob.as_str()), |index, contents| {
        if let Some(entry) = entries.get(index)
            && guard::state(app, &entry.path.to_string_lossy(), contents) == State::Encrypted
        {
            encrypted.push(&entry.path);
        }
    })?;
    Ok(encrypted.into_iter().map(install::exact).collect())
}
