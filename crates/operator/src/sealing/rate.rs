//! How many requests are answered: some a second for each caller, with a burst.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many callers are told apart at most; more share what a stranger gets.
const CALLERS: usize = 10_000;

/// A bucket for every caller, by name.
pub struct Rate {
    per_second: f64,
    burst: f64,
    callers: Mutex<HashMap<String, Bucket>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Rate {
    /// So many a second, and so many at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second: f64::from(per_second), burst: f64::from(burst.max(1)), callers: Mutex::default() }
    }

    /// Whether the caller may ask now.
    ///
    /// # Errors
    /// After which time to ask again.
    pub fn take(&self, caller: &str) -> Result<(), Duration> {
        let now = Instant::now();
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS {
            let full = self.burst / self.per_second.max(0.001);
            callers.retain(|_, bucket| now.duration_since(bucket.at).as_secs_f64() < full);
        }
        let caller = if callers.len() >= CALLERS { "" } else { caller };
        let bucket = callers.entry(caller.to_owned()).or_insert(Bucket { tokens: self.burst, at: now });
        let earned = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + earned).min(self.burst);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - bucket.tokens) / self.per_second.max(0.001);
        Err(Duration::from_secs_f64(missing.min(3600.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_so_many_a_second_each() {
        let rate = Rate::new(2, 3);
        assert!((0..3).all(|_| rate.take("a").is_ok()));
        assert_eq!(rate.take("a").unwrap_err(), Duration::from_millis(500));
        assert!(rate.take("b").is_ok());
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(rate.take("a").is_ok() && rate.take("a").is_err());
    }
}
