//! Where bytes come from: a file, or standard input.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use bulla_core::SecretBytes;
use bulla_core::file::{self, FileError, FileLock};

use crate::args::OutputArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::many::{Target, Targets};
use crate::output::Sink;

/// The largest input that is read: what a document's 32-bit positions can address.
pub(crate) const LIMIT: u64 = u32::MAX as u64;

/// Where the bytes of one file come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// `-` and nothing at all mean standard input.
    pub(crate) fn from_argument(argument: Option<&Path>) -> Self {
        match argument {
            None => Self::Stdin,
            Some(path) if path == Path::new("-") => Self::Stdin,
            Some(path) => Self::File(path.to_owned()),
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }

    /// All of it, into secret memory.
    ///
    /// # Errors
    /// [`Code::NoFile`] if the file is not there, else [`Code::CouldNotReadInput`].
    pub(crate) fn read(&self) -> Result<SecretBytes, Failure> {
        let result = match self {
            Self::File(path) => file::read(path, LIMIT),
            Self::Stdin => file::read_from(io::stdin().lock(), Path::new("standard input"), 0, LIMIT),
        };
        result.map_err(|error| failure(&error))
    }

    /// As [`read`](Self::read), for commands in which sops does not look for the file first: one that is not there fails
    /// with [`Code::CouldNotReadInput`].
    ///
    /// # Errors
    /// [`Code::CouldNotReadInput`].
    pub(crate) fn read_existing(&self) -> Result<SecretBytes, Failure> {
        self.read().map_err(existing)
    }

    /// Keeps other processes from changing the file until the lock is dropped. Nothing for standard input.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn lock(&self) -> Result<Option<FileLock>, Failure> {
        match self {
            Self::File(path) => FileLock::acquire(path).map(Some).map_err(|error| failure(&error)),
            Self::Stdin => Ok(None),
        }
    }

    /// As [`lock`](Self::lock), failing as [`read_existing`](Self::read_existing) does.
    ///
    /// # Errors
    /// [`Code::CouldNotReadInput`].
    pub(crate) fn lock_existing(&self) -> Result<Option<FileLock>, Failure> {
        self.lock().map_err(existing)
    }
}

/// Checks that the results of many files have somewhere to go, each a place of its own.
///
/// # Errors
/// [`Code::ConflictingFlags`].
pub(crate) fn check_destination(
    targets: &Targets,
    output: &OutputArgs,
    output_dir: Option<&Path>,
    dry_run: bool,
) -> Result<(), Failure> {
    if let Some(folder) = output_dir {
        return check_apart(targets, folder);
    }
    if !targets.many || output.in_place || dry_run {
        return Ok(());
    }
    Err(Failure::new(Code::ConflictingFlags, "the results of many files cannot go to one place")
        .with_hint("replace the files with --in-place, or write to a folder with --output-dir"))
}

/// Two files of one name, from different folders, must not end up in one: the second would replace the first.
fn check_apart(targets: &Targets, folder: &Path) -> Result<(), Failure> {
    let mut places: HashMap<&Path, &Source> = HashMap::new();
    for target in &targets.list {
        if let Some(other) = places.insert(&target.below, &target.source)
            && *other != target.source
        {
            let what = format!(
                "{} and {} would both become {}",
                other.name(),
                target.source.name(),
                folder.join(&target.below).display()
            );
            return Err(Failure::new(Code::ConflictingFlags, what)
                .with_hint("name the folder that holds both, with --recursive, or give each its own --output-dir"));
        }
    }
    Ok(())
}

/// Where the result for a target goes.
///
/// # Errors
/// [`Code::ConflictingFlags`].
pub(crate) fn sink(output: &OutputArgs, output_dir: Option<&Path>, target: &Target) -> Result<Sink, Failure> {
    match output_dir {
        Some(folder) => Ok(Sink::Below(folder.join(&target.below))),
        None => Sink::new(output, &target.source),
    }
}

fn failure(error: &FileError) -> Failure {
    match error {
        FileError::Io { source, path, .. } if source.kind() == io::ErrorKind::NotFound => Failure::new(
            Code::NoFile,
            format!("Error: cannot operate on non-existent file {:?}", path.display().to_string()),
        ),
        _ => Failure::new(Code::CouldNotReadInput, error.to_string()),
    }
}

fn existing(failure: Failure) -> Failure {
    match failure.code {
        Code::NoFile => Failure { code: Code::CouldNotReadInput, ..failure },
        _ => failure,
    }
}
