//! Events (`events.k8s.io/v1`) that a person can act on, each told once and counted after.
//!
//! They are told in the background and dropped when there are too many: work never waits for them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::describe;

/// How many events may wait to be told.
const WAITING: usize = 1024;
/// How many told events are remembered.
const REMEMBERED: usize = 4096;
/// The same event is told again (as one more of a series) after this time.
const AGAIN: Duration = Duration::from_mins(5);
/// An event is a new one when it was not seen for this long: the API server forgets them after an hour.
const FORGOTTEN: Duration = Duration::from_mins(30);
/// The longest note that the API takes, in bytes.
const LONGEST: usize = 1024;

/// Tells events about objects.
#[derive(Clone)]
pub struct Events(mpsc::Sender<News>);

/// One event.
#[derive(Clone, Debug)]
pub struct News {
    /// About what.
    pub about: ObjectReference,
    /// Whether something is wrong.
    pub kind: Kind,
    /// One word: `Unsealed`, `ErrUnsealFailed`.
    pub reason: &'static str,
    /// What was being done: `Unseal`.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
}

/// How an event is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// All is well.
    Normal,
    /// Something is wrong.
    Warning,
}

impl Events {
    /// Events told by `controller` on the replica `instance`. The future tells them, until all [`Events`] are dropped.
    pub fn new(client: Client, controller: &str, instance: &str) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let teller =
            Teller { client, controller: controller.to_owned(), instance: instance.to_owned(), told: HashMap::new() };
        (Self(sender), teller.run(receiver))
    }

    /// Tells an event, unless too many wait.
    pub fn tell(&self, news: News) {
        // Whoever fails says so in the object's condition too, which does not get lost.
        let _ = self.0.try_send(news);
    }
}

struct Teller {
    client: Client,
    controller: String,
    instance: String,
    told: HashMap<u64, Told>,
}

struct Told {
    name: String,
    count: i32,
    last: Instant,
}

impl Teller {
    async fn run(mut self, mut receiver: mpsc::Receiver<News>) {
        while let Some(news) = receiver.recv().await {
            if let Err(error) = self.tell(news).await {
                tracing::debug!(error = describe(&error), "an event was not told");
            }
        }
    }

    async fn tell(&mut self, mut news: News) -> kube::Result<()> {
        shorten(&mut news.note);
        let namespace = news.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let now = MicroTime(Timestamp::now());
        let id = identity(&news);
        if let Some(told) = self.told.get_mut(&id).filter(|told| told.last.elapsed() < FORGOTTEN) {
            if told.last.elapsed() < AGAIN {
                return Ok(());
            }
            told.count = told.count.saturating_add(1);
            told.last = Instant::now();
            let series = json!({"series": EventSeries { count: told.count, last_observed_time: now.clone() }});
            match api.patch_metadata(&told.name, &PatchParams::default(), &Patch::Merge(&series)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                result => return result.map(drop),
            }
        }
        if self.told.len() >= REMEMBERED {
            self.told.retain(|_, told| told.last.elapsed() < AGAIN);
        }
        let object = news.about.name.as_deref().unwrap_or("object");
        // Names have at most 253 characters.
        let name = format!("{}.{id:016x}{:x}", object.get(..200).unwrap_or(object), now.0.as_millisecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..ObjectMeta::default() },
            event_time: Some(now),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.get(..128).unwrap_or(&self.instance).to_owned()),
            action: Some(news.action.to_owned()),
            reason: Some(news.reason.to_owned()),
            type_: Some(if news.kind == Kind::Warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(news.about),
            note: Some(news.note),
            ..Event::default()
        };
        api.create(&PostParams::default(), &event).await?;
        if self.told.len() < REMEMBERED {
            self.told.insert(id, Told { name, count: 1, last: Instant::now() });
        }
        Ok(())
    }
}

/// What makes two events the same one.
fn identity(news: &News) -> u64 {
    let mut hash = DefaultHasher::new();
    (&news.about.namespace, &news.about.name, &news.about.uid, news.kind, news.reason, &news.note).hash(&mut hash);
    hash.finish()
}

fn shorten(note: &mut String) {
    if note.len() > LONGEST {
        let end = (0..=LONGEST - 4).rev().find(|end| note.is_char_boundary(*end)).unwrap_or(0);
        note.truncate(end);
        note.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_too_long_is_cut_at_a_character() {
        let mut note = "ä".repeat(2000);
        shorten(&mut note);
        assert!(note.len() <= LONGEST && note.ends_with('…'));
        let mut short = "short".to_owned();
        shorten(&mut short);
        assert_eq!(short, "short");
    }
}
