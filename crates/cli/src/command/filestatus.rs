//! `filestatus`: whether files are encrypted.

use std::path::PathBuf;

use bulla_format::sops::{self, EncryptedFile};
use clap::Args;
use serde::Serialize;

use crate::app::App;
use crate::args::FileType;
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;
use crate::kind::kind_of;
use crate::term;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla filestatus secrets.yaml           {\"encrypted\":true}
  bulla filestatus a.yaml b.yaml          one line of JSON a file, with its name";

/// Arguments of `filestatus`.
#[derive(Args, Debug)]
pub(crate) struct FilestatusArgs {
    /// The files; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Take the file as this type, whatever its name
    #[arg(long, value_name = "TYPE")]
    pub(crate) input_type: Option<FileType>,
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    encrypted: bool,
}

/// Prints the status of each file as JSON.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn run(app: &App, args: &FilestatusArgs) -> Result<Code, Failure> {
    for path in &args.files {
        let source = Source::from_argument(Some(path));
        let name = source.name();
        let text = source
            .read()
            .map_err(|failure| Failure { code: Code::Generic, ..failure }.context("cannot check file status"))?;
        let kind = kind_of(app.personality, args.input_type, &path.to_string_lossy(), text.expose());
        let encrypted = match EncryptedFile::parse(kind, text) {
            Ok(file) => !file.metadata().version.is_empty() && !file.metadata().mac.is_empty(),
            Err(sops::Error::MetadataNotFound) => false,
            Err(error) => return Err(Failure::decrypting(&name, error).context("cannot check file status")),
        };
        let status = Status { file: (args.files.len() > 1).then_some(name.as_str()), encrypted };
        term::print(&serde_json::to_string(&status).map_err(|error| Failure::generic(error.to_string()))?)?;
    }
    Ok(Code::Success)
}
