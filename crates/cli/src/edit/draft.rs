//! What is being edited: the plaintext, the file it came from, and how it is encrypted again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bulla_core::file::FileLock;
use bulla_core::{DataKey, SecretBytes};
use bulla_format::sops::{self, EncryptedFile, FileKind, MacCheck, Metadata, Rules, Stash};

use super::shown_keys;
use crate::app::App;
use crate::command::version::SOPS_VERSION;
use crate::engine::{self, Access, Opened};
use crate::error::Failure;
use crate::exit::Code;
use crate::git::merge::OpenConflict;
use crate::git::{conflict, text};
use crate::input::Source;
use crate::output::{Contents, Sink};
use crate::rekey::{self, Recipients};

/// Whether the file's keys are shown, and may be changed, with its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Only values are shown.
    Hidden,
    /// The `sops` block is shown as well (`--show-master-keys`).
    Shown,
}

/// How an attempt to save ended, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// The file is replaced.
    Done,
    /// The file is not the one that was opened any more.
    Overtaken,
}

/// What was edited, and what another process wrote, in one.
pub(super) enum Merged {
    /// The changes do not touch each other.
    Cleanly(SecretBytes),
    /// Both texts between conflict markers.
    Conflicting(SecretBytes),
}

/// A file being edited.
pub(crate) struct Draft {
    path: PathBuf,
    kind: FileKind,
    out_kind: FileKind,
    keys: Keys,
    metadata: Metadata,
    key: DataKey,
    stash: Option<Stash>,
    plain: SecretBytes,
    /// The encrypted file as it was opened; `None` for a new one.
    on_disk: Option<SecretBytes>,
}

impl Draft {
    /// Of a file that is there. `on_disk` is its text as it was read.
    pub(crate) fn of_file(
        path: &Path,
        kinds: (FileKind, FileKind),
        keys: Keys,
        on_disk: SecretBytes,
        opened: Opened,
    ) -> Self {
        Self {
            path: path.to_owned(),
            kind: kinds.0,
            out_kind: kinds.1,
            keys,
            metadata: opened.file.metadata().clone(),
            key: opened.key,
            stash: Some(opened.plain.stash),
            plain: opened.plain.text,
            on_disk: Some(on_disk),
        }
    }

    /// Of a file in which a merge left a conflict: its markers are in the plaintext as well.
    pub(crate) fn of_conflict(path: &Path, kind: FileKind, on_disk: SecretBytes, conflict: OpenConflict) -> Self {
        Self {
            path: path.to_owned(),
            kind,
            out_kind: kind,
            keys: Keys::Hidden,
            metadata: conflict.file.metadata().clone(),
            key: conflict.key,
            stash: Some(conflict.plain.stash),
            plain: conflict.plain.text,
            on_disk: Some(on_disk),
        }
    }

    /// Of a new file: `metadata` has its keys, `plain` is what it starts with.
    pub(crate) fn of_new(path: &Path, kinds: (FileKind, FileKind), metadata: Metadata, key: DataKey) -> Self {
        Self {
            path: path.to_owned(),
            kind: kinds.0,
            out_kind: kinds.1,
            keys: Keys::Hidden,
            metadata,
            key,
            stash: None,
            plain: super::example::text(kinds.0),
            on_disk: None,
        }
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the editor shows.
    pub(super) fn shown(&self) -> Result<SecretBytes, Failure> {
        match (self.keys, &self.on_disk, self.kind) {
            (Keys::Shown, Some(on_disk), FileKind::Text(syntax)) => shown_keys::show(syntax, &self.plain, on_disk),
            (Keys::Shown, _, _) => {
                Err(Failure::new(Code::ConflictingFlags, "--show-master-keys: this file has no place to show them"))
            }
            _ => Ok(self.plain.clone()),
        }
    }

    /// Encrypts what the editor left and replaces the file, if it is still the one that was opened.
    pub(super) fn save(&self, app: &App, access: &Access, edited: &SecretBytes) -> Result<Saved, Failure> {
        let encrypted = self.encrypt(app, access, edited)?;
        let _lock = match &self.on_disk {
            Some(on_disk) => {
                let lock = FileLock::acquire(&self.path)
                    .map_err(|error| Failure::new(Code::CouldNotWriteOutput, error.to_string()))?;
                if Source::File(self.path.clone()).read_existing()? != *on_disk {
                    return Ok(Saved::Overtaken);
                }
                Some(lock)
            }
            None if self.path.exists() => return Ok(Saved::Overtaken),
            None => None,
        };
        Sink::File(self.path.clone()).write(encrypted.expose(), Contents::Encrypted)?;
        Ok(Saved::Done)
    }

    /// Merges what was edited with the file as it is now, which becomes the one that [`save`](Self::save) replaces.
    pub(super) fn merge(&mut self, app: &App, access: &Access, edited: &SecretBytes) -> Result<Merged, Failure> {
        let base = self.shown()?;
        let name = self.path.display().to_string();
        let on_disk = Source::File(self.path.clone()).read_existing()?;
        let opened = engine::open(app, access, &name, self.out_kind, on_disk.clone(), MacCheck::Check)?;
        let new = Self::of_file(&self.path, (self.out_kind, self.out_kind), self.keys, on_disk, opened);
        let theirs = new.shown()?;
        let is_new = self.on_disk.is_none();
        if self.kind == self.out_kind && self.keys == Keys::Hidden {
            let base = (!is_new).then_some(&base);
            if let Ok(merged) = text::merge(self.kind, base, edited, &theirs)
                && merged.conflict.is_none()
            {
                *self = new;
                return Ok(Merged::Cleanly(merged.text));
            }
        }
        let both = conflict::fold(edited.expose(), theirs.expose());
        *self = new;
        // Nothing to fold where both are the same.
        Ok(both.map_or_else(|| Merged::Cleanly(theirs), Merged::Conflicting))
    }

    /// Keeps a text that could not be saved, encrypted as bytes with the file's own keys, beside the file or, if that cannot
    /// be written to, in the current folder or the one for temporary files.
    pub(super) fn keep_copy(&self, edited: &SecretBytes) -> Result<PathBuf, Failure> {
        let metadata = Metadata {
            rules: Rules::default(),
            last_modified: rekey::now(),
            unknown: Vec::new(),
            ..self.metadata.clone()
        };
        let copy = sops::encrypt(FileKind::Binary, edited.clone(), metadata, &self.key, None)
            .map_err(|error| Failure::encrypting("the copy", error))?;
        let name = self.path.file_name().map_or_else(|| OsString::from("file"), OsString::from);
        let folders =
            [self.path.parent().map_or_else(PathBuf::new, PathBuf::from), PathBuf::new(), std::env::temp_dir()];
        let mut result = Err(Failure::generic("no folder"));
        for folder in folders {
            let path = unused(&folder.join(&name));
            result = Sink::File(path.clone()).write(copy.expose(), Contents::Plain).map(|()| path);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn encrypt(&self, app: &App, access: &Access, edited: &SecretBytes) -> Result<SecretBytes, Failure> {
        let name = self.path.display().to_string();
        if conflict::has_markers(edited.expose()) {
            let what = format!("{name}: conflict markers are left (<<<<<<<, >>>>>>>): choose between the two sides");
            return Err(Failure::new(Code::CouldNotReadInput, what));
        }
        let mut metadata = Metadata { last_modified: rekey::now(), ..self.metadata.clone() };
        if is_older(&metadata.version, SOPS_VERSION) {
            SOPS_VERSION.clone_into(&mut metadata.version);
        }
        let (text, key) = match (self.keys, self.kind) {
            (Keys::Shown, FileKind::Text(syntax)) => {
                let (text, shown) = shown_keys::read(syntax, edited.clone())?;
                let key = self.apply(app, access, &name, &mut metadata, &shown)?;
                (text, key)
            }
            _ => (edited.clone(), self.key.clone()),
        };
        let text = crate::convert::convert(app, text, self.kind, self.out_kind)?;
        let encrypted = sops::encrypt(self.out_kind, text, metadata, &key, self.stash.as_ref())
            .map_err(|error| Failure::encrypting(&name, error))?;
        // What cannot be read back must not replace what could.
        EncryptedFile::parse(self.out_kind, encrypted.clone()).map_err(|error| Failure::encrypting(&name, error))?;
        Ok(encrypted)
    }

    /// Applies keys and rules that were edited. A key that is gone takes the data key with it.
    fn apply(
        &self,
        app: &App,
        access: &Access,
        name: &str,
        metadata: &mut Metadata,
        shown: &Metadata,
    ) -> Result<DataKey, Failure> {
        metadata.rules.clone_from(&shown.rules);
        let old = Recipients::of(&self.metadata);
        let new = Recipients::of(shown).checked()?;
        if new == old {
            return Ok(self.key.clone());
        }
        metadata.shamir_threshold = new.threshold;
        if new.exclude_any_of(&old) {
            crate::term::note(&format!("{name}: a key was removed, so the file gets a new data key"));
            let key = rekey::generate()?;
            metadata.groups = rekey::wrap(app, access, name, &key, &new)?;
            return Ok(key);
        }
        metadata.groups = rekey::rewrap(app, access, name, &self.key, &self.metadata, &new)?;
        Ok(self.key.clone())
    }
}

/// `NAME.bulla-kept`, or with a number if there is one already.
fn unused(path: &Path) -> PathBuf {
    let candidate = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(".bulla-kept");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (1..1000).map(candidate).find(|path| !path.exists()).unwrap_or_else(|| candidate(1000))
}

/// Whether a version is older than another. Only editing raises a file's version, as in sops.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| -> Vec<u64> {
        text.trim_start_matches('v').split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
    };
    numbers(version) < numbers(than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(is_older("3.9.4", "3.13.3"));
        assert!(is_older("1.0", "3.13.3"));
        assert!(!is_older("3.13.3", "3.13.3"));
        assert!(!is_older("99.0.0", "3.13.3"));
    }
}
