//! No key service keeps anyone waiting for ever; a person may take their time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, Operation, SecretBytes, WrappedKey};
use tokio::sync::{Mutex, MutexGuard};

/// A key service with a time limit on each operation that asks no person.
pub(crate) struct Limited {
    inner: Arc<dyn KeyService>,
    limit: Duration,
}

impl Limited {
    pub(crate) fn new(inner: Arc<dyn KeyService>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, KeyError>>,
    ) -> Result<T, KeyError> {
        if self.may_ask(operation).await {
            let _turn = turn().await;
            return work.await;
        }
        let late = |_| {
            let what = format!("no answer within {} s", self.limit.as_secs_f32());
            KeyError::new(KeyErrorKind::Timeout, self.id(), what).with_hint("check that the key service can be reached")
        };
        tokio::time::timeout(self.limit, work).await.map_err(late)?
    }
}

#[async_trait]
impl KeyService for Limited {
    fn id(&self) -> &KeyId {
        self.inner.id()
    }

    /// A service that takes too long to tell is held to the limit. The answer may change: who was asked for a passphrase
    /// once is not asked again.
    async fn may_ask(&self, operation: Operation) -> bool {
        tokio::time::timeout(self.limit, self.inner.may_ask(operation)).await.unwrap_or(false)
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.run(Operation::Wrap, self.inner.wrap(plaintext)).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        self.run(Operation::Unwrap, self.inner.unwrap(wrapped)).await
    }
}

/// Waits until nobody else in this process asks a person: there is one terminal.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Answers after a while, counting how many do at the same time.
    struct Slow {
        id: KeyId,
        asks: bool,
        running: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }

    impl Slow {
        fn new(asks: bool) -> Self {
            Self { id: KeyId::HuaweiKms { key_id: "slow".into() }, asks, running: Arc::default(), most: Arc::default() }
        }
    }

    #[async_trait]
    impl KeyService for Slow {
        fn id(&self) -> &KeyId {
            &self.id
        }

        async fn may_ask(&self, operation: Operation) -> bool {
            self.asks && operation == Operation::Unwrap
        }

        async fn wrap(&self, _: &SecretBytes) -> Result<WrappedKey, KeyError> {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(WrappedKey::new("wrapped"))
        }

        async fn unwrap(&self, _: &WrappedKey) -> Result<SecretBytes, KeyError> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            Ok(SecretBytes::zeroed(32))
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_in_time_is_named() {
        let limited = Limited::new(Arc::new(Slow::new(false)), Duration::from_millis(5));
        let wrapped = WrappedKey::new("wrapped");
        for error in
            [limited.unwrap(&wrapped).await.unwrap_err(), limited.wrap(&SecretBytes::zeroed(32)).await.unwrap_err()]
        {
            assert_eq!(error.kind(), KeyErrorKind::Timeout);
            assert_eq!(error.to_string(), "hckms slow: no answer within 0.005 s");
        }
    }

    #[tokio::test]
    async fn a_service_that_answers_in_time_is_not_disturbed() {
        let limited = Limited::new(Arc::new(Slow::new(false)), Duration::from_mins(1));
        assert_eq!(limited.unwrap(&WrappedKey::new("wrapped")).await.unwrap().len(), 32);
    }

    #[tokio::test]
    async fn a_person_may_take_their_time_and_is_asked_one_thing_at_a_time() {
        let slow = Slow::new(true);
        let most = slow.most.clone();
        let limited = Limited::new(Arc::new(slow), Duration::from_millis(5));
        let wrapped = WrappedKey::new("wrapped");
        let results = futures_util::future::join_all((0..3).map(|_| limited.unwrap(&wrapped))).await;
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), 1);
        // Only what asks is without a limit.
        assert!(limited.wrap(&SecretBytes::zeroed(32)).await.is_err());
    }
}
