//! `.sops.yaml`: where it is found, and what it says about a file. Each is read once in a run.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bulla_core::file;
use bulla_format::sops::config::{Config, CreationRule};

use crate::app::App;
use crate::error::Failure;

/// How many folders up a configuration is looked for, as in sops.
const LEVELS: usize = 100;
const NAME: &str = ".sops.yaml";
const WRONG_NAME: &str = ".sops.yml";
const SIZE_LIMIT: u64 = 16 << 20;
/// A path that no rule is written for.
const NO_FILE: &str = "\u{1}";

/// A configuration and where it was read.
pub(crate) struct Found {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its folder, absolute: what `path_regex` is relative to.
    folder: PathBuf,
    /// What it says.
    pub(crate) config: Config,
}

impl Found {
    /// Whether there is any rule about new files.
    pub(crate) fn has_rules(&self) -> bool {
        !self.config.creation_rules.is_empty()
    }

    /// The first rule that `path` meets.
    ///
    /// # Errors
    /// A rule that is wrong.
    pub(crate) fn rule(&self, path: &Path) -> Result<Option<(usize, &CreationRule)>, Failure> {
        let absolute = clean(path);
        let relative = absolute.strip_prefix(&self.folder).unwrap_or(&absolute);
        // Rules are written with slashes, whatever the system's separator.
        let relative = relative.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        self.config
            .rule_for(&relative)
            .map_err(|error| Failure::generic(format!("{}: error loading config: {error}", self.path.display())))
    }
}

/// The configurations of a run, by the folder they were looked for from.
#[derive(Default)]
pub(crate) struct Configs {
    by_folder: Mutex<HashMap<PathBuf, Option<Arc<Found>>>>,
    by_file: Mutex<HashMap<PathBuf, Arc<Found>>>,
}

impl Configs {
    /// The configuration for the file at `path` (`None`: standard input without a name).
    ///
    /// `--config` and `SOPS_CONFIG` go before what is found. Under the name `sops` it is looked for from the current folder
    /// upward; under ours from the file's folder, then from the current one.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn for_file(&self, app: &App, path: Option<&Path>) -> Result<Option<Arc<Found>>, Failure> {
        if let Some(said) = app.global.config() {
            return self.load(said).map(Some);
        }
        let current = clean(Path::new("."));
        if let (false, Some(folder)) = (app.is_sops(), path.and_then(Path::parent)) {
            let found = self.above(&clean(folder))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        self.above(&current)
    }

    /// The configuration of `folder` or the nearest one above it.
    fn above(&self, folder: &Path) -> Result<Option<Arc<Found>>, Failure> {
        if let Some(known) = lock(&self.by_folder).get(folder) {
            return Ok(known.clone());
        }
        let mut misnamed = None;
        let mut result = None;
        for folder in folder.ancestors().take(LEVELS) {
            if folder.join(NAME).is_file() {
                result = Some(self.load(&folder.join(NAME))?);
                break;
            }
            if misnamed.is_none() && folder.join(WRONG_NAME).is_file() {
                misnamed = Some(folder.join(WRONG_NAME));
            }
        }
        if let Some(misnamed) = misnamed {
            crate::term::warn(&format!("{} is not read: the configuration must be called {NAME}", misnamed.display()));
        }
        lock(&self.by_folder).insert(folder.to_owned(), result.clone());
        Ok(result)
    }

    fn load(&self, path: &Path) -> Result<Arc<Found>, Failure> {
        if let Some(known) = lock(&self.by_file).get(path) {
            return Ok(Arc::clone(known));
        }
        let bad = |what: String| Failure::generic(what);
        let text = file::read(path, SIZE_LIMIT).map_err(|error| bad(format!("could not read config file: {error}")))?;
        let config = Config::parse(text.expose())
            .map_err(|error| bad(format!("{}: error loading config: {error}", path.display())))?;
        let folder = clean(path.parent().unwrap_or(Path::new("")));
        tracing::debug!(file = %path.display(), "configuration read");
        let found = Arc::new(Found { path: path.to_owned(), folder, config });
        lock(&self.by_file).insert(path.to_owned(), Arc::clone(&found));
        Ok(found)
    }
}

/// The absolute path without `.` and `..`, by its text alone: a link in it stays, as rules are written for what one sees.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path)
        .or_else(|_| std::env::current_dir().map(|current| current.join(path)))
        .unwrap_or_else(|_| path.to_owned());
    let mut clean = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// Whether a creation rule meets every file there is, or every YAML or JSON file and encrypts a part of each: of a single file it says
/// nothing then, only how to encrypt one.
pub(crate) fn meets_all(config: &Config, index: usize, path: &str) -> bool {
    let is_met_by = |path: &str| config.rule_for(path).ok().flatten().is_some_and(|(met, _)| met == index);
    let takes_a_part = || {
        config.creation_rules.get(index).is_some_and(|rule| {
            let rules = &rule.rules;
            [&rules.encrypted_regex, &rules.encrypted_suffix, &rules.encrypted_comment_regex]
                .into_iter()
                .any(|rule| rule.as_ref().is_some_and(|rule| !rule.is_empty()))
        })
    };
    let ending =
        path.rsplit_once('.').map(|(_, ending)| ending).filter(|ending| ["yaml", "yml", "json"].contains(ending));
    is_met_by(NO_FILE) || ending.is_some_and(|ending| is_met_by(&format!("{NO_FILE}.{ending}")) && takes_a_part())
}

/// A map behind a lock is whole even after a panic elsewhere: entries are inserted in one step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_by_its_text() {
        assert_eq!(clean(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(clean(Path::new("/../a")), Path::new("/a"));
        assert!(clean(Path::new("")).is_absolute());
    }
}
