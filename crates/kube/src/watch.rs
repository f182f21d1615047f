//! Watches that go on whatever happens to them.
//!
//! - **Only what is needed**: one namespace or all, label and field selectors; of Secrets the metadata alone.
//! - **Lists that stream** (Kubernetes 1.32 and later), where the server can; else pages. Either way no list is held in memory whole.
//! - **Deadlines**: the server ends each watch after two minutes, and one that says nothing for longer, not even a bookmark, is
//!   dead and made anew from where it was. A first list that makes no progress is begun again.
//! - **Objects that cannot be read** (a field of the wrong type under somebody's older definition) are told of, and stop nothing.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta, Resource};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use super::backoff::Backoff;
use super::client::{describe, is_unreachable};
use super::gate::Gate;

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// Labels that objects must have, in the API's own syntax.
    pub labels: Option<String>,
    /// Fields that objects must have, in the API's own syntax.
    pub fields: Option<String>,
}

/// Which namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All that there are and will be.
    #[default]
    All,
    /// These.
    Named(Vec<String>),
}

impl Namespaces {
    /// What to watch: `None` is all namespaces at once.
    pub fn scopes(&self) -> Vec<Option<String>> {
        match self {
            Self::All => vec![None],
            Self::Named(names) => names.iter().cloned().map(Some).collect(),
        }
    }

    /// Whether objects of this namespace are among them.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub enum Seen<T> {
    /// A list begins: everything is told anew.
    Begin,
    /// An object is there, in this state.
    Object(T),
    /// An object is gone.
    Gone(ObjectMeta),
    /// An object is there, and cannot be read.
    Unreadable(ObjectMeta, String),
    /// The list is complete: what it did not tell of is gone.
    Complete,
}

/// How long the server lets a watch go on.
const WATCH_SECONDS: u32 = 120;

/// How long a first list may go without an object.
const LIST_SILENCE: Duration = Duration::from_mins(2);

/// How many objects a page has where lists do not stream.
const PAGE: u32 = 250;

/// Watches whole objects and tells of them, for ever.
pub async fn objects<K>(
    client: Client,
    scope: Option<String>,
    selectors: Selectors,
    gate: &Gate,
    mut tell: impl FnMut(Seen<K>),
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<DeserializeGuard<K>> = api(client, scope.as_deref());
    let stream = |config| watcher::watcher(api.clone(), config).boxed();
    let what = K::plural(&()).into_owned();
    follow(&what, &selectors, gate, stream, |event| {
        tell(match event {
            Event::Init => Seen::Begin,
            Event::InitDone => Seen::Complete,
            Event::Delete(object) => Seen::Gone(object.meta().clone()),
            Event::Apply(object) | Event::InitApply(object) => match object.0 {
                Ok(object) => Seen::Object(object),
                Err(invalid) => Seen::Unreadable(invalid.metadata, invalid.error),
            },
        });
    })
    .await;
}

/// Watches the metadata of objects and tells of it, for ever. The objects themselves never leave the server.
pub async fn metadata<K>(
    client: Client,
    scope: Option<String>,
    selectors: Selectors,
    gate: &Gate,
    mut tell: impl FnMut(Seen<ObjectMeta>),
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<PartialObjectMeta<K>> = api(client, scope.as_deref());
    let stream = |config| watcher::watcher(api.clone(), config).boxed();
    let what = K::plural(&()).into_owned();
    follow(&what, &selectors, gate, stream, |event: Event<PartialObjectMeta<K>>| {
        tell(match event {
            Event::Init => Seen::Begin,
            Event::InitDone => Seen::Complete,
            Event::Delete(object) => Seen::Gone(object.metadata),
            Event::Apply(object) | Event::InitApply(object) => Seen::Object(object.metadata),
        });
    })
    .await;
}

fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(client: Client, scope: Option<&str>) -> Api<K> {
    match scope {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    }
}

/// Follows the streams that `open` makes, for ever.
async fn follow<T>(
    what: &str,
    selectors: &Selectors,
    gate: &Gate,
    open: impl Fn(watcher::Config) -> BoxStream<'static, Result<Event<T>, watcher::Error>>,
    mut tell: impl FnMut(Event<T>),
) {
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE).streaming_lists();
    config.label_selector.clone_from(&selectors.labels);
    config.field_selector.clone_from(&selectors.fields);
    let mut stream = open(config.clone());
    let (mut failures, mut listing) = (0, true);
    loop {
        let event = if listing {
            let Ok(event) = tokio::time::timeout(LIST_SILENCE, stream.next()).await else {
                tracing::warn!(what, "the first list of a watch makes no progress; it is begun again, in pages");
                config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                stream = open(config.clone());
                continue;
            };
            event
        } else {
            stream.next().await
        };
        match event {
            Some(Ok(event)) => {
                // That a list begins may be said before the server was asked.
                if !matches!(event, Event::Init) {
                    failures = 0;
                    gate.reached();
                }
                listing = match &event {
                    Event::Init | Event::InitApply(_) => true,
                    Event::InitDone | Event::Apply(_) | Event::Delete(_) => false,
                };
                tell(event);
            }
            Some(Err(error)) => {
                if cannot_stream(&error) {
                    tracing::debug!(what, "this API server does not stream lists; pages it is");
                    config.initial_list_strategy = watcher::InitialListStrategy::ListWatch;
                    stream = open(config.clone());
                    continue;
                }
                failures += 1;
                let (text, unreachable) = reason(&error);
                if unreachable {
                    gate.unreachable(&text);
                }
                let delay = Backoff::CONNECTION.after(failures);
                tracing::warn!(what, error = text, ?delay, "a watch failed; it goes on after a pause");
                // Of an outage each waits its own time, and whoever has the first answer tells the others.
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = gate.opened(), if unreachable => {}
                }
            }
            // The stream has no end of its own.
            None => stream = open(config.clone()),
        }
    }
}

/// Whether the server refused to stream a list (before 1.32, or switched off), and would give pages.
fn cannot_stream(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status))
        if matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents"))
}

/// What went wrong in words, and whether the server is out of reach.
fn reason(error: &watcher::Error) -> (String, bool) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => (describe(error), is_unreachable(error)),
        watcher::Error::WatchError(status) => (status.message.clone(), false),
        watcher::Error::NoResourceVersion => ("an object without a resourceVersion".to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_begins_is_no_answer_yet() {
        let gate = Gate::default();
        // As the watcher goes about a list in pages while the server is gone.
        let gone = || watcher::Error::InitialListFailed(kube::Error::Service("connection refused".into()));
        let open =
            |_| stream::iter(0..).map(move |n| if n % 2 == 0 { Ok(Event::<()>::Init) } else { Err(gone()) }).boxed();
        let (mut begun, all) = (0, Selectors::default());
        let following = follow("things", &all, &gate, open, |_| begun += 1);
        let _ = tokio::time::timeout(Duration::from_mins(5), following).await;
        assert!(!gate.is_open());
        assert!((10..30).contains(&begun), "{begun}");
    }
}
