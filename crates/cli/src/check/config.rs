//! Configurations, looked at for what is wrong in them instead of being refused for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_core::{KeyErrorKind, SecretBytes, file};
use bulla_document::{Document, Step, Syntax};
use bulla_format::sops::config::Config;
use bulla_kms::Registry;

use super::Met;
use crate::config::{clean, meets_all};

/// The configuration's name.
pub(super) const NAME: &str = ".sops.yaml";
/// What people write instead, and sops does not read.
const WRONG_NAME: &str = ".sops.yml";
const SIZE_LIMIT: u64 = 16 << 20;

/// A configuration and what was seen in it.
pub(crate) struct Loaded {
    /// The file.
    pub(crate) path: PathBuf,
    folder: PathBuf,
    config: Option<Config>,
    /// The line that each creation rule begins on.
    lines: Vec<usize>,
    /// What is wrong.
    pub(crate) errors: Vec<String>,
    /// What is probably not meant.
    pub(crate) warnings: Vec<String>,
}

impl Loaded {
    fn new(path: &Path, registry: &Registry) -> Self {
        let folder = clean(path.parent().unwrap_or(Path::new("")));
        let mut loaded =
            Self { path: path.to_owned(), folder, config: None, lines: vec![], errors: vec![], warnings: vec![] };
        let text = match file::read(path, SIZE_LIMIT) {
            Ok(text) => text,
            Err(error) => {
                loaded.errors.push(error.to_string());
                return loaded;
            }
        };
        match Config::parse(text.expose()) {
            Ok(config) => {
                loaded.lines = rule_lines(text);
                loaded.errors = config.problems().map(str::to_owned).collect();
                loaded.warnings.clone_from(&config.warnings);
                loaded.try_keys(&config, registry);
                loaded.suspect(&config);
                loaded.config = Some(config);
            }
            Err(error) => loaded.errors.push(error.to_string()),
        }
        loaded
    }

    /// The rule that the file at `path` meets.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(super) fn rule(&self, path: &Path) -> Result<Option<Met>, String> {
        let Some(config) = &self.config else { return Err(format!("{} cannot be read", self.path.display())) };
        let absolute = clean(path);
        let relative = absolute.strip_prefix(&self.folder).unwrap_or(&absolute).to_string_lossy();
        let met = config.rule_for(&relative).map_err(|error| format!("{}: {error}", self.path.display()))?;
        Ok(met.map(|(index, rule)| Met {
            config: self.path.clone(),
            number: index + 1,
            line: self.lines.get(index).copied(),
            groups: rule.groups.clone(),
            threshold: rule.shamir_threshold,
            meets_all: meets_all(config, index, &relative),
            rules: rule.rules.clone(),
        }))
    }

    /// Opens the service of each key, which tells malformed ones and asks nobody.
    fn try_keys(&mut self, config: &Config, registry: &Registry) {
        for (index, rule) in config.creation_rules.iter().enumerate() {
            for key in rule.groups.iter().flatten() {
                let Err(error) = registry.open(key) else { continue };
                let message = format!("{}: {error}", self.place(index));
                match error.kind() {
                    KeyErrorKind::Unsupported => self.warnings.push(message),
                    _ => self.errors.push(message),
                }
            }
        }
    }

    /// A rule's name in messages.
    fn place(&self, index: usize) -> String {
        match self.lines.get(index) {
            Some(line) => format!("line {line}: rule {}", index + 1),
            None => format!("rule {}", index + 1),
        }
    }

    fn suspect(&mut self, config: &Config) {
        let rules = &config.creation_rules;
        if rules.is_empty() && config.destination_rules.is_empty() {
            self.warnings.push("there are no rules in it".to_owned());
        }
        let last = rules.iter().position(|rule| rule.path_regex.is_none());
        for (index, rule) in rules.iter().enumerate() {
            if last.is_some_and(|last| index > last) {
                let first = last.map_or(0, |last| last + 1);
                self.warnings.push(format!("{} is never reached: rule {first} meets every file", self.place(index)));
            } else if rule.path_regex.is_some()
                && let Some(same) = rules[..index].iter().position(|other| other.path_regex == rule.path_regex)
            {
                self.warnings.push(format!(
                    "{} is never reached: rule {} has the same path_regex",
                    self.place(index),
                    same + 1
                ));
            }
            // Where a key is wrong, that has been said.
            if self.errors.is_empty() && rule.groups.iter().all(Vec::is_empty) {
                self.warnings.push(format!("{} names no key", self.place(index)));
            }
        }
    }
}

/// The configurations of a run, by their path.
pub(super) struct Loader {
    said: Option<PathBuf>,
    loaded: Vec<Arc<Loaded>>,
    by_folder: HashMap<PathBuf, Option<Arc<Loaded>>>,
    registry: Registry,
}

impl Loader {
    /// `said`: the configuration of all files (`--config`).
    pub(super) fn new(said: Option<&Path>, registry: Registry) -> Self {
        Self { said: said.map(Path::to_owned), loaded: Vec::new(), by_folder: HashMap::new(), registry }
    }

    /// The configuration at `path`.
    pub(super) fn load(&mut self, path: &Path) -> Arc<Loaded> {
        if let Some(known) = self.loaded.iter().find(|loaded| clean(&loaded.path) == clean(path)) {
            return Arc::clone(known);
        }
        let loaded = Arc::new(Loaded::new(path, &self.registry));
        self.loaded.push(Arc::clone(&loaded));
        loaded
    }

    /// The configuration for the file at `path`.
    pub(super) fn for_file(&mut self, path: &Path) -> Option<Arc<Loaded>> {
        match self.said.clone() {
            Some(said) => Some(self.load(&said)),
            None => self.above(clean(path).parent()?),
        }
    }

    /// The configuration of `folder`, or the nearest above it.
    pub(super) fn above(&mut self, folder: &Path) -> Option<Arc<Loaded>> {
        if let Some(said) = self.said.clone() {
            return Some(self.load(&said));
        }
        if let Some(known) = self.by_folder.get(folder) {
            return known.clone();
        }
        let found = if folder.join(NAME).is_file() {
            Some(self.load(&shown(&folder.join(NAME))))
        } else {
            if folder.join(WRONG_NAME).is_file() {
                self.misnamed(&folder.join(WRONG_NAME));
            }
            folder.parent().and_then(|parent| self.above(parent))
        };
        self.by_folder.insert(folder.to_owned(), found.clone());
        found
    }

    /// All that were loaded, in the order they were met.
    pub(super) fn into_loaded(self) -> Vec<Arc<Loaded>> {
        self.loaded
    }

    fn misnamed(&mut self, path: &Path) {
        if self.loaded.iter().all(|loaded| loaded.path != path) {
            let warnings = vec![format!("is not read: the configuration must be called {NAME}")];
            let path = shown(path);
            let (folder, errors) = (PathBuf::new(), Vec::new());
            self.loaded.push(Arc::new(Loaded { path, folder, config: None, lines: vec![], errors, warnings }));
        }
    }
}

/// The line each creation rule begins on.
fn rule_lines(text: SecretBytes) -> Vec<usize> {
    let Ok(document) = Document::parse(Syntax::Yaml, text) else { return Vec::new() };
    let rules = document.roots().first().and_then(|root| document.child(*root, &Step::Key("creation_rules".into())));
    let Some(rules) = rules else { return Vec::new() };
    let items = document.children(rules).filter(|item| document.kind(*item) != bulla_document::Kind::Comment);
    items.map(|item| document.line(item)).collect()
}

/// The path as one would name it from here.
fn shown(path: &Path) -> PathBuf {
    path.strip_prefix(clean(Path::new("."))).map_or_else(|_| path.to_owned(), Path::to_owned)
}
