//! Who goes away ends nothing half-way.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::core::faulty::server;
use crate::logical::Request;
use crate::seal::fixed::Fixed;
use crate::seal::{AutoSeal, Stored};
use crate::storage::{Batch, Memory, Storage, StorageError};

/// Storage that waits before it takes the seal's record.
#[derive(Default)]
struct Waits {
    inner: Memory,
    reached: Notify,
    goes_on: Notify,
}

#[async_trait]
impl Storage for Waits {
    fn kind(&self) -> &'static str {
        "waits"
    }

    async fn get(&self, key: &str) -> std::result::Result<Option<Vec<u8>>, StorageError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> std::result::Result<Vec<String>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> std::result::Result<(), StorageError> {
        if batch.writes.iter().any(|(key, _)| key == Stored::PATH) {
            self.reached.notify_one();
            self.goes_on.notified().await;
        }
        self.inner.commit(batch).await
    }
}

fn seals() -> Vec<Arc<dyn AutoSeal>> {
    let key = bulla_core::SecretBytes::from(vec![7; bulla_core::DataKey::LEN]);
    vec![Arc::new(Fixed::new("1".to_owned(), bulla_core::DataKey::from_bytes(key).unwrap()))]
}

fn ask(path: &str, data: Object) -> Asked {
    let request = Request::new(Operation::Update, path, data);
    Asked { request, room: None }
}

async fn within_a_moment(what: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it did not come to its end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_server_is_initialized_also_for_a_client_that_went_away() {
    let storage = Arc::new(Waits::default());
    let core = server(Arc::clone(&storage) as Arc<dyn Storage>, seals());
    let asked = ask("sys/init", object! { "recovery_shares": 1, "recovery_threshold": 1 });
    tokio::select! {
        _ = try_answer(&core, &asked) => panic!("the storage waits"),
        () = storage.reached.notified() => {}
    }
    storage.goes_on.notify_one();
    within_a_moment(async || core.is_initialized().await.unwrap() && !core.is_sealed()).await;
}

#[tokio::test]
async fn a_server_has_its_new_seal_also_for_a_client_that_went_away() {
    let storage = Arc::new(Waits::default());
    let old = server(Arc::clone(&storage) as Arc<dyn Storage>, Vec::new());
    storage.goes_on.notify_one();
    let made = old.initialize(Init { shares: Shares { shares: 1, threshold: 1 } }).await.unwrap();
    storage.reached.notified().await;
    let core = server(Arc::clone(&storage) as Arc<dyn Storage>, seals());
    let asked = ask("sys/unseal", object! { "key": hex(made.shares[0].expose()), "migrate": true });
    tokio::select! {
        _ = try_answer(&core, &asked) => panic!("the storage waits"),
        () = storage.reached.notified() => {}
    }
    storage.goes_on.notify_one();
    within_a_moment(async || !core.is_sealed()).await;
    assert!(!core.seal_status().await.unwrap().migrating);
}

#[tokio::test]
async fn an_initialization_that_is_dropped_leaves_no_open_server() {
    let storage = Arc::new(Waits::default());
    let core = server(Arc::clone(&storage) as Arc<dyn Storage>, seals());
    tokio::select! {
        _ = core.initialize(Init { shares: Shares { shares: 0, threshold: 0 } }) => panic!("the storage waits"),
        () = async {
            storage.reached.notified().await;
            assert!(!core.is_sealed(), "it is open before it is dropped");
        } => {}
    }
    assert!(core.is_sealed() && !core.is_initialized().await.unwrap());
}
