//! What is remembered of a volume, in the volume itself.
//!
//! A file `..bulla` in its root, for the node service's user alone. It goes when the mount goes, it is there after the service was
//! started again, and nothing of it is worth more than the files beside it. With it unchanged contents are known without reading files
//! that belong to the pod's user alone, and providers are told the versions that are mounted, also by a service that has just started.

use bulla_core::SecretBytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::content::Content;

/// Its name.
pub(super) const NAME: &str = "..bulla";
/// The largest that is read, in bytes.
pub(super) const LARGEST: usize = 4 << 20;

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// The folder that `..data` has to lead to.
    pub folder: String,
    /// SHA-256 over all files: paths, modes, contents.
    pub digest: String,
    /// Who the files were given to.
    pub owner: (Option<u32>, Option<u32>),
    /// The versions that the provider named.
    pub versions: Vec<ObjectVersion>,
    /// The version of the class by which it was fetched.
    pub class: String,
    /// When it was fetched, or found to be as it was.
    pub fetched: Option<Timestamp>,
    /// What the provider wanted remembered.
    pub remembered: String,
    /// When the provider wants to be asked again.
    pub again: Option<Timestamp>,
    /// A new version was being shown when its process ended: all has to be fetched and written once more.
    pub is_unfinished: bool,
}

impl Record {
    /// Of files that an earlier driver wrote, which remembered nothing: a pod may run with them, and all has to be fetched once.
    pub(super) fn of_another() -> Self {
        Self { class: "unknown".to_owned(), is_unfinished: true, ..Self::default() }
    }

    /// Whether the volume was filled, and not only mounted.
    pub fn is_filled(&self) -> bool {
        !self.class.is_empty()
    }
}

/// An object of a provider, and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectVersion {
    /// Which object; unique in its class.
    pub id: String,
    /// Which version of it.
    pub version: String,
}

/// A digest of all files. Everything is preceded by its length, so that no two contents are written the same.
pub(super) fn digest(content: &Content) -> String {
    let mut hash = Sha256::new();
    for (path, file) in content.files() {
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(path.as_bytes());
        add(&file.mode.to_le_bytes());
        add(file.contents.expose());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The record in these bytes; none if they are no record, as after a crash in the middle of writing it.
pub(super) fn parse(bytes: &SecretBytes) -> Option<Record> {
    serde_json::from_slice(bytes.expose()).ok()
}
