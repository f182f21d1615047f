//! What has changed of the objects for volumes: told to the nodes that have them mounted.
//!
//! Of each such object its version is kept, as the controller's watch sees it, and of ConfigMaps [another one](super::maps); on every replica, because any may be asked. What is told is that
//! an object of this name is another one, never what is in it: whether a pod may still have it is decided when its node asks for the values.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulla_kube::ObjectKey;
use bulla_kube::api::SealedSecret;
use bulla_store::sealed::protocol::{Kind, Watched};
use kube::ResourceExt;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{DELIVER, VOLUME, version};

/// How many changes may be missed before a question is looked through as a whole.
const MISSED: usize = 1024;
/// What comes within this time is answered together.
const TOGETHER: Duration = Duration::from_millis(100);

/// Which object.
type Key = (Kind, ObjectKey);

/// The versions of all objects for volumes.
pub struct Changes {
    versions: Mutex<HashMap<Key, Box<str>>>,
    /// Which object is another one; nothing if it may be any.
    changed: broadcast::Sender<Option<Key>>,
    /// Whether all ConfigMaps have been seen.
    knows_maps: AtomicBool,
}

impl Default for Changes {
    fn default() -> Self {
        Self { versions: Mutex::default(), changed: broadcast::Sender::new(MISSED), knows_maps: AtomicBool::default() }
    }
}

impl Changes {
    /// An object is there, in this state.
    pub fn see(&self, sealed: &SealedSecret) {
        let is_for_volumes = sealed.annotations().get(DELIVER).is_some_and(|delivery| delivery == VOLUME)
            && sealed.metadata.deletion_timestamp.is_none();
        let key = ObjectKey::of(&sealed.metadata);
        if is_for_volumes {
            self.has((Kind::SealedSecret, key), &version(sealed));
        } else {
            self.gone(&key);
        }
    }

    /// An object is gone.
    pub fn gone(&self, key: &ObjectKey) {
        self.lost(&(Kind::SealedSecret, key.clone()));
    }

    /// An object has this version.
    pub(super) fn has(&self, key: Key, version: &str) {
        let before = self.lock().insert(key.clone(), version.into());
        if before.as_deref() != Some(version) {
            // Nobody waits: that is well, too.
            let _ = self.changed.send(Some(key));
        }
    }

    /// There is no such object any more.
    pub(super) fn lost(&self, key: &Key) {
        if self.lock().remove(key).is_some() {
            let _ = self.changed.send(Some(key.clone()));
        }
    }

    /// Of a namespace, or of all, these ConfigMaps are all that there are.
    pub(super) fn has_no_other_maps(&self, namespace: Option<&str>, maps: &HashSet<ObjectKey>) {
        let is_none = |(kind, key): &Key| {
            *kind == Kind::ConfigMap
                && namespace.is_none_or(|namespace| key.namespace() == namespace)
                && !maps.contains(key)
        };
        let lost: Vec<Key> = self.lock().keys().filter(|key| is_none(key)).cloned().collect();
        for key in &lost {
            self.lost(key);
        }
    }

    /// All ConfigMaps have been seen: from now on it can be told that one is not there.
    pub(super) fn know_maps(&self) {
        if !self.knows_maps.swap(true, Ordering::AcqRel) {
            let _ = self.changed.send(None);
        }
    }

    /// Those of these that are another than is said. Waits until there is one, for `held` at most.
    pub(super) async fn wait(&self, watched: &[Watched], held: Duration) -> Vec<Watched> {
        let until = Instant::now() + held;
        // From here on nothing is missed.
        let mut changed = self.changed.subscribe();
        let keys: HashSet<Key> = watched.iter().map(key).collect();
        loop {
            let others = self.others(watched);
            if !others.is_empty() {
                return others;
            }
            let concerns_it = async {
                loop {
                    match changed.recv().await {
                        Ok(Some(key)) if !keys.contains(&key) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        // The sender is here.
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            if tokio::time::timeout_at(until, concerns_it).await.is_err() {
                return Vec::new();
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    fn others(&self, watched: &[Watched]) -> Vec<Watched> {
        let knows_maps = self.knows_maps.load(Ordering::Acquire);
        let is_known = |watched: &&Watched| knows_maps || watched.kind != Kind::ConfigMap;
        let versions = self.lock();
        let other = |watched: &Watched| {
            let version = versions.get(&key(watched)).map_or("", |version| version);
            (watched.version.as_deref() != Some(version))
                .then(|| Watched { version: Some(version.to_owned()), ..watched.clone() })
        };
        watched.iter().filter(is_known).filter_map(other).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Box<str>>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(watched: &Watched) -> Key {
    (watched.kind, ObjectKey::new(&watched.namespace, &watched.name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn object(name: &str, delivery: &str, value: &str) -> SealedSecret {
        serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"namespace": "n", "name": name, "annotations": {DELIVER: delivery}},
            "spec": {"encryptedData": {"x": value}},
        }))
        .unwrap()
    }

    fn watched(name: &str, version: Option<&str>) -> Watched {
        Watched {
            kind: Kind::SealedSecret,
            namespace: "n".to_owned(),
            name: name.to_owned(),
            version: version.map(str::to_owned),
        }
    }

    const NOT_LONG: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn what_is_not_as_it_was_said_is_told_at_once() {
        let changes = Changes::default();
        for seen in [object("a", VOLUME, "1"), object("b", "secret", "1")] {
            changes.see(&seen);
        }
        let told = changes.wait(&[watched("a", None), watched("b", None), watched("c", Some(""))], NOT_LONG).await;
        let version = version(&object("a", VOLUME, "1"));
        assert_eq!(told, [watched("a", Some(&version)), watched("b", Some(""))]);
        let begun = Instant::now();
        assert_eq!(changes.wait(&[watched("a", Some(&version)), watched("b", Some(""))], NOT_LONG).await, []);
        assert_eq!(begun.elapsed(), NOT_LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_a_change_of_its_own_objects_alone() {
        let changes = Arc::new(Changes::default());
        changes.see(&object("a", VOLUME, "1"));
        let known = watched("a", Some(&version(&object("a", VOLUME, "1"))));
        let waiting = {
            let (changes, known) = (Arc::clone(&changes), known.clone());
            tokio::spawn(async move { changes.wait(&[known], Duration::from_mins(1)).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        // A status is written, another object comes: more of them than are remembered.
        changes.see(&object("a", VOLUME, "1"));
        for n in 0..2 * MISSED {
            changes.see(&object(&format!("b{n}"), VOLUME, "1"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        changes.see(&object("a", VOLUME, "2"));
        let version = version(&object("a", VOLUME, "2"));
        assert_eq!(waiting.await.unwrap(), [watched("a", Some(&version))]);
        changes.gone(&ObjectKey::new("n", "a"));
        assert_eq!(changes.wait(&[known], NOT_LONG).await, [watched("a", Some(""))]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_config_maps_nothing_is_told_before_all_have_been_seen() {
        let changes = Arc::new(Changes::default());
        let map = |name: &str, version: Option<&str>| Watched { kind: Kind::ConfigMap, ..watched(name, version) };
        let key = |name: &str| ObjectKey::new("n", name);
        changes.has((Kind::ConfigMap, key("a")), "2");
        changes.see(&object("a", VOLUME, "1"));
        assert_eq!(changes.wait(&[map("a", Some("1")), map("b", Some("1"))], NOT_LONG).await, []);
        let waiting = {
            let changes = Arc::clone(&changes);
            let asked = [map("a", Some("1")), map("b", Some("1"))];
            tokio::spawn(async move { changes.wait(&asked, Duration::from_mins(1)).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        changes.know_maps();
        assert_eq!(waiting.await.unwrap(), [map("a", Some("2")), map("b", Some(""))]);
        // A list that began anew has all that there are, of its namespace.
        changes.has((Kind::ConfigMap, key("b")), "1");
        changes.has_no_other_maps(Some("other"), &HashSet::new());
        changes.has_no_other_maps(Some("n"), &HashSet::from([key("b")]));
        let told = changes.wait(&[map("a", Some("2")), map("b", Some("1"))], NOT_LONG).await;
        assert_eq!(told, [map("a", Some(""))]);
        let sealed = watched("a", Some(&version(&object("a", VOLUME, "1"))));
        assert_eq!(changes.wait(&[sealed], NOT_LONG).await, [], "a SealedSecret of the same name is another object");
    }
}
