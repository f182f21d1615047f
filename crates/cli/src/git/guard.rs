//! The guard before a commit: looks through what the index holds, and says what must not be there in the plain.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bulla_core::SecretBytes;
use bulla_format::sops::config::Config;
use bulla_format::sops::{self, EncryptedFile};

use crate::app::App;
use crate::config::meets_all;
use crate::error::Failure;
use crate::git::conflict;
use crate::git::repository::{Entry, Repository};
use crate::git::scan::{self, Finding, State, What};
use crate::kind::kind_of;

/// The attribute of files that may hold what looks like secrets: `PATTERN bulla-allow` in `.gitattributes`.
const ALLOW_ATTRIBUTE: &str = "bulla-allow";
const CONFIG_NAME: &str = ".sops.yaml";

/// What is looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What the next commit changes.
    Staged,
    /// Everything in the index, for CI.
    All,
}

/// What was found in one file.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file, from the top of the work tree.
    pub(crate) path: PathBuf,
    /// What is in it, by line.
    pub(crate) findings: Vec<Finding>,
}

/// What was looked through.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many files.
    pub(crate) looked: usize,
    /// Those with findings.
    pub(crate) found: Vec<Found>,
    /// Encrypted files for which no merge driver is set.
    pub(crate) without_driver: Vec<PathBuf>,
}

/// Looks through the index. `only`: just these files, by their path from the top.
///
/// # Errors
/// If git fails, or a configuration cannot be read.
pub(crate) fn look(app: &App, repository: &Repository, reach: Reach, only: &[PathBuf]) -> Result<Report, Failure> {
    let mut entries = match reach {
        Reach::Staged => repository.staged()?,
        Reach::All => repository.tracked()?,
    };
    entries.retain(|entry| only.is_empty() || only.contains(&entry.path));
    let allowed = repository.attribute(ALLOW_ATTRIBUTE, &paths(&entries))?;
    let mut allowed = allowed.into_iter().map(|value| value.is_some_and(|value| value != "unset"));
    entries.retain(|_| !allowed.next().unwrap_or(false));

    let configs = Configs::load(repository)?;
    let mut report = Report { looked: entries.len(), ..Report::default() };
    let mut encrypted = Vec::new();
    repository.blobs(entries.iter().map(|entry| entry.blob.as_str()), |index, contents| {
        let Some(entry) = entries.get(index) else { return };
        let path = entry.path.to_string_lossy();
        let file = encrypted_file(app, &path, contents);
        let state = if file.is_some() { State::Encrypted } else { State::Plain };
        let mut findings = scan::scan(&path, contents, state);
        match state {
            State::Encrypted => {
                encrypted.push(index);
                let left = file.and_then(|file| file.left_plain().ok()).unwrap_or_default();
                findings.extend(
                    left.into_iter().map(|left| Finding { line: left.line, what: What::LeftPlain { path: left.path } }),
                );
            }
            State::Plain if is_conflict(app, &path, contents) => {
                let marker = contents.split(|&byte| byte == b'\n').position(|line| line.starts_with(b"<<<<<<<"));
                findings.push(Finding { line: marker.unwrap_or(0) + 1, what: What::Conflict });
            }
            State::Plain if findings.is_empty() && !contents.is_empty() => {
                let rule = configs.rule(app, &entry.path, contents);
                findings.extend(rule.map(|rule| Finding { line: 1, what: What::Unencrypted { rule } }));
            }
            State::Plain => {}
        }
        if !findings.is_empty() {
            report.found.push(Found { path: entry.path.clone(), findings });
        }
    })?;
    let encrypted: Vec<&Path> = encrypted.iter().map(|index| entries[*index].path.as_path()).collect();
    if !encrypted.is_empty() && repository.run(&["config", "merge.bulla.driver"])?.status.success() {
        let drivers = repository.attribute("merge", &encrypted)?;
        let without = encrypted.iter().zip(drivers).filter(|(_, driver)| driver.is_none());
        report.without_driver = without.map(|(path, _)| path.to_path_buf()).collect();
    }
    Ok(report)
}

/// Whether the contents are an encrypted file.
pub(crate) fn state(app: &App, path: &str, contents: &[u8]) -> State {
    if encrypted_file(app, path, contents).is_some() { State::Encrypted } else { State::Plain }
}

/// The contents, if they are an encrypted file of the type that its name, or else its looks, say.
fn encrypted_file(app: &App, path: &str, contents: &[u8]) -> Option<EncryptedFile> {
    let has = |part: &[u8]| contents.windows(part.len()).any(|window| window == part);
    // All encrypted files have both words; most files have neither, and are not parsed for it.
    if !has(b"ENC[") || !has(b"sops") {
        return None;
    }
    let kind = kind_of(app.personality, None, path, contents);
    EncryptedFile::parse(kind, SecretBytes::from(contents)).ok()
}

/// Whether two versions of an encrypted file stand in the contents.
fn is_conflict(app: &App, path: &str, contents: &[u8]) -> bool {
    let sides = conflict::unfold(contents);
    sides.is_some_and(|sides| state(app, path, sides.ours.expose()) == State::Encrypted)
}

/// The configurations in the index, by their folder.
struct Configs(HashMap<PathBuf, Config>);

impl Configs {
    fn load(repository: &Repository) -> Result<Self, Failure> {
        let mut entries = repository.tracked()?;
        entries.retain(|entry| entry.path.file_name().is_some_and(|name| name == CONFIG_NAME));
        let mut configs = HashMap::new();
        let mut failed = None;
        repository.blobs(entries.iter().map(|entry| entry.blob.as_str()), |index, contents| {
            let path = &entries[index].path;
            match Config::parse(contents) {
                Ok(config) => {
                    configs.insert(path.parent().unwrap_or(Path::new("")).to_owned(), config);
                }
                Err(error) => failed = Some(Failure::generic(format!("{}: {error}", path.display()))),
            }
        })?;
        match failed {
            Some(failure) => Err(failure.with_hint("run: bulla check")),
            None => Ok(Self(configs)),
        }
    }

    /// The rule that wants the file encrypted, if it is one that means some files and not all, and some of what is in it.
    fn rule(&self, app: &App, path: &Path, contents: &[u8]) -> Option<String> {
        if path.file_name().is_some_and(|name| name == CONFIG_NAME || name == ".gitattributes" || name == ".gitignore")
        {
            return None;
        }
        let (folder, config) = path.ancestors().skip(1).find_map(|folder| Some((folder, self.0.get(folder)?)))?;
        let relative = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
        let (index, rule) = config.rule_for(&relative).ok()??;
        let kind = kind_of(app.personality, None, &relative, contents);
        let wants =
            !meets_all(config, index, &relative) && sops::selects(kind, &SecretBytes::from(contents), &rule.rules);
        wants.then(|| format!("rule {} of {}", index + 1, folder.join(CONFIG_NAME).display()))
    }
}

fn paths(entries: &[Entry]) -> Vec<&Path> {
    entries.iter().map(|entry| entry.path.as_path()).collect()
}
