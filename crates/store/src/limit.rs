//! A limit on the requests to one far side, kept here: a thousand pods that start must not be what brings it down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many requests may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In a second, on average. At least one.
    pub per_second: u32,
    /// At once, after a rest. At least one.
    pub burst: u32,
    /// Under way at any time. At least one.
    pub under_way: usize,
}

/// Lets requests pass, in the order that they come.
#[derive(Debug)]
pub struct Limit {
    rate: Rate,
    /// When the next one would be due if they came evenly.
    even: Mutex<Option<Instant>>,
    under_way: Semaphore,
}

/// Too many are waiting: the next one could go after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy(pub Duration);

impl Limit {
    /// A limit of which nothing is used yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, even: Mutex::default(), under_way: Semaphore::new(rate.under_way.max(1)) }
    }

    /// Waits for its turn, at most as long as its patience lasts. What it gives is held until the request is over.
    ///
    /// # Errors
    /// [`Busy`], at once if it is clear that its turn comes later than that.
    pub async fn pass(&self, patience: Duration) -> Result<SemaphorePermit<'_>, Busy> {
        let (begun, wait) = (Instant::now(), self.wait(patience)?);
        tokio::time::sleep(wait).await;
        let left = patience.saturating_sub(begun.elapsed());
        match tokio::time::timeout(left, self.under_way.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Busy(Duration::from_secs(1))),
        }
    }

    /// How long until its turn. The turn is taken, unless that is too long.
    fn wait(&self, patience: Duration) -> Result<Duration, Busy> {
        let each = Duration::from_secs(1) / self.rate.per_second.max(1);
        let ahead = each * self.rate.burst.max(1).saturating_sub(1);
        let mut even = self.even.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = even.filter(|due| *due > now).unwrap_or(now);
        let wait = due.duration_since(now).saturating_sub(ahead);
        if wait > patience {
            return Err(Busy(wait));
        }
        *even = Some(due + each);
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_evenly() {
        let limit = Limit::new(Rate { per_second: 10, burst: 5, under_way: 100 });
        let begun = Instant::now();
        for n in 0..25 {
            drop(limit.pass(Duration::from_secs(10)).await.unwrap());
            let expected = Duration::from_millis(100) * u32::try_from(n).unwrap_or(0).saturating_sub(4);
            let (early, late) = (begun.elapsed(), expected + Duration::from_millis(2));
            assert!(early >= expected && early <= late, "{n}: {early:?}");
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
        let begun = Instant::now();
        for _ in 0..5 {
            drop(limit.pass(Duration::ZERO).await.unwrap());
        }
        assert_eq!((begun.elapsed(), limit.pass(Duration::ZERO).await.is_err()), (Duration::ZERO, true));
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_too_long_is_told_so_at_once_and_takes_no_turn() {
        let limit = Limit::new(Rate { per_second: 1, burst: 1, under_way: 100 });
        drop(limit.pass(Duration::ZERO).await.unwrap());
        for _ in 0..100 {
            let Busy(wait) = limit.pass(Duration::from_millis(500)).await.unwrap_err();
            assert!(wait <= Duration::from_secs(1) && wait > Duration::from_millis(900), "{wait:?}");
        }
        drop(limit.pass(Duration::from_secs(2)).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_may_be() {
        let limit = Limit::new(Rate { per_second: 1000, burst: 1000, under_way: 2 });
        let first = limit.pass(Duration::ZERO).await.unwrap();
        let _second = limit.pass(Duration::ZERO).await.unwrap();
        assert!(limit.pass(Duration::from_secs(1)).await.is_err());
        drop(first);
        assert!(limit.pass(Duration::from_secs(1)).await.is_ok());
    }
}
