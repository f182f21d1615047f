//! The same wrapped text is unwrapped once in a run: copies of a file, or one file worked on twice, cost one round trip.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bulla_core::{KeyError, KeyId, KeyService, Operation, SecretBytes, WrappedKey};
use tokio::sync::OnceCell;

/// Unwrapped keys by what they were unwrapped from. For the length of a command: a server must ask each time, because its
/// keys may be revoked.
#[derive(Default)]
pub(crate) struct Cache(Mutex<HashMap<(KeyId, WrappedKey), Entry>>);

type Entry = Arc<OnceCell<SecretBytes>>;

impl Cache {
    /// Enough for a large repository; each entry takes a page of locked memory.
    const MOST: usize = 1024;

    /// The entry for `wrapped`, made if need be; `None` when there are too many.
    fn entry(&self, id: &KeyId, wrapped: &WrappedKey) -> Option<Entry> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (id.clone(), wrapped.clone());
        if entries.len() >= Self::MOST && !entries.contains_key(&key) {
            return None;
        }
        Some(entries.entry(key).or_default().clone())
    }
}

/// A key service that looks in a [`Cache`] first. Two that want the same text at the same time wait for one answer;
/// failures are not kept.
pub(crate) struct Cached {
    inner: Arc<dyn KeyService>,
    cache: Arc<Cache>,
}

impl Cached {
    pub(crate) fn new(inner: Arc<dyn KeyService>, cache: &Arc<Cache>) -> Self {
        Self { inner, cache: cache.clone() }
    }
}

#[async_trait]
impl KeyService for Cached {
    fn id(&self) -> &KeyId {
        self.inner.id()
    }

    async fn may_ask(&self, operation: Operation) -> bool {
        self.inner.may_ask(operation).await
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.inner.wrap(plaintext).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        match self.cache.entry(self.id(), wrapped) {
            Some(entry) => entry.get_or_try_init(|| self.inner.unwrap(wrapped)).await.cloned(),
            None => self.inner.unwrap(wrapped).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bulla_core::KeyErrorKind;

    use super::*;

    /// Fails the first time, then gives the text's bytes; counts how often it is asked.
    struct Counting {
        id: KeyId,
        asked: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl KeyService for Counting {
        fn id(&self) -> &KeyId {
            &self.id
        }

        async fn wrap(&self, _: &SecretBytes) -> Result<WrappedKey, KeyError> {
            Ok(WrappedKey::new("wrapped"))
        }

        async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
            tokio::task::yield_now().await;
            match self.asked.fetch_add(1, Ordering::SeqCst) {
                0 => Err(KeyError::new(KeyErrorKind::Unreachable, &self.id, "not yet")),
                _ => Ok(SecretBytes::from(wrapped.as_str().as_bytes())),
            }
        }
    }

    fn services() -> (Vec<Arc<dyn KeyService>>, Arc<AtomicUsize>) {
        let asked = Arc::<AtomicUsize>::default();
        let cache = Arc::<Cache>::default();
        let service = |name: &str| {
            let id = KeyId::HuaweiKms { key_id: name.to_owned() };
            Arc::new(Cached::new(Arc::new(Counting { id, asked: asked.clone() }), &cache)) as Arc<dyn KeyService>
        };
        (vec![service("one"), service("one"), service("other")], asked)
    }

    #[tokio::test]
    async fn the_same_text_is_unwrapped_once_and_failures_are_not_kept() {
        let (services, asked) = services();
        let wrapped = WrappedKey::new("text");
        assert!(services[0].unwrap(&wrapped).await.is_err());
        for _ in 0..3 {
            assert_eq!(services[0].unwrap(&wrapped).await.unwrap().expose(), b"text");
            assert_eq!(services[1].unwrap(&wrapped).await.unwrap().expose(), b"text");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(services[0].unwrap(&WrappedKey::new("another")).await.unwrap().expose(), b"another");
        assert_eq!(services[2].unwrap(&wrapped).await.unwrap().expose(), b"text");
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn those_who_want_the_same_wait_for_one_answer() {
        let (services, asked) = services();
        asked.store(1, Ordering::SeqCst);
        let wrapped = WrappedKey::new("text");
        let results = futures_util::future::join_all((0..50).map(|i| services[i % 2].unwrap(&wrapped))).await;
        assert!(results.into_iter().all(|result| result.unwrap().expose() == b"text"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_full_cache_still_unwraps() {
        let (services, _) = services();
        for n in 0..Cache::MOST + 10 {
            let _ = services[0].unwrap(&WrappedKey::new(n.to_string())).await;
        }
        assert_eq!(services[0].unwrap(&WrappedKey::new("text")).await.unwrap().expose(), b"text");
    }
}
