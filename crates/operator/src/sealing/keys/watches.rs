//! The watches of key objects, and the entries that they bring.

use std::collections::BTreeSet;
use std::sync::Arc;

use bulla_kube::api::SealingKey;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Api, Resource};

use super::index::{Entry, Index, Private, Source};
use super::object::{PublicPart, at, created, public_part};
use super::secret::{self, KEY_LABEL};
use super::store::Store;

/// All that is told of key objects: of wrapped ones, of labelled Secrets, and of the one that is named as the prefix.
pub(super) fn all(store: &Store) -> BoxStream<'static, Change> {
    stream::select_all([
        events(store.keys.clone(), watcher::Config::default(), Change::Wrapped),
        events(store.secrets.clone(), watcher::Config::default().labels(KEY_LABEL), Change::Labelled),
        events(
            store.secrets.clone(),
            watcher::Config::default().fields(&format!("metadata.name={}", store.prefix)),
            Change::Named,
        ),
    ])
    .boxed()
}

/// What a watch told.
pub(super) enum Change {
    Wrapped(Event<SealingKey>),
    Labelled(Event<Secret>),
    Named(Event<Secret>),
}

/// Lists that watches begin with: what is not in a new list is gone.
#[derive(Default)]
pub(super) struct Lists {
    /// The names seen in the list that is being read, by watch.
    seen: [BTreeSet<Source>; 3],
    /// What each watch has brought.
    owned: [BTreeSet<Source>; 3],
    done: [bool; 3],
}

impl Lists {
    /// Whether every watch has brought its list.
    pub(super) fn are_complete(&self) -> bool {
        self.done.iter().all(|done| *done)
    }

    /// Takes what the watch of this number told into the index.
    pub(super) fn take<K>(
        &mut self,
        watch: usize,
        index: &mut Index,
        event: Event<K>,
        source: impl Fn(&K) -> Source,
        entry: impl Fn(K) -> Entry,
    ) {
        match event {
            Event::Init => self.seen[watch].clear(),
            Event::InitApply(object) => {
                let source = source(&object);
                self.seen[watch].insert(source.clone());
                self.owned[watch].insert(source.clone());
                index.apply(source, entry(object));
            }
            Event::InitDone => {
                for gone in self.owned[watch].difference(&self.seen[watch]).cloned().collect::<Vec<_>>() {
                    self.drop_source(watch, index, &gone);
                }
                self.done[watch] = true;
            }
            Event::Apply(object) => {
                let source = source(&object);
                self.owned[watch].insert(source.clone());
                index.apply(source, entry(object));
            }
            Event::Delete(object) => self.drop_source(watch, index, &source(&object)),
        }
    }

    /// A Secret that both watches have stays until both have lost it.
    fn drop_source(&mut self, watch: usize, index: &mut Index, source: &Source) {
        self.owned[watch].remove(source);
        if !self.owned.iter().any(|owned| owned.contains(source)) {
            index.remove(source);
        }
    }
}

fn events<K>(
    api: Api<K>,
    config: watcher::Config,
    change: impl Fn(Event<K>) -> Change + Send + 'static,
) -> BoxStream<'static, Change>
where
    K: Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    answers(watch_objects(api, config))
        .default_backoff()
        .filter_map(move |event| {
            let change = event
                .inspect_err(
                    |error| tracing::warn!(error = %error, "the watch of the sealing keys failed; it is begun again"),
                )
                .ok()
                .map(&change);
            std::future::ready(change)
        })
        .boxed()
}

/// The watcher says that a list begins before the server was asked. To a backoff that would be a success, and the pauses of an outage
/// would never grow: so it is passed on together with what the list brings first.
fn answers<K, E>(events: impl Stream<Item = Result<Event<K>, E>>) -> impl Stream<Item = Result<Event<K>, E>> {
    let mut begun = false;
    events.flat_map(move |event| {
        stream::iter(match event {
            Ok(Event::Init) => {
                begun = true;
                Vec::new()
            }
            Ok(event) if std::mem::take(&mut begun) => vec![Ok(Event::Init), Ok(event)],
            other => vec![other],
        })
    })
}

/// The entry of a wrapped key.
pub(super) fn from_key(key: SealingKey) -> Entry {
    Entry {
        public: public_part(&key.spec).map_err(|error| error.to_string()),
        not_before: at(&key.spec.not_before),
        created: created(&key),
        state: key.spec.state,
        private: Private::Waiting,
        object: Some(Arc::new(key)),
    }
}

/// The entry of a plain key. The object is wiped.
pub(super) fn from_secret(mut secret: Secret) -> Entry {
    let read = secret::read(&secret);
    let created = created(&secret);
    let state = secret::state_of(&secret);
    secret::wipe(&mut secret);
    match read {
        Ok(pair) => Entry {
            public: Ok(PublicPart { fingerprint: *pair.private.fingerprint(), certificate: pair.certificate }),
            not_before: pair.not_before,
            created,
            state,
            private: Private::Held(pair.private),
            object: None,
        },
        Err(reason) => Entry {
            public: Err(reason.clone()),
            not_before: created,
            created,
            state,
            private: Private::Failed(reason),
            object: None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_that_begins_and_fails_is_nothing_but_a_failure() {
        let events = [Ok(Event::Init), Err("gone"), Ok(Event::Init), Err("gone"), Ok(Event::Init)];
        let events = events.into_iter().chain([Ok(Event::InitApply(1)), Ok(Event::InitDone), Ok(Event::Apply(2))]);
        let seen: Vec<_> = answers(stream::iter(events)).map(|event| format!("{event:?}")).collect().await;
        let expected =
            ["Err(\"gone\")", "Err(\"gone\")", "Ok(Init)", "Ok(InitApply(1))", "Ok(InitDone)", "Ok(Apply(2))"];
        assert_eq!(seen, expected);
    }
}
