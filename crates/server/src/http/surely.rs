//! What was begun is done to its end, whether or not somebody waits for it.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::runtime::Handle;

use crate::logical::{Error, Result};

/// Does `doing` to its end: it goes on by itself when this is dropped, so that a client that goes away, or does not wait, leaves nothing half-done.
///
/// # Errors
/// Its own; an internal one if it panics.
pub async fn surely<T: Send + 'static>(doing: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let done = Surely(Some(Box::pin(AssertUnwindSafe(doing).catch_unwind()))).await;
    done.unwrap_or_else(|_| Err(Error::internal(&"a request was not answered: its handler panicked")))
}

/// A future that goes on by itself when it is dropped.
///
/// As long as somebody waits it is part of their task. A task of its own for each request would have to be queued, and another thread woken for it.
struct Surely<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for Surely<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Whoever asks after the end waits for ever.
        let Some(inner) = &mut self.0 else { return Poll::Pending };
        let polled = inner.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Surely<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_has_the_answer() {
        assert_eq!(surely(async { Ok(7) }).await.unwrap(), 7);
        let (sender, receiver) = oneshot::channel();
        let waits = tokio::spawn(surely(async { Ok(receiver.await.unwrap()) }));
        tokio::task::yield_now().await;
        sender.send(8).unwrap();
        assert_eq!(waits.await.unwrap().unwrap(), 8);
        let panicked = surely(async { if true { panic!("as it should") } else { Ok(()) } }).await;
        assert_eq!(panicked.unwrap_err().status, 500);
    }

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits() {
        let (begin, begun) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let mut work = Box::pin(surely(async {
            begun.await.unwrap();
            end.send(9).unwrap();
            Ok(())
        }));
        assert!(timeout(Duration::from_millis(1), &mut work).await.is_err());
        drop(work);
        begin.send(()).unwrap();
        assert_eq!(timeout(Duration::from_secs(10), ended).await.unwrap().unwrap(), 9);
    }
}
