//! Policies: kept as text, compiled once, and the compiled rules of each set of policies kept too.
//!
//! What is kept in memory is thrown away exactly when a policy it is made of changes. A change that comes while rules are compiled wins: they are not
//! kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

mod acl;
mod default;
mod rules;

pub use acl::{Acl, Verdict};
pub use rules::{Grant, Rule, capability, parse};

use crate::barrier::{Barrier, View};
use crate::logical::{Error, Result};

/// The policy that may do everything, and cannot be read or changed.
pub const ROOT: &str = "root";
/// The policy that tokens have unless they do without.
pub const DEFAULT: &str = "default";
/// The policy of a token that gives a wrapped answer.
pub const WRAPPING: &str = "response-wrapping";
/// How many sets of policies are kept compiled.
const KEPT: usize = 4096;

/// A policy as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Its text.
    pub text: String,
    /// When it was written, in nanoseconds since 1970.
    pub modified: i64,
    /// How often it was written.
    pub version: u64,
}

/// All policies.
pub struct Policies {
    view: View,
    compiled: RwLock<Compiled>,
}

#[derive(Default)]
struct Compiled {
    /// Counts changes.
    generation: u64,
    sets: HashMap<Vec<String>, Arc<Acl>>,
}

impl Policies {
    /// The policies in `barrier`.
    pub fn new(barrier: &Arc<Barrier>) -> Self {
        Self { view: View::hidden(barrier, "sys/policy/"), compiled: RwLock::default() }
    }

    /// Writes `default` if it is not there.
    pub async fn prepare(&self) -> Result<()> {
        if self.view.get(DEFAULT).await?.is_none() {
            self.write(DEFAULT, default::TEXT).await?;
        }
        Ok(())
    }

    /// The policy called `name`, in lower case.
    pub async fn read(&self, name: &str) -> Result<Option<Policy>> {
        Ok(self.view.read(name).await?)
    }

    /// Names of all, and `root`, sorted.
    pub async fn names(&self) -> Result<Vec<String>> {
        let mut names = self.view.list("", "", 0).await?;
        names.push(ROOT.to_owned());
        names.sort_unstable();
        Ok(names)
    }

    /// Writes a policy.
    ///
    /// # Errors
    /// 400 if it is no policy, or one that cannot be written.
    pub async fn write(&self, name: &str, text: &str) -> Result<()> {
        if name == ROOT || name == WRAPPING {
            return Err(Error::bad_request(format!("cannot update {name:?} policy")));
        }
        parse(text).map_err(|error| Error::bad_request(format!("failed to parse policy: {error}")))?;
        let version = self.read(name).await?.map_or(0, |policy| policy.version) + 1;
        let policy = Policy { text: text.to_owned(), modified: super::now_nanos(), version };
        let written = self.view.write(name, &policy).await;
        // Also if it failed: nobody may know whether it was written.
        self.forget(name);
        Ok(written?)
    }

    /// Deletes a policy; that it is not there is no error.
    pub async fn delete(&self, name: &str) -> Result<()> {
        if name == ROOT || name == DEFAULT || name == WRAPPING {
            // Clients look for these words, with and without the quotes.
            let shown = if name == DEFAULT { name.to_owned() } else { format!("{name:?}") };
            return Err(Error::bad_request(format!("cannot delete {shown} policy")));
        }
        let deleted = self.view.delete(name).await;
        self.forget(name);
        Ok(deleted?)
    }

    /// The compiled rules of `names`.
    pub async fn acl(&self, names: &[String]) -> Result<Arc<Acl>> {
        if names.iter().any(|name| name == ROOT) {
            return Ok(Arc::new(Acl::root()));
        }
        let generation = {
            let compiled = self.compiled.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(acl) = compiled.sets.get(names).filter(|acl| acl.is_current()) {
                return Ok(Arc::clone(acl));
            }
            compiled.generation
        };
        let mut rules = Vec::new();
        for name in names {
            if name == WRAPPING {
                rules.extend(parse(default::WRAPPING_TEXT).unwrap_or_default());
            } else if let Some(policy) = self.read(name).await? {
                // It was parsed when it was written. Were it not to be now, its denials would be missing: nothing is allowed then.
                rules.extend(parse(&policy.text).map_err(|error| Error::internal(&error))?);
            }
        }
        let acl = Arc::new(Acl::compile(&rules));
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if compiled.generation == generation {
            if compiled.sets.len() >= KEPT {
                compiled.sets.clear();
            }
            compiled.sets.insert(names.to_vec(), Arc::clone(&acl));
        }
        Ok(acl)
    }

    fn forget(&self, name: &str) {
        let mut compiled = self.compiled.write().unwrap_or_else(PoisonError::into_inner);
        compiled.generation += 1;
        compiled.sets.retain(|names, _| !names.iter().any(|one| one == name));
    }
}

#[cfg(test)]
mod tests;
