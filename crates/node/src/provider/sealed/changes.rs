//! Hears of changes: one question to the sealing operator stays open, about all SealedSecrets and ConfigMaps that volumes of this node have.
//!
//! What it hears is a name and a version. The values are fetched as always, with each pod's own token.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bulla_kube::backoff::{Backoff, jittered};
use bulla_store::sealed::protocol::{Code, MOST_WATCHED, Wanted, Watched};
use bulla_store::sealed::{Authority, OpenError};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};

use super::{NAME, Named, version_of};
use crate::publish::{Mounted, Publisher};

/// How many volumes are brought up to date at once.
const AT_ONCE: usize = 8;
/// What is mounted within this time is asked about together.
const TOGETHER: Duration = Duration::from_secs(1);
/// How often it is looked whether what could not be fetched can be now.
const LOOK: Duration = Duration::from_secs(15);
/// An answer that comes sooner and tells nothing is that of an operator which cannot keep more questions open.
const SOON: Duration = Duration::from_secs(5);
/// How long until that one is asked again.
const PAUSE: Duration = Duration::from_secs(30);
/// How long until one is asked again that does not know the question: one of before this.
const LONG: Duration = Duration::from_mins(5);

/// A namespace, and what an object of it is called among the versions of a volume.
type Name = (String, String);
/// What was heard of the objects of a volume, in their order: a version, that there is none, or nothing.
type News = Vec<Option<String>>;

/// What was heard, by object: its version, empty where there is none for volumes any more.
#[derive(Default)]
struct Heard {
    versions: HashMap<Name, String>,
    /// For which versions a volume was already fetched, whatever came of it.
    tried: HashMap<String, News>,
}

/// Keeps what is mounted as the operator says that it is, for ever.
pub(super) async fn follow(authority: &Authority, publisher: &Publisher) {
    let (mut heard, mut failures) = (Heard::default(), 0);
    let mut sources = publisher.sources();
    loop {
        sources.borrow_and_update();
        let mounted = publisher.mounted_from(NAME);
        let names = names(&mounted);
        heard.forget_others(&names, &mounted);
        let is_behind = heard.bring_up_to_date(&mounted, publisher).await;
        if names.is_empty() {
            // The sender is the publisher's.
            let _ = sources.changed().await;
            continue;
        }
        let begun = Instant::now();
        let others = async {
            while sources.changed().await.is_ok() {
                let mounted = publisher.mounted_from(NAME);
                if self::names(&mounted) != names || heard.has_news(&mounted) {
                    return;
                }
            }
        };
        let question = heard.question(&names);
        tokio::select! {
            answered = authority.changes(question) => match answered {
                Ok(changed) => {
                    failures = 0;
                    if changed.is_empty() && begun.elapsed() < SOON {
                        sleep(jittered(PAUSE)).await;
                    }
                    heard.hear(changed);
                }
                Err(error) => {
                    failures += 1;
                    pause(&error, failures).await;
                }
            },
            () = others => sleep(TOGETHER).await,
            () = sleep(LOOK), if is_behind => {}
        }
    }
}

/// Waits until it makes sense to ask again.
async fn pause(error: &OpenError, failures: u32) {
    if error.code() == Code::Unavailable {
        tracing::debug!(%error, "changes of SealedSecrets are not heard of now");
        sleep(Backoff::CONNECTION.after(failures)).await;
    } else {
        tracing::warn!(%error, "changes of SealedSecrets are not heard of; what is mounted is fetched anew at its interval");
        sleep(jittered(LONG)).await;
    }
}

/// The objects that volumes have.
fn names(mounted: &[Mounted]) -> BTreeSet<Name> {
    let of = |volume: &Mounted| -> Vec<Name> {
        volume.versions.iter().map(|version| (volume.namespace.clone(), version.id.clone())).collect()
    };
    mounted.iter().flat_map(of).collect()
}

impl Heard {
    /// What to ask: of what was never heard no version is said, so that it is told at once.
    fn question(&self, names: &BTreeSet<Name>) -> Vec<Watched> {
        let watched = |known: &Name| {
            let (namespace, version) = (known.0.clone(), self.versions.get(known).cloned());
            let Wanted { kind, name, .. } = Named::from_id(&known.1).wanted();
            Watched { kind, namespace, name, version }
        };
        names.iter().take(MOST_WATCHED).map(watched).collect()
    }

    fn hear(&mut self, changed: Vec<Watched>) {
        for Watched { kind, namespace, name, version } in changed {
            self.versions.insert((namespace, Named::new(kind, name).id()), version.unwrap_or_default());
        }
    }

    fn forget_others(&mut self, names: &BTreeSet<Name>, mounted: &[Mounted]) {
        self.versions.retain(|name, _| names.contains(name));
        let targets: BTreeSet<&str> = mounted.iter().map(|volume| volume.target.as_str()).collect();
        self.tried.retain(|target, _| targets.contains(target.as_str()));
    }

    /// The versions that a volume should have, if it has others.
    fn news(&self, volume: &Mounted) -> Option<News> {
        let heard = |version: &crate::volume::ObjectVersion| {
            self.versions.get(&(volume.namespace.clone(), version.id.clone())).map(String::as_str)
        };
        let is_other =
            volume.versions.iter().any(|version| heard(version).is_some_and(|heard| heard != version_of(version)));
        let all = || volume.versions.iter().map(|version| heard(version).map(str::to_owned)).collect();
        is_other.then(all)
    }

    /// Whether something is to be done that was not tried.
    fn has_news(&self, mounted: &[Mounted]) -> bool {
        mounted.iter().any(|volume| self.news(volume).is_some_and(|news| self.tried.get(&volume.target) != Some(&news)))
    }

    /// Fetches what has changed: at once the first time, then when the publisher says so. Whether something is still not as it should be.
    async fn bring_up_to_date(&mut self, mounted: &[Mounted], publisher: &Publisher) -> bool {
        let behind: Vec<(&str, News)> =
            mounted.iter().filter_map(|volume| Some((volume.target.as_str(), self.news(volume)?))).collect();
        if self.has_news(mounted) {
            tracing::info!(volumes = behind.len(), "SealedSecrets that are mounted have changed");
        }
        let tried = &self.tried;
        futures_util::stream::iter(&behind)
            .for_each_concurrent(AT_ONCE, |(target, news)| async move {
                if tried.get(*target) == Some(news) {
                    publisher.refresh(target).await;
                } else {
                    publisher.renew(target).await;
                }
            })
            .await;
        let is_behind = !behind.is_empty();
        self.tried = behind.into_iter().map(|(target, news)| (target.to_owned(), news)).collect();
        is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::ObjectVersion;

    fn mounted(target: &str, versions: &[(&str, &str)]) -> Mounted {
        let version = |(id, version): &(&str, &str)| ObjectVersion {
            id: (*id).to_owned(),
            version: format!("{version}.0a1b2c3d"),
        };
        let versions = versions.iter().map(version).collect();
        Mounted { target: target.to_owned(), namespace: "shop".to_owned(), versions }
    }

    fn told(name: &str, version: &str) -> Watched {
        let Wanted { kind, name, .. } = Named::from_id(name).wanted();
        Watched { kind, namespace: "shop".to_owned(), name, version: Some(version.to_owned()) }
    }

    #[test]
    fn what_was_never_heard_is_asked_for_without_a_version() {
        let mut heard = Heard::default();
        let mounted = [mounted("p1", &[("a", "1"), ("configmap/a", "1")]), mounted("p2", &[("a", "1")])];
        let names = names(&mounted);
        assert!(heard.question(&names).iter().all(|object| object.version.is_none()) && names.len() == 2);
        heard.hear(vec![told("a", "1"), told("configmap/a", "")]);
        let versions: Vec<_> = heard.question(&names).into_iter().map(|object| object.version.unwrap()).collect();
        assert_eq!(versions, ["1", ""]);
        heard.forget_others(&BTreeSet::new(), &[]);
        assert!(heard.versions.is_empty());
    }

    #[test]
    fn a_volume_has_news_where_one_of_its_objects_is_another() {
        let mut heard = Heard::default();
        let one = mounted("p1", &[("a", "1"), ("b", "1")]);
        assert_eq!(heard.news(&one), None);
        heard.hear(vec![told("a", "1")]);
        assert_eq!(heard.news(&one), None);
        heard.hear(vec![told("a", "2")]);
        let news = vec![Some("2".to_owned()), None];
        assert_eq!(heard.news(&one), Some(news.clone()));
        assert!(heard.has_news(std::slice::from_ref(&one)));
        // What was tried is not tried again before it changes again.
        heard.tried.insert("p1".to_owned(), news);
        assert!(!heard.has_news(std::slice::from_ref(&one)));
        heard.hear(vec![told("b", "")]);
        assert!(heard.has_news(&[one]));
    }
}
