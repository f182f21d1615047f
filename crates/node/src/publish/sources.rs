//! What is mounted, by where it comes from: for providers that hear of changes there, and for pods that ask for what is new.

use tokio::sync::watch;

use super::{Publisher, When};
use crate::volume::ObjectVersion;

/// Where the contents of a volume came from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    provider: String,
    versions: Vec<ObjectVersion>,
}

/// A volume that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub target: String,
    /// The namespace of its pod.
    pub namespace: String,
    /// What is in it.
    pub versions: Vec<ObjectVersion>,
}

impl Publisher {
    /// The volumes that a provider filled, as far as the kubelet has asked for them since this process began.
    pub fn mounted_from(&self, provider: &str) -> Vec<Mounted> {
        let mounted = |target: &String, source: &Source, class: &Option<(String, String)>| Mounted {
            target: target.clone(),
            namespace: class.as_ref().map(|(namespace, _)| namespace.clone()).unwrap_or_default(),
            versions: source.versions.clone(),
        };
        let volumes = self.lock();
        let sources = volumes.iter().filter_map(|(target, place)| Some((target, place.source.as_ref()?, &place.class)));
        let of_provider = sources.filter(|(_, source, _)| source.provider == provider);
        of_provider.map(|(target, source, class)| mounted(target, source, class)).collect()
    }

    /// The volumes of a pod.
    pub fn mounted_for(&self, uid: &str) -> Vec<String> {
        let is_for = |target: &&String| target.split_once('/').is_some_and(|(pod, _)| pod == uid);
        self.lock().keys().filter(is_for).cloned().collect()
    }

    /// Told when another volume is mounted, or another version.
    pub fn sources(&self) -> watch::Receiver<()> {
        self.sources.subscribe()
    }

    /// Has a volume fetched anew that is mounted, due or not; with the tokens that the kubelet gave last.
    pub async fn renew(&self, target: &str) {
        self.look(target, When::Now).await;
    }

    /// Remembers what is in a volume.
    pub(super) fn note(&self, target: &str, provider: &str, versions: &[ObjectVersion]) {
        let new = Source { provider: provider.to_owned(), versions: versions.to_vec() };
        let mut volumes = self.lock();
        let Some(place) = volumes.get_mut(target).filter(|place| place.source.as_ref() != Some(&new)) else { return };
        place.source = Some(new);
        drop(volumes);
        self.sources.send_replace(());
    }
}
