//! What a controller remembers: a note of each object, the version of each Secret it made, and whole objects only while they wait
//! to be worked on.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::controller::{Controller, Due, Known, SecretSeen};
use super::key::ObjectKey;
use super::waiting::{Place, Waiting};

/// What is known of all objects of a controller.
pub struct Store<C: Controller> {
    objects: HashMap<ObjectKey, Entry<C>>,
    secrets: HashMap<ObjectKey, Secret>,
    /// Which list an entry was last seen in.
    round: u32,
    waiting: Waiting,
}

struct Entry<C: Controller> {
    note: C::Note,
    memo: Option<C::Memo>,
    waiting: Option<Place>,
    round: u32,
}

struct Secret {
    seen: SecretSeen,
    owner: ObjectKey,
    round: u32,
}

impl<C: Controller> Default for Store<C> {
    fn default() -> Self {
        Self { objects: HashMap::new(), secrets: HashMap::new(), round: 0, waiting: Waiting::default() }
    }
}

impl<C: Controller> Store<C> {
    /// A list begins. Gives its number.
    pub fn begin(&mut self) -> u32 {
        self.round += 1;
        self.round
    }

    /// An object was seen.
    pub fn see(&mut self, controller: &C, mut object: C::Object, round: u32) -> ObjectKey {
        let key = ObjectKey::of(object.meta());
        let note = controller.note(&object);
        controller.slim(&mut object);
        let mut memo = None;
        if let Some(old) = self.objects.remove(&key) {
            if let Some(place) = old.waiting {
                self.waiting.leave(place);
            }
            memo = old.memo;
        }
        let waiting = self.waiting.put(&object);
        self.objects.insert(key.clone(), Entry { note, memo, waiting, round });
        key
    }

    /// An object is gone. Whether it was known.
    pub fn forget(&mut self, key: &ObjectKey) -> bool {
        let Some(old) = self.objects.remove(key) else { return false };
        if let Some(place) = old.waiting {
            self.waiting.leave(place);
        }
        true
    }

    /// A list of objects is complete: those of its namespace that it did not tell of are gone. Gives them.
    pub fn complete(&mut self, scope: Option<&str>, round: u32) -> Vec<ObjectKey> {
        let in_scope = |key: &ObjectKey| scope.is_none_or(|namespace| key.namespace() == namespace);
        let gone = self.objects.iter().filter(|(key, entry)| entry.round < round && in_scope(key));
        let gone: Vec<_> = gone.map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.forget(key);
        }
        gone
    }

    /// A Secret was seen. Gives the object it is of.
    pub fn see_secret(&mut self, controller: &C, metadata: &ObjectMeta, round: u32) -> ObjectKey {
        let owner = controller.owner_of(metadata);
        let text = |value: &Option<String>| value.as_deref().unwrap_or_default().into();
        let seen = SecretSeen { uid: text(&metadata.uid), version: text(&metadata.resource_version) };
        self.secrets.insert(ObjectKey::of(metadata), Secret { seen, owner: owner.clone(), round });
        owner
    }

    /// A Secret was written for an object of its name: known before the watch tells of it.
    pub fn wrote_secret(&mut self, key: &ObjectKey, seen: SecretSeen) {
        self.secrets.insert(key.clone(), Secret { seen, owner: key.clone(), round: self.round });
    }

    /// A Secret is gone. Gives the object it was of, unless there is another Secret of its name by now.
    pub fn forget_secret(&mut self, metadata: &ObjectMeta) -> Option<ObjectKey> {
        let key = ObjectKey::of(metadata);
        let known = self.secrets.get(&key)?;
        if *known.seen.uid != *metadata.uid.as_deref().unwrap_or_default() {
            return None;
        }
        self.secrets.remove(&key).map(|secret| secret.owner)
    }

    /// A list of Secrets is complete. Gives the objects whose Secrets are gone.
    pub fn complete_secrets(&mut self, scope: Option<&str>, round: u32) -> Vec<ObjectKey> {
        let mut owners = Vec::new();
        self.secrets.retain(|key, secret| {
            let gone = secret.round < round && scope.is_none_or(|namespace| key.namespace() == namespace);
            if gone {
                owners.push(secret.owner.clone());
            }
            !gone
        });
        owners
    }

    /// What is to be done about an object; nothing if it is not there.
    pub fn due(&self, controller: &C, key: &ObjectKey) -> Due {
        let Some(entry) = self.objects.get(key) else { return Due::Nothing };
        let secret = self.secret(key);
        controller.due(&Known { key, note: &entry.note, memo: entry.memo.as_ref(), secret })
    }

    /// The object, to work on, if it is kept; it is not kept after.
    pub fn take(&mut self, key: &ObjectKey) -> Option<Arc<C::Object>> {
        let place = self.objects.get_mut(key)?.waiting.take()?;
        self.waiting.take(place).map(Arc::new)
    }

    /// Lets go of the object, which nobody here will work on for now.
    pub fn drop_waiting(&mut self, key: &ObjectKey) {
        if let Some(place) = self.objects.get_mut(key).and_then(|entry| entry.waiting.take()) {
            self.waiting.leave(place);
        }
    }

    /// Whether the object is there.
    pub fn knows(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    /// The Secret that was made for the object: that of its name.
    pub fn secret(&self, key: &ObjectKey) -> Option<&SecretSeen> {
        self.secrets.get(key).map(|secret| &secret.seen)
    }

    /// Remembers what was done about an object, or that it is not known any more.
    pub fn remember(&mut self, key: &ObjectKey, memo: Option<C::Memo>) {
        if let Some(entry) = self.objects.get_mut(key) {
            entry.memo = memo;
        }
    }

    /// All objects.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.keys().cloned().collect()
    }

    /// How many objects and Secrets are known, and how many bytes of whole objects wait.
    pub fn size(&self) -> (usize, usize, usize) {
        (self.objects.len(), self.secrets.len(), self.waiting.bytes())
    }

    /// Gives back memory that a list needed and nothing needs now.
    pub fn shrink(&mut self) {
        self.objects.shrink_to_fit();
        self.secrets.shrink_to_fit();
    }
}
