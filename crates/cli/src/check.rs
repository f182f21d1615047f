//! `check`: whether `.sops.yaml` is right, and whether the files are as it says.

mod config;
pub(crate) mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_core::{KeyId, SecretBytes};
use bulla_format::sops::{self, EncryptedFile, Rules};
use bulla_kms::{Options, Registry};

use crate::app::App;
use crate::config::clean;
use crate::error::Failure;
use crate::git::repository::Repository;
use crate::input::Source;
use crate::kind::kind_of;
use crate::rekey::{Recipients, same_key};
pub(crate) use config::Loaded;
use config::{Loader, NAME};

/// What was checked.
#[derive(Default)]
pub(crate) struct Report {
    /// The configurations, each once.
    pub(crate) configs: Vec<Arc<Loaded>>,
    /// The files.
    pub(crate) files: Vec<File>,
}

impl Report {
    /// Whether anything is wrong. Warnings are not.
    pub(crate) fn has_errors(&self) -> bool {
        self.configs.iter().any(|config| !config.errors.is_empty())
            || self.files.iter().any(|file| file.finding.is_wrong())
    }
}

/// One file.
pub(crate) struct File {
    /// Its path as it was named or found.
    pub(crate) path: PathBuf,
    /// Whether it was named, or found in a folder.
    pub(crate) origin: Origin,
    /// The rule that it meets.
    pub(crate) rule: Option<Met>,
    /// How it is.
    pub(crate) finding: Finding,
}

/// How a file came to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By name: everything about it is told.
    Named,
    /// In a folder: only what is wrong is told.
    Found,
}

/// A rule that a file meets.
#[derive(Clone)]
pub(crate) struct Met {
    /// The configuration.
    pub(crate) config: PathBuf,
    /// The rule's place, from 1.
    pub(crate) number: usize,
    /// The line it begins on.
    pub(crate) line: Option<usize>,
    /// Whom it lets in.
    pub(crate) groups: Vec<Vec<KeyId>>,
    /// How many of several groups are needed.
    pub(crate) threshold: Option<usize>,
    /// Whether it means some files, or every file there is (of an ending).
    pub(crate) meets_all: bool,
    /// Which values it has encrypted.
    pub(crate) rules: Rules,
}

/// How a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// As it should be.
    Fine,
    /// Plain, and no rule, or only one that meets every file, says that it should not be.
    Plain,
    /// There is no such file; only the rule can be told.
    Absent,
    /// Plain, and a rule wants it encrypted.
    ShouldBeEncrypted,
    /// Encrypted, and no rule meets it.
    NoRule,
    /// Encrypted for others than the rule says.
    Drift {
        /// Who should be able to open it and is not.
        missing: Vec<KeyId>,
        /// Who can open it and should not.
        extra: Vec<KeyId>,
        /// The groups or the threshold differ.
        groups_differ: bool,
    },
    /// It cannot be told: the configuration is wrong, or the file cannot be read.
    Unknown(String),
}

impl Finding {
    /// Whether something must be done.
    pub(crate) fn is_wrong(&self) -> bool {
        match self {
            Self::Fine | Self::Plain | Self::Absent | Self::NoRule => false,
            Self::ShouldBeEncrypted | Self::Drift { .. } | Self::Unknown(_) => true,
        }
    }
}

/// Checks files, and folders with all that is in them.
///
/// # Errors
/// If a folder cannot be read.
pub(crate) fn check(app: &App, paths: &[PathBuf]) -> Result<Report, Failure> {
    let mut loader = Loader::new(app.global.config(), Registry::new(app.env.clone(), Options::default()));
    let mut files = BTreeMap::new();
    for path in paths {
        if path.is_dir() {
            for file in files_below(path)? {
                if file.file_name().is_some_and(|name| name == NAME) {
                    loader.load(&file);
                } else {
                    files.entry(file).or_insert(Origin::Found);
                }
            }
            loader.above(&clean(path));
        } else if path.file_name().is_some_and(|name| name == NAME) {
            loader.load(path);
        } else {
            files.insert(path.clone(), Origin::Named);
        }
    }
    let files = files.into_iter().map(|(path, origin)| file(app, &mut loader, path, origin)).collect();
    Ok(Report { configs: loader.into_loaded(), files })
}

fn file(app: &App, loader: &mut Loader, path: PathBuf, origin: Origin) -> File {
    let config = loader.for_file(&path);
    let rule = config.as_deref().map_or(Ok(None), |config| config.rule(&path));
    let (rule, finding) = match rule {
        Err(problem) => (None, Finding::Unknown(problem)),
        Ok(rule) => {
            let finding = look(app, &path, rule.as_ref());
            (rule, finding)
        }
    };
    File { path, origin, rule, finding }
}

fn look(app: &App, path: &Path, rule: Option<&Met>) -> Finding {
    if !path.exists() {
        return Finding::Absent;
    }
    let text = match (Source::File(path.to_owned())).read() {
        Ok(text) => text,
        Err(failure) => return Finding::Unknown(failure.message),
    };
    let kind = kind_of(app.personality, None, &path.to_string_lossy(), text.expose());
    match (encrypted(kind, &text), rule) {
        (Err(problem), _) => Finding::Unknown(problem),
        (Ok(None), Some(rule)) if !rule.meets_all && !text.is_empty() && sops::selects(kind, &text, &rule.rules) => {
            Finding::ShouldBeEncrypted
        }
        (Ok(None), _) => Finding::Plain,
        (Ok(Some(_)), None) => Finding::NoRule,
        (Ok(Some(file)), Some(rule)) => compare(&Recipients::of(file.metadata()), rule),
    }
}

fn encrypted(kind: sops::FileKind, text: &SecretBytes) -> Result<Option<EncryptedFile>, String> {
    // Most files hold neither word, and are not parsed for it.
    let has = |part: &[u8]| text.expose().windows(part.len()).any(|window| window == part);
    if !has(b"sops") || !has(b"ENC[") {
        return Ok(None);
    }
    match EncryptedFile::parse(kind, text.clone()) {
        Ok(file) => Ok(Some(file)),
        Err(sops::Error::Metadata(problem)) => Err(problem),
        Err(_) => Ok(None),
    }
}

fn compare(has: &Recipients, rule: &Met) -> Finding {
    // A rule without keys leaves them to flags.
    if rule.groups.iter().all(Vec::is_empty) {
        return Finding::Fine;
    }
    let without = |keys: &[Vec<KeyId>], others: &[Vec<KeyId>]| -> Vec<KeyId> {
        let others: Vec<&KeyId> = others.iter().flatten().collect();
        keys.iter().flatten().filter(|key| !others.iter().any(|other| same_key(key, other))).cloned().collect()
    };
    let missing = without(&rule.groups, &has.groups);
    let extra = without(&has.groups, &rule.groups);
    let shape = |groups: &[Vec<KeyId>]| groups.iter().map(Vec::len).collect::<Vec<_>>();
    let several = has.groups.len() > 1 || rule.groups.len() > 1;
    let threshold = |said: Option<usize>, groups: &[Vec<KeyId>]| said.unwrap_or(groups.len());
    let groups_differ = several
        && (shape(&has.groups) != shape(&rule.groups)
            || threshold(has.threshold, &has.groups) != threshold(rule.threshold, &rule.groups));
    if missing.is_empty() && extra.is_empty() && !groups_differ {
        return Finding::Fine;
    }
    Finding::Drift { missing, extra, groups_differ }
}

/// All files below a folder: what Git knows or would add, where it is a work tree, else everything.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    if let Ok(repository) = Repository::at(folder) {
        let listing = repository.output(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let names = listing.split(|&byte| byte == 0).filter(|name| !name.is_empty());
        let path = |name: &[u8]| {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(name);
            if folder == Path::new(".") { PathBuf::from(name) } else { folder.join(name) }
        };
        // Deleted ones are still in the index, links lead elsewhere.
        return Ok(names.map(path).filter(|path| path.symlink_metadata().is_ok_and(|data| data.is_file())).collect());
    }
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry =
            entry.map_err(|error| Failure::generic(format!("cannot look through {}: {error}", folder.display())))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> KeyId {
        KeyId::Age { recipient: name.to_owned() }
    }

    fn finding(has: &[&[&str]], rule: &[&[&str]], threshold: Option<usize>) -> Finding {
        let groups =
            |groups: &[&[&str]]| groups.iter().map(|group| group.iter().map(|name| key(name)).collect()).collect();
        let met = Met {
            config: PathBuf::new(),
            number: 1,
            line: None,
            groups: groups(rule),
            threshold,
            meets_all: false,
            rules: Rules::default(),
        };
        compare(&Recipients { groups: groups(has), threshold: None }, &met)
    }

    #[test]
    fn drift_names_who_is_missing_and_who_is_too_many() {
        assert_eq!(finding(&[&["a", "b"]], &[&["b", "a"]], None), Finding::Fine);
        let drift = Finding::Drift { missing: vec![key("c")], extra: vec![key("b")], groups_differ: false };
        assert_eq!(finding(&[&["a", "b"]], &[&["a", "c"]], None), drift);
        assert_eq!(finding(&[&["a"]], &[], None), Finding::Fine);
    }

    #[test]
    fn the_same_keys_in_other_groups_are_drift() {
        let differ = Finding::Drift { missing: vec![], extra: vec![], groups_differ: true };
        assert_eq!(finding(&[&["a", "b"]], &[&["a"], &["b"]], None), differ);
        assert_eq!(finding(&[&["a"], &["b"], &["c"]], &[&["a"], &["b"], &["c"]], Some(2)), differ);
        assert_eq!(finding(&[&["a"], &["b"]], &[&["a"], &["b"]], Some(2)), Finding::Fine);
    }
}
