//! All providers of this node by name: what is built in, and whoever has a socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Provider, Remote};
use crate::mounter::Mounter;
use crate::publish::Providers;
use crate::volume::Limits;

/// What the name of a socket ends with.
const SUFFIX: &str = ".sock";
/// The longest name of a provider: the protocol's.
const LONGEST: usize = 30;

/// Providers by name.
pub struct Registry {
    built_in: BTreeMap<String, Arc<dyn Provider>>,
    folders: Vec<PathBuf>,
    mounter: Mounter,
    longest_answer: usize,
    limits: Limits,
    others: Mutex<HashMap<String, Arc<Remote>>>,
}

impl Registry {
    /// None is built in yet; others have their sockets in `folders` and answer at most `longest_answer` bytes.
    pub fn new(folders: Vec<PathBuf>, mounter: Mounter, longest_answer: usize, limits: Limits) -> Self {
        let (built_in, others) = (BTreeMap::new(), Mutex::default());
        Self { built_in, folders, mounter, longest_answer, limits, others }
    }

    /// With one that is built in. It goes before a socket of its name.
    #[must_use]
    pub fn with(mut self, name: &str, provider: Arc<dyn Provider>) -> Self {
        self.built_in.insert(name.to_owned(), provider);
        self
    }

    /// The names of those that have a socket now.
    fn sockets(&self) -> BTreeSet<String> {
        let entries = self.folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).filter(|name| is_name(name)).collect()
    }
}

impl Providers for Registry {
    fn provider(&self, name: &str) -> Result<Arc<dyn Provider>, String> {
        if let Some(built_in) = self.built_in.get(name) {
            return Ok(Arc::clone(built_in));
        }
        let sockets = self.sockets();
        if !sockets.contains(name) {
            let known: Vec<&str> = self.built_in.keys().chain(&sockets).map(String::as_str).collect();
            return Err(if known.is_empty() { "none".to_owned() } else { known.join(", ") });
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        // One connection for each, which is made anew when it breaks.
        others.retain(|name, _| sockets.contains(name));
        let other = others
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Remote::new(name, self.mounter.clone(), self.longest_answer, self.limits)));
        Ok(Arc::<Remote>::clone(other))
    }

    fn gone(&self, place: &str) {
        for provider in self.built_in.values() {
            provider.gone(place);
        }
    }
}

/// Whether the protocol allows the name.
fn is_name(name: &str) -> bool {
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_right)
}
