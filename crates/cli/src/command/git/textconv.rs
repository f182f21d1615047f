//! `git textconv`: what `git diff` shows of an encrypted file.

use std::path::PathBuf;

use bulla_core::SecretBytes;
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck};
use clap::Args;

use crate::app::App;
use crate::args::AccessArgs;
use crate::engine::{self, Access};
use crate::error::Failure;
use crate::exit::Code;
use crate::git::{conflict, merge};
use crate::input::Source;
use crate::kind::kind_of;
use crate::output;

/// Arguments of `git textconv`.
#[derive(Args, Debug)]
pub(crate) struct TextconvArgs {
    /// The file
    file: PathBuf,

    #[command(flatten)]
    access: AccessArgs,
}

/// Prints the file decrypted, and who can open it; a file that is plain or that no key opens as it is.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn run(app: &App, args: &TextconvArgs) -> Result<Code, Failure> {
    let name = args.file.display().to_string();
    let text = Source::File(args.file.clone()).read()?;
    let kind = kind_of(app.personality, None, &name, text.expose());
    match decrypted(app, &args.access, &name, kind, &text) {
        Ok(Some(plain)) => output::print(plain.expose())?,
        Ok(None) => output::print(text.expose())?,
        Err(failure) => {
            tracing::debug!(failure = failure.message, "shown encrypted");
            output::print(text.expose())?;
        }
    }
    Ok(Code::Success)
}

fn decrypted(
    app: &App,
    access: &AccessArgs,
    name: &str,
    kind: FileKind,
    text: &SecretBytes,
) -> Result<Option<SecretBytes>, Failure> {
    if conflict::has_markers(text.expose()) {
        let access = Access::unasked(app, access)?;
        let open = merge::open_conflict(app, &access, name, kind, text, MacCheck::Check)?;
        return Ok(open.map(|open| open.plain.text));
    }
    if EncryptedFile::parse(kind, text.clone()).is_err() {
        return Ok(None);
    }
    let access = Access::unasked(app, access)?;
    let opened = engine::open(app, &access, name, kind, text.clone(), MacCheck::Check)?;
    let mut shown = opened.plain.text;
    // Without these lines a commit that lets someone in would show no change.
    if !shown.is_empty() && !shown.expose().ends_with(b"\n") {
        shown.extend_from_slice(b"\n");
    }
    shown.extend_from_slice(b"# can be opened by:\n");
    for (index, group) in opened.file.metadata().groups.iter().enumerate() {
        for key in group {
            let group =
                if opened.file.metadata().groups.len() > 1 { format!(" (group {})", index + 1) } else { String::new() };
            shown.extend_from_slice(format!("#   {} {}{group}\n", key.id.kind(), key.id).as_bytes());
        }
    }
    Ok(Some(shown))
}
