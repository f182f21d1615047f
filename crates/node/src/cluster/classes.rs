//! The classes in use on this node, each watched from its first use on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_kube::Selectors;
use bulla_kube::api::SecretProviderClass;
use bulla_kube::api::secret_provider_class::{INTERVAL, REFRESH, SecretObject};
use bulla_kube::gate::Gate;
use bulla_kube::watch::{Seen, objects};
use futures_util::StreamExt;
use futures_util::stream::{self, FuturesUnordered};
use jiff::SignedDuration;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::class::{Class, ClassError, Classes, Versioned};
use crate::publish::Publisher;

/// How long a pod waits for a class that is not known yet.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a class is watched that no volume of the node uses.
const IDLE: Duration = Duration::from_mins(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_mins(1);
/// How many volumes are brought up to date at once when their class changed.
const AT_ONCE: usize = 8;
/// Of how many classes.
const CLASSES_AT_ONCE: usize = 32;
/// The most that a class may have, in bytes: it is kept as long as a pod of the node names it.
const LARGEST: usize = 256 << 10;
/// The shortest interval that a class may ask for.
const SHORTEST: SignedDuration = SignedDuration::from_secs(1);

/// A namespace and a name in it.
type Name = (String, String);
/// What is known of a class; `None` until the server said something.
type State = Option<Result<Arc<Versioned>, ClassError>>;

/// Classes, watched.
pub struct WatchedClasses {
    client: Client,
    gate: Arc<Gate>,
    known: Mutex<HashMap<Name, Entry>>,
    changed: mpsc::UnboundedSender<Name>,
}

struct Entry {
    state: watch::Receiver<State>,
    task: AbortHandle,
    used: Instant,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WatchedClasses {
    /// Classes as this client sees them, and where it is told which have changed: what [`follow`](Self::follow) wants.
    pub fn new(client: Client, gate: Arc<Gate>) -> (Self, mpsc::UnboundedReceiver<(String, String)>) {
        let (changed, receiver) = mpsc::unbounded_channel();
        (Self { client, gate, known: Mutex::default(), changed }, receiver)
    }

    /// Brings volumes up to date when their class has changed, and lets go what nobody uses; until dropped.
    pub async fn follow(&self, mut changed: mpsc::UnboundedReceiver<(String, String)>, publisher: &Publisher) {
        let mut look = tokio::time::interval(LOOK);
        // One class whose far side is slow holds up no other.
        let mut refreshing = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((namespace, name)) = changed.recv(), if refreshing.len() < CLASSES_AT_ONCE => {
                    let volumes = publisher.mounted_by(&namespace, &name);
                    if !volumes.is_empty() {
                        tracing::info!(namespace, class = name, volumes = volumes.len(), "a class has changed");
                        refreshing.push(refresh(publisher, volumes));
                    }
                }
                Some(()) = refreshing.next() => {}
                _ = look.tick() => self.let_go(&publisher.classes()),
            }
        }
    }

    fn let_go(&self, used: &HashSet<Name>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|name, entry| used.contains(name) || entry.used.elapsed() < IDLE);
    }

    /// What is known of a class, from now on.
    fn watched(&self, name: &Name) -> watch::Receiver<State> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.get_mut(name) {
            entry.used = Instant::now();
            return entry.state.clone();
        }
        let (sender, state) = watch::channel(None);
        let (client, gate, changed, name) =
            (self.client.clone(), self.gate.clone(), self.changed.clone(), name.clone());
        let of = name.clone();
        let task = tokio::spawn(async move {
            let (namespace, class) = &of;
            let selectors = Selectors { labels: None, fields: Some(format!("metadata.name={class}")) };
            let mut listed = None;
            objects::<SecretProviderClass>(client, Some(namespace.clone()), selectors, &gate, |event| {
                let new = match event {
                    Seen::Begin => {
                        listed = Some(Err(ClassError::Missing(format!("{namespace}/{class}"))));
                        return;
                    }
                    Seen::Object(object) => read(&object).map(|class| Arc::new(class.into())),
                    Seen::Unreadable(_, error) => Err(ClassError::Malformed(format!("{namespace}/{class}"), error)),
                    Seen::Gone(_) => Err(ClassError::Missing(format!("{namespace}/{class}"))),
                    Seen::Complete => match listed.take() {
                        Some(new) => new,
                        None => return,
                    },
                };
                if let Some(listed) = &mut listed {
                    *listed = new;
                    return;
                }
                let before = sender.borrow().clone();
                let is_other = before.as_ref() != Some(&new);
                sender.send_replace(Some(new));
                // What is known for the first time is what whoever asked waits for.
                if is_other && before.is_some() {
                    // An error is the process' end.
                    let _ = changed.send(of.clone());
                }
            })
            .await;
        });
        known.insert(name, Entry { state: state.clone(), task: task.abort_handle(), used: Instant::now() });
        state
    }
}

#[async_trait]
impl Classes for WatchedClasses {
    async fn class(&self, namespace: &str, name: &str) -> Result<Arc<Versioned>, ClassError> {
        let mut state = self.watched(&(namespace.to_owned(), name.to_owned()));
        let known = tokio::time::timeout(PATIENCE, state.wait_for(Option::is_some)).await;
        let unreadable = || {
            let why = format!("the API server did not say it in {} s", PATIENCE.as_secs());
            ClassError::Unreadable(format!("{namespace}/{name}"), why)
        };
        match known {
            Ok(Ok(state)) => state.clone().unwrap_or_else(|| Err(unreadable())),
            _ => Err(unreadable()),
        }
    }
}

async fn refresh(publisher: &Publisher, volumes: Vec<String>) {
    let refresh = |target: String| async move { publisher.refresh(&target).await };
    stream::iter(volumes).for_each_concurrent(AT_ONCE, refresh).await;
}

/// How much a class has to be remembered, about.
fn size(object: &SecretProviderClass) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let all = |map: &BTreeMap<String, String>| map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let secret = |secret: &SecretObject| {
        let data = secret.data.iter().map(|entry| text(&entry.object_name) + text(&entry.key) + 48);
        text(&secret.secret_name)
            + text(&secret.type_)
            + all(&secret.labels)
            + all(&secret.annotations)
            + data.sum::<usize>()
    };
    all(&object.spec.parameters) + object.spec.secret_objects.iter().map(secret).sum::<usize>()
}

/// A class as mounting needs it.
fn read(object: &SecretProviderClass) -> Result<Class, ClassError> {
    let metadata = &object.metadata;
    let name = || {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", text(&metadata.namespace), text(&metadata.name))
    };
    let none = BTreeMap::new();
    let annotations = metadata.annotations.as_ref().unwrap_or(&none);
    let interval = annotations.get(INTERVAL).map(|text| {
        let wrong = || ClassError::Malformed(name(), format!("{INTERVAL} must be a time like 90s, 15m or 1h"));
        let interval = text.parse::<SignedDuration>().map_err(|_| wrong())?;
        Duration::try_from(interval).ok().filter(|_| interval >= SHORTEST).ok_or_else(wrong)
    });
    if size(object) > LARGEST {
        return Err(ClassError::Malformed(name(), format!("it has more than {} KiB", LARGEST >> 10)));
    }
    if object.spec.provider.is_empty() {
        return Err(ClassError::Malformed(name(), "spec.provider names no provider".to_owned()));
    }
    Ok(Class {
        provider: object.spec.provider.clone(),
        parameters: object.spec.parameters.clone(),
        interval: interval.transpose()?,
        refresh: annotations.get(REFRESH).cloned().unwrap_or_default(),
        secrets: object.spec.secret_objects.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(annotations: &Value, spec: &Value) -> Result<Class, ClassError> {
        let object = json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"namespace": "shop", "name": "db", "annotations": annotations},
            "spec": spec,
        });
        read(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn what_mounting_needs_is_read() {
        let annotations = json!({INTERVAL: "1m 30s", REFRESH: "now"});
        let read = class(&annotations, &json!({"provider": "vault", "parameters": {"objects": "- a"}})).unwrap();
        assert_eq!((read.interval, read.refresh.as_str()), (Some(Duration::from_secs(90)), "now"));
        assert_eq!((read.provider.as_str(), read.parameters["objects"].as_str()), ("vault", "- a"));
        assert_eq!(class(&json!(null), &json!({"provider": "a", "parameters": null})).unwrap().interval, None);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name() {
        for interval in ["soon", "-5s", "0s", "10ms", ""] {
            let error = class(&json!({INTERVAL: interval}), &json!({"provider": "a"})).unwrap_err().to_string();
            assert!(error.contains("shop/db") && error.contains(INTERVAL), "{error}");
        }
        let error = class(&json!(null), &json!({})).unwrap_err().to_string();
        assert!(error.contains("names no provider"), "{error}");
    }
}
