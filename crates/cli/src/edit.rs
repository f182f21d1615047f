//! Editing an encrypted file as if it were plain.
//!
//! The plaintext is written into a private folder in memory, an editor runs on it, and what it leaves is encrypted again
//! with the file's own keys. What a person typed is never lost: whatever goes wrong, the editor is offered again, and
//! where nobody is there to be asked an encrypted copy is kept beside the file.

mod draft;
mod editor;
mod example;
mod private;
mod shown_keys;

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bulla_core::SecretBytes;

pub(crate) use draft::{Draft, Keys};
pub(crate) use private::OnDisk;

use crate::app::App;
use crate::engine::Access;
use crate::error::Failure;
use crate::exit::Code;
use crate::input::LIMIT;
use crate::signals::{self, Hold, Signal};
use crate::term;
use draft::{Merged, Saved};
use editor::{Editor, End};
use private::PrivateFolder;

/// Lets the user edit `draft` until it is saved, or given up.
///
/// # Errors
/// [`Code::Unchanged`], [`Code::NoEditor`], [`Code::CouldNotReadInput`] for a text that cannot be encrypted and was given
/// up, [`Code::CouldNotWriteOutput`].
pub(crate) fn run(app: &App, access: &Access, draft: &mut Draft, on_disk: OnDisk) -> Result<Code, Failure> {
    let editor = Editor::find(app.env.as_ref())?;
    // From here to the end of the folder a signal must not end the process.
    let signals = signals::hold();
    let folder = PrivateFolder::make(app.env.as_ref(), on_disk)?;
    if !folder.in_memory {
        term::warn("the plaintext is on a disk while you edit it: no memory file system was found");
    }
    let name = draft.path().file_name().map_or(Path::new("file"), Path::new);
    let mut shown = draft.shown()?;
    let path = folder.write(name, shown.expose()).map_err(|error| {
        Failure::new(Code::CouldNotWriteOutput, format!("cannot write the plaintext for the editor: {error}"))
    })?;
    loop {
        let end = match editor.run(&path, &signals) {
            Ok(end) => end,
            // There may be something from the time before.
            Err(failure) => {
                let Ok(edited) = bulla_core::file::read(&path, LIMIT) else { return Err(failure) };
                return Err(give_up(draft, &edited, edited != shown, failure));
            }
        };
        let edited = bulla_core::file::read(&path, LIMIT).map_err(|error| {
            Failure::new(Code::CouldNotReadInput, format!("cannot read what the editor left: {error}"))
        })?;
        let changed = edited != shown;
        let problem = match end {
            End::Interrupted(code) => {
                return Err(give_up(draft, &edited, changed, Failure::new(code, "interrupted; the file is as it was")));
            }
            End::Failed(status) => {
                Failure::new(Code::NoEditor, format!("Could not run editor: {}", editor::describe(status)))
            }
            End::Saved if !changed => return Err(Failure::new(Code::Unchanged, "File has not changed, exiting.")),
            End::Saved => match draft.save(app, access, &edited) {
                Ok(Saved::Done) => return Ok(Code::Success),
                Ok(Saved::Overtaken) => {
                    if let Some(code) = overtaken(app, access, draft, &edited, &path, &signals)? {
                        return Ok(code);
                    }
                    // What the other process wrote is what a change is measured by now.
                    shown = draft.shown()?;
                    continue;
                }
                Err(failure) => failure,
            },
        };
        if !changed {
            return Err(problem);
        }
        problem.print("error: ");
        let code = match ask("Press enter to return to the editor, or q to give up.", &signals) {
            Answer::Letter('q') | Answer::Nobody => problem.code,
            Answer::Letter(_) => continue,
            Answer::Signal(signal) => signal.code(),
        };
        return Err(give_up(draft, &edited, changed, Failure::new(code, "the file is as it was")));
    }
}

/// The file was changed by somebody else meanwhile: both changes are merged, or a person decides. `None` to go back to the
/// editor, with both texts in it.
fn overtaken(
    app: &App,
    access: &Access,
    draft: &mut Draft,
    edited: &SecretBytes,
    path: &Path,
    signals: &Hold,
) -> Result<Option<Code>, Failure> {
    let name = draft.path().display().to_string();
    let mut edited = edited.clone();
    // Each round is for one more process that was faster.
    loop {
        term::warn(&format!("{name} was changed by another process while you edited it"));
        let both = match draft.merge(app, access, &edited) {
            Ok(Merged::Cleanly(text)) => {
                term::note("your changes and those of the other process are merged");
                edited = text;
                None
            }
            Ok(Merged::Conflicting(both)) => Some(both),
            Err(failure) => return Err(give_up(draft, &edited, true, failure)),
        };
        if let Some(both) = both {
            match ask("[o] overwrite it with yours, [e] edit both together, or [q] give up?", signals) {
                Answer::Letter('o') => {}
                Answer::Letter('e') => {
                    return match bulla_core::file::replace(path, both.expose(), 0o600) {
                        Ok(()) => Ok(None),
                        Err(error) => {
                            let failure = Failure::new(Code::CouldNotWriteOutput, error.to_string());
                            Err(give_up(draft, &edited, true, failure))
                        }
                    };
                }
                _ => {
                    let what = format!("{name} was left as the other process wrote it");
                    return Err(give_up(draft, &edited, true, Failure::new(Code::CouldNotWriteOutput, what)));
                }
            }
        }
        match draft.save(app, access, &edited) {
            Ok(Saved::Done) => return Ok(Some(Code::Success)),
            Ok(Saved::Overtaken) => {}
            Err(failure) => return Err(give_up(draft, &edited, true, failure)),
        }
    }
}

/// Keeps what was typed in an encrypted copy, and says where.
fn give_up(draft: &Draft, edited: &SecretBytes, changed: bool, failure: Failure) -> Failure {
    if !changed || edited.is_empty() {
        return failure;
    }
    match draft.keep_copy(edited) {
        Ok(path) => failure
            .context("your changes are kept, encrypted")
            .with_hint(format!("read them with: bulla decrypt --input-type binary {}", path.display())),
        Err(error) => failure.context(&format!("your changes could not be kept ({})", error.message)),
    }
}

/// What came instead of an answer, or the answer's first letter.
enum Answer {
    Letter(char),
    /// The end of standard input.
    Nobody,
    Signal(Signal),
}

/// Asks, and listens for signals meanwhile.
fn ask(question: &str, signals: &Hold) -> Answer {
    let (answer, answered) = mpsc::channel();
    let question = question.to_owned();
    // A signal leaves the thread waiting for its line; it ends with the process.
    std::thread::spawn(move || answer.send(term::ask(&question)));
    loop {
        match answered.recv_timeout(Duration::from_millis(50)) {
            Ok(Some(letter)) => return Answer::Letter(letter),
            Ok(None) | Err(mpsc::RecvTimeoutError::Disconnected) => return Answer::Nobody,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Some(signal) = signals.take() {
            return Answer::Signal(signal);
        }
    }
}
