//! `git mergetool`: a conflict in the editor.

use std::path::PathBuf;

use clap::Args;

use crate::app::App;
use crate::args::{AccessArgs, MacArgs, TypeArgs};
use crate::command::edit::{self, EditArgs};
use crate::engine::Access;
use crate::error::Failure;
use crate::exit::Code;
use crate::git::conflict;
use crate::git::merge::{self, Outcome, Versions};
use crate::input::Source;
use crate::plan::NewFileArgs;

/// Arguments of `git mergetool`, as Git gives them: `$BASE $LOCAL $REMOTE $MERGED`.
#[derive(Args, Debug)]
pub(crate) struct MergetoolArgs {
    /// The common ancestor's version
    base: PathBuf,
    /// Our version
    local: PathBuf,
    /// Their version
    remote: PathBuf,
    /// The file in the work tree
    merged: PathBuf,

    #[command(flatten)]
    types: TypeArgs,

    #[command(flatten)]
    new_file: NewFileArgs,

    #[command(flatten)]
    mac: MacArgs,

    #[command(flatten)]
    access: AccessArgs,
}

/// Merges again if the driver could not (a key was missing) or was not called, then opens what is left of the conflict in the editor.
///
/// # Errors
/// As `git merge` and `edit`.
pub(super) fn run(app: &App, args: MergetoolArgs) -> Result<Code, Failure> {
    let text = Source::File(args.merged.clone()).read()?;
    if conflict::unfold(text.expose()).is_none() || !conflict::is_folded(text.expose()) {
        let name = args.merged.display().to_string();
        // Without an ancestor Git names a file that may not be there.
        let base =
            if args.base.exists() { Source::File(args.base.clone()).read()? } else { bulla_core::SecretBytes::new() };
        let versions = Versions {
            base,
            ours: Source::File(args.local.clone()).read()?,
            theirs: Source::File(args.remote.clone()).read()?,
        };
        let access = Access::new(app, &args.access)?;
        match merge::merge(app, &access, &name, versions, args.mac.into())? {
            Outcome::Merged(text) => {
                super::merge::write(&args.merged, &text)?;
                return Ok(Code::Success);
            }
            Outcome::Conflict(text, _) => super::merge::write(&args.merged, &text)?,
            Outcome::Plain => {
                return Err(Failure::generic(format!("{name}: is not encrypted on either side"))
                    .with_hint("use another tool for it: git mergetool --tool=TOOL"));
            }
        }
    }
    let edited = edit::run(
        app,
        &EditArgs {
            file: args.merged,
            show_master_keys: false,
            insecure_temp_dir: false,
            filename_override: None,
            types: args.types,
            new_file: args.new_file,
            mac: args.mac,
            access: args.access,
        },
    );
    // To Git a file that was left as it is is not merged.
    edited.map_err(|failure| Failure { code: Code::Generic, ..failure })
}
