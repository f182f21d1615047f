//! Where results go. Nothing is opened for writing before the whole result is there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bulla_core::file;

use crate::app::Personality;
use crate::args::OutputArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::signals;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Plaintext: its owner.
    Plain,
    /// Plaintext under the name `sops`: everyone the umask lets, as there, because scripts hand such files on.
    PlainAsSops,
    /// Ciphertext: everyone the umask lets.
    Encrypted,
}

impl Contents {
    /// Plaintext that was asked for.
    pub(crate) fn plain(personality: Personality) -> Self {
        match personality {
            Personality::Bulla | Personality::Kubeseal => Self::Plain,
            Personality::Sops => Self::PlainAsSops,
        }
    }

    const fn mode(self) -> u32 {
        match self {
            Self::Plain => 0o600,
            Self::PlainAsSops | Self::Encrypted => 0o666,
        }
    }
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Standard output.
    Stdout,
    /// A file, replaced whole or not at all.
    File(PathBuf),
    /// The same, in folders that are made when it is written.
    Below(PathBuf),
}

impl Sink {
    /// What the flags say, for a result made from `source`.
    ///
    /// # Errors
    /// [`Code::ConflictingFlags`].
    pub(crate) fn new(args: &OutputArgs, source: &Source) -> Result<Self, Failure> {
        let conflict = |what: &str| Err(Failure::new(Code::ConflictingFlags, format!("Error: {what}")));
        let output = args.output.as_ref().filter(|path| !path.as_os_str().is_empty() && path.as_os_str() != "-");
        match (args.in_place, output, source) {
            (true, Some(_), _) => conflict("cannot operate on both --output and --in-place"),
            (true, None, Source::Stdin) => conflict("cannot use --in-place when reading from stdin"),
            (true, None, Source::File(path)) | (false, Some(path), _) => Ok(Self::File(path.clone())),
            (false, None, _) => Ok(Self::Stdout),
        }
    }

    /// Writes the result.
    ///
    /// # Errors
    /// [`Code::CouldNotWriteOutput`]; a file is then as it was.
    pub(crate) fn write(&self, bytes: &[u8], contents: Contents) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
                    // Whoever reads has had enough (`| head`): the status is that of other programs then.
                    io::ErrorKind::BrokenPipe => Failure::silent(Code::Child(141)),
                    _ => Failure::new(Code::CouldNotWriteOutput, format!("cannot write to standard output: {error}")),
                })
            }
            Self::File(path) => write_file(path, bytes, contents),
            Self::Below(path) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                fs::create_dir_all(folder).map_err(|error| {
                    let what = format!("cannot make the folder {}: {error}", folder.display());
                    Failure::new(Code::CouldNotWriteOutput, what)
                })?;
                write_file(path, bytes, contents)
            }
        }
    }
}

/// Writes plain data to standard output.
///
/// # Errors
/// As [`Sink::write`].
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    Sink::Stdout.write(bytes, Contents::Plain)
}

/// Writes a line to standard output.
///
/// # Errors
/// [`Code::CouldNotWriteOutput`], also if nobody reads any more.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}")
        .map_err(|error| Failure::new(Code::CouldNotWriteOutput, format!("cannot write to standard output: {error}")))
}

fn write_file(path: &Path, bytes: &[u8], contents: Contents) -> Result<(), Failure> {
    // Pipes and devices (`--output /dev/stdout`, `>(command)`) are written to; there is nothing to replace.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes)).map_err(|error| {
            Failure::new(Code::CouldNotWriteOutput, format!("cannot write {}: {error}", path.display()))
        });
    }
    // Not above: a pipe may have no reader, and waiting for one must end with a signal.
    let _finished = signals::finish_first();
    file::replace(path, bytes, contents.mode())
        .map_err(|error| Failure::new(Code::CouldNotWriteOutput, error.to_string()))?;
    tracing::debug!(file = %path.display(), "written");
    Ok(())
}
