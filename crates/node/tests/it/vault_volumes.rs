//! Volumes of the provider `vault`, from the request to the files and back: what asks again, what is remembered, what goes with a pod.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bulla_core::SecretString;
use bulla_node::class::{Class, ClassError, Classes, Versioned};
use bulla_node::metrics::Metrics;
use bulla_node::mounter::Mounter;
use bulla_node::mounter::protocol::Owner;
use bulla_node::pod::{Pod, Token, Volume};
use bulla_node::provider::{Provider, Registry};
use bulla_node::publish::{Publisher, Report, Reports, Request, Settings};
use bulla_node::volume::Limits;
use bulla_store::shared::Bounds;
use bulla_test_support::bao::Bao;
use bulla_test_support::service_accounts::{Broker, service_account_token};
use jiff::{SignedDuration, Timestamp};

use super::half::Half;
use super::vault::World;

struct OneClass(Mutex<Class>);

#[async_trait]
impl Classes for OneClass {
    async fn class(&self, _: &str, _: &str) -> Result<Arc<Versioned>, ClassError> {
        Ok(Arc::new(self.0.lock().unwrap().clone().into()))
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

#[async_trait]
impl Reports for Log {
    async fn tell(&self, report: Report<'_>) {
        self.0.lock().unwrap().push(format!("{:?}", report.outcome));
    }

    async fn gone(&self, _: &str) {}
}

#[tokio::test]
async fn a_leased_value_is_kept_alive_over_a_restart_replaced_in_time_and_given_back() {
    let (world, broker, half) = (World::start(Bao::shared()), Broker::start(), Half::start());
    let path = broker.engine(&world.bao, "8s", "1h");
    let objects = format!("[{{objectName: user, secretPath: {path}, secretKey: username, filePermission: 0444}}]");
    let class = Class { provider: "vault".to_owned(), parameters: world.parameters(&objects), ..Class::default() };
    let (classes, log) = (Arc::new(OneClass(Mutex::new(class))), Arc::<Log>::default());
    let publisher = || {
        let mounter = Mounter::new(half.socket.try_clone().unwrap()).unwrap();
        let bounds = Bounds { fresh: Duration::ZERO, last_known: Duration::ZERO, bytes: 1 << 20, answers: 10 };
        let provider: Arc<dyn Provider> = Arc::new(world.provider(bounds));
        let registry = Registry::new(Vec::new(), mounter.clone(), 4 << 20, Limits::default()).with("vault", provider);
        // Contents are never due by themselves: only the provider says when.
        let settings = Settings { interval: None, limits: Limits::default(), memory: 1 << 30, mode: 0o644 };
        Publisher::new(mounter, classes.clone(), Arc::new(registry), log.clone(), settings, Metrics::default())
    };
    let token = Token {
        token: SecretString::from(service_account_token("shop", "app", "vault")),
        expires: Timestamp::now() + SignedDuration::from_mins(10),
    };
    let pod = Pod {
        namespace: "shop".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
        service_account: "app".to_owned(),
    };
    let volume =
        Volume { pod, class: "c".to_owned(), tokens: [("vault".to_owned(), token)].into(), secrets: BTreeMap::new() };
    let target = half.volume("p");
    let request = Request { path: format!("/pods/{target}"), target: target.clone(), volume, owner: Owner::default() };
    let file = || fs::read_to_string(half.look("pods").join(&target).join("user")).unwrap();

    let first = publisher();
    first.publish(request.clone()).await.unwrap();
    let user = file();
    assert!(first.expected().is_empty());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(first.expected(), std::slice::from_ref(&target), "it is to be renewed");
    first.refresh(&target).await;
    assert!(first.expected().is_empty());
    drop(first);

    // The next service has no session that the lease hangs on; it renews with another one.
    let next = publisher();
    next.publish(request).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(9) {
        for target in next.expected() {
            next.refresh(&target).await;
        }
        assert_eq!(file(), user);
        assert!(!broker.users().1.contains(&user), "it ended while it was mounted: {:?}", log.0.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let remembered = fs::read_to_string(half.look("pods").join(&target).join("..bulla")).unwrap();
    assert!(remembered.contains(&path) && !remembered.contains("s."), "{remembered}");

    // Another class, another user; what was leased by a session of this service goes with the pod.
    classes.0.lock().unwrap().refresh = "now".to_owned();
    next.refresh(&target).await;
    let other = file();
    assert_ne!(other, user);
    next.unpublish(&target).await.unwrap();
    let begun = Instant::now();
    while !broker.users().1.contains(&other) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", broker.users());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
