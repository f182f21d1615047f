//! How long to wait before the next try: twice as long each time up to a limit, and never all at the same moment.

use std::time::Duration;

/// Waiting times that double from `first` up to `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first time, before jitter.
    pub first: Duration,
    /// The longest, before jitter.
    pub limit: Duration,
}

impl Backoff {
    /// For an object that could not be reconciled: 1 s, 2 s, … 5 min.
    pub const OBJECT: Self = Self { first: Duration::from_secs(1), limit: Duration::from_mins(5) };

    /// For a watch or a lease that could not be had: 0.5 s, 1 s, … 30 s.
    pub const CONNECTION: Self = Self { first: Duration::from_millis(500), limit: Duration::from_secs(30) };

    /// The time to wait after `failures` failures in a row (the first failure is 1): between half of it and all of it.
    pub fn after(self, failures: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).and_then(|factor| self.first.checked_mul(factor));
        jittered(doubled.unwrap_or(self.limit).min(self.limit))
    }
}

/// A random time between half of `time` and all of it.
pub fn jittered(time: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness there is no jitter, which is no reason to fail.
    let _ = getrandom::fill(&mut bytes);
    time.mul_f64(0.5 + f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_double_up_to_the_limit_and_keep_within_their_jitter() {
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (40, 300), (u32::MAX, 300)] {
            let (most, time) = (Duration::from_secs(most), Backoff::OBJECT.after(failures));
            assert!(time >= most / 2 && time <= most, "{failures}: {time:?}");
        }
    }

    #[test]
    fn not_all_wait_equally_long() {
        let times: std::collections::HashSet<_> = (0..20).map(|_| Backoff::OBJECT.after(5)).collect();
        assert!(times.len() > 10);
    }
}
