//! All providers of this node by name: what is built in, and whoever has a socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once, PoisonError};

use super::{Provider, Remote};
use crate::mounter::Mounter;
use crate::publish::Providers;
use crate::volume::Limits;

/// What the name of a socket ends with.
const SUFFIX: &str = ".sock";
/// The longest name of a provider: the protocol's.
const LONGEST: usize = 30;
/// How many connections are kept.
const MOST: usize = 64;

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

    /// Those that are built in.
    pub fn built_in(&self) -> Vec<Arc<dyn Provider>> {
        self.built_in.values().cloned().collect()
    }

    /// One that is known, and has its socket still: what most questions are about, without a look through the folders.
    fn known(&self, name: &str) -> Option<Arc<Remote>> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let known = Arc::clone(others.get(name)?);
        drop(others);
        let socket = format!("{name}{SUFFIX}");
        self.folders.iter().any(|folder| folder.join(&socket).symlink_metadata().is_ok()).then_some(known)
    }

    /// The names of those that have a socket now; and why a folder cannot be looked through, if that is so.
    fn sockets(&self) -> (BTreeSet<String>, Option<String>) {
        let (mut names, mut hidden) = (BTreeSet::new(), None);
        for folder in &self.folders {
            match std::fs::read_dir(folder) {
                Ok(entries) => {
                    let found = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
                    let found = found.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned));
                    names.extend(found.filter(|name| is_name(name)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    hidden.get_or_insert_with(|| format!("{} cannot be listed: {error}", folder.display()));
                }
            }
        }
        (names, hidden)
    }
}

impl Providers for Registry {
    fn provider(&self, name: &str) -> Result<Arc<dyn Provider>, String> {
        static SAID: Once = Once::new();
        if let Some(built_in) = self.built_in.get(name) {
            return Ok(Arc::clone(built_in));
        }
        if let Some(known) = self.known(name) {
            return Ok(known);
        }
        let (sockets, hidden) = self.sockets();
        // Where this half sees no names, the other one can still find the socket, or says that there is none.
        let may_be_there = sockets.contains(name) || (hidden.is_some() && is_name(name));
        if !may_be_there {
            let known: Vec<&str> = self.built_in.keys().chain(&sockets).map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(hidden.map_or(known.clone(), |hidden| format!("{known}; {hidden}")));
        }
        if let Some(hidden) = &hidden {
            SAID.call_once(|| {
                tracing::warn!(hidden, "providers are found by name alone: let this user list their folder");
            });
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        // One connection for each, which is made anew when it breaks.
        others.retain(|name, _| sockets.contains(name) || hidden.is_some());
        if others.len() >= MOST {
            // Names of classes, where it is not seen which there are.
            others.clear();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_cannot_be_listed_hides_no_provider() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        std::fs::File::create(&file).unwrap();
        let socket: std::os::fd::OwnedFd = std::os::unix::net::UnixStream::pair().unwrap().0.into();
        let registry = |folders: &[&std::path::Path]| {
            let folders = folders.iter().map(|folder| folder.to_path_buf()).collect();
            Registry::new(folders, Mounter::new(socket.try_clone().unwrap()).unwrap(), 1024, Limits::default())
        };
        let none = folder.path().join("none");
        let refused = |registry: &Registry, name: &str| registry.provider(name).err().unwrap();
        assert_eq!(refused(&registry(&[folder.path(), &none]), "vault"), "none");
        std::fs::File::create(folder.path().join("vault.sock")).unwrap();
        let known = registry(&[folder.path(), &none]);
        assert!(known.provider("vault").is_ok());
        assert_eq!(refused(&known, "aws"), "vault");
        // One that was known goes with its socket, and comes with it.
        let moved = folder.path().join("moved");
        std::fs::rename(folder.path().join("vault.sock"), &moved).unwrap();
        assert_eq!(refused(&known, "vault"), "none");
        std::fs::rename(&moved, folder.path().join("vault.sock")).unwrap();
        assert!(known.provider("vault").is_ok());
        // No folder at all, which is another thing than none with that name.
        let hidden = registry(&[folder.path(), &file]);
        assert!(hidden.provider("aws").is_ok());
        assert!(refused(&hidden, "no/name").starts_with("vault; "), "{}", refused(&hidden, "no/name"));
    }
}
