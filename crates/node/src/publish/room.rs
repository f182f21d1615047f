//! How much all volumes of the node may have together.
//!
//! What is in them counts against the service's own memory limit, until their pods end: without a bound one team's pods could have the
//! service ended for everybody. So what comes is refused first, and one namespace gets no more than half of all.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::fstatfs;

use crate::metrics::Metrics;
use crate::volume::Content;

/// What the kernel takes for a file beside its contents, which come in pages: its inode, its name.
const FILE: u64 = 1024;
const PAGE: u64 = 4096;

/// What there is no room for.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no room for {wanted} bytes: {whose} {used} of the {most} that they may have on this node (--max-volumes-memory)"
)]
pub struct Full {
    wanted: u64,
    whose: String,
    used: u64,
    most: u64,
}

/// Who has how much.
pub(super) struct Room {
    most: u64,
    metrics: Metrics,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    /// Namespace and bytes, by the volumes' places.
    places: HashMap<String, (String, u64)>,
    namespaces: HashMap<String, u64>,
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(most: u64, metrics: Metrics) -> Self {
        Self { most, metrics, taken: Mutex::default() }
    }

    /// Takes room for what is to be written to a volume, beside what is in it.
    ///
    /// # Errors
    /// [`Full`]; nothing is taken.
    pub(super) fn take(&self, place: &str, namespace: &str, content: &Content) -> Result<(), Full> {
        let wanted = size(content);
        let mut taken = self.lock();
        let of_namespace = taken.namespaces.get(namespace).copied().unwrap_or_default();
        let full = |whose: String, used, most| Err(Full { wanted, whose, used, most });
        if of_namespace.saturating_add(wanted) > self.most / 2 {
            return full(format!("the volumes of namespace {namespace} have"), of_namespace, self.most / 2);
        }
        if taken.all.saturating_add(wanted) > self.most {
            return full("all volumes together have".to_owned(), taken.all, self.most);
        }
        let has = taken.places.get(place).map_or(0, |(_, bytes)| *bytes);
        taken.set(place, namespace, has + wanted);
        self.metrics.set_bytes(taken.all);
        Ok(())
    }

    /// So much is in a volume, whatever was taken for it before.
    pub(super) fn set(&self, place: &str, namespace: &str, bytes: u64) {
        let mut taken = self.lock();
        taken.set(place, namespace, bytes);
        self.metrics.set_bytes(taken.all);
    }

    /// Whether it is known how much is in a volume.
    pub(super) fn knows(&self, place: &str) -> bool {
        self.lock().places.contains_key(place)
    }

    /// A volume is gone.
    pub(super) fn give(&self, place: &str) {
        let mut taken = self.lock();
        taken.remove(place);
        self.metrics.set_bytes(taken.all);
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn set(&mut self, place: &str, namespace: &str, bytes: u64) {
        self.remove(place);
        self.all += bytes;
        *self.namespaces.entry(namespace.to_owned()).or_default() += bytes;
        self.places.insert(place.to_owned(), (namespace.to_owned(), bytes));
    }

    fn remove(&mut self, place: &str) {
        let Some((namespace, bytes)) = self.places.remove(place) else { return };
        self.all -= bytes;
        if let Some(of_namespace) = self.namespaces.get_mut(&namespace) {
            *of_namespace -= bytes;
            if *of_namespace == 0 {
                self.namespaces.remove(&namespace);
            }
        }
    }
}

/// How much memory a volume takes that is mounted, in bytes. Where the kernel does not say, nothing is known to be there.
pub(super) fn used(root: &OwnedFd) -> u64 {
    let Ok(found) = fstatfs(root) else { return 0 };
    let size = u64::try_from(found.f_bsize).unwrap_or(PAGE);
    let (blocks, files) = (found.f_blocks.saturating_sub(found.f_bfree), found.f_files.saturating_sub(found.f_ffree));
    blocks.saturating_mul(size).saturating_add(files.saturating_mul(FILE))
}

/// How much memory files take, in bytes.
fn size(content: &Content) -> u64 {
    content.files().map(|(_, file)| (file.contents.len() as u64).next_multiple_of(PAGE) + FILE).sum()
}

#[cfg(test)]
mod tests {
    use bulla_core::SecretBytes;

    use super::*;
    use crate::volume::{File, Limits};

    fn content(bytes: usize) -> Content {
        let mut content = Content::default();
        let file = File { mode: 0o644, contents: SecretBytes::from(vec![0; bytes]) };
        content.add("a", file, &Limits::default()).unwrap();
        content
    }

    #[test]
    fn a_namespace_has_half_and_all_have_no_more_than_there_is() {
        let (each, room) = (PAGE + FILE, Room::new(4 * (PAGE + FILE), Metrics::default()));
        room.take("1", "a", &content(1)).unwrap();
        room.take("2", "a", &content(4096)).unwrap();
        let full = room.take("3", "a", &content(1)).unwrap_err().to_string();
        assert!(full.contains("namespace a have 10240 of the 10240"), "{full}");
        room.take("3", "b", &content(1)).unwrap();
        room.set("4", "c", each);
        let full = room.take("5", "c", &content(1)).unwrap_err().to_string();
        assert!(full.contains("all volumes together have 20480 of the 20480"), "{full}");

        // A version beside the one before takes room of its own, until it is alone.
        room.give("4");
        room.take("3", "b", &content(1)).unwrap();
        assert_eq!(room.lock().places["3"].1, 2 * each);
        assert!(room.take("6", "c", &content(1)).is_err());
        room.set("3", "b", each);
        room.take("6", "c", &content(1)).unwrap();
        for place in ["1", "2", "3", "6", "6", "nowhere"] {
            room.give(place);
        }
        let taken = room.lock();
        assert!(taken.all == 0 && taken.places.is_empty() && taken.namespaces.is_empty(), "{taken:?}");
    }
}
