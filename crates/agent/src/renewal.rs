//! When a lease is renewed, and when it is given up: the peer's `LifetimeWatcher`.
//!
//! Two thirds of what is left pass, and a third of the grace. The grace is between a tenth and a fifth of the longest that was left, by chance: many
//! agents must not come together. Once no more than the grace would be left, it is time for something new.

use std::time::Duration;

use bulla_core::backoff::Backoff;
use tokio::time::Instant;

/// How often a renewal is tried again.
const RENEWAL: Backoff = Backoff { first: Duration::from_secs(1), limit: Duration::from_secs(30) };

/// A lease that is kept alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// When what is known now was said.
    since: Instant,
    /// How long it lives from then on.
    left: Duration,
    grace: Duration,
}

/// What to do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Renew it, after a time.
    RenewAfter(Duration),
    /// Let it go, after a time.
    EndAfter(Duration),
}

/// Whether a lease can be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewable {
    Yes,
    No,
}

impl Renewable {
    pub(crate) fn new(value: &bulla_template::Value, path: &[&str]) -> Self {
        if crate::api::is_true_at(value, path) { Self::Yes } else { Self::No }
    }
}

impl Lease {
    /// One that begins now.
    pub(crate) fn new(left: Duration) -> Self {
        Self { since: Instant::now(), left, grace: grace(left) }
    }

    /// It was renewed: this is left from now on.
    pub(crate) fn renewed(self, left: Duration) -> Self {
        // As long as a renewal makes it longer, the grace grows with it; once it does not, its end comes near.
        let grace = if left > self.left { grace(left) } else { self.grace };
        Self { since: Instant::now(), left, grace }
    }

    /// What is left now.
    pub(crate) fn left(&self) -> Duration {
        self.left.saturating_sub(self.since.elapsed())
    }

    /// Whether it is time for something new.
    pub(crate) fn is_over(&self) -> bool {
        self.left() <= self.grace
    }

    pub(crate) fn next(&self, renewable: Renewable) -> Next {
        let left = self.left();
        let sleep = left.mul_f64(2.0 / 3.0) + self.grace.mul_f64(1.0 / 3.0);
        if renewable == Renewable::No || left <= self.grace || left.saturating_sub(sleep) <= self.grace {
            return Next::EndAfter(left.saturating_sub(self.grace));
        }
        Next::RenewAfter(sleep)
    }

    /// The same when renewals failed, so many in a row: the next may not, as long as something is left.
    pub(crate) fn after_failures(&self, failures: u32) -> Next {
        let left = self.left().saturating_sub(self.grace);
        if left.is_zero() { Next::EndAfter(left) } else { Next::RenewAfter(RENEWAL.after(failures).min(left)) }
    }
}

fn grace(left: Duration) -> Duration {
    left.mul_f64(0.1 + 0.1 * chance())
}

/// A number between 0 and 1.
pub(crate) fn chance() -> f64 {
    // Without randomness there is none, which is no reason to fail.
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_after_two_thirds_and_let_go_before_its_end() {
        for _ in 0..200 {
            let lease = Lease::new(Duration::from_mins(5));
            let Next::RenewAfter(wait) = lease.next(Renewable::Yes) else { panic!("{lease:?}") };
            assert!(wait >= Duration::from_secs(210) && wait <= Duration::from_secs(220), "{wait:?}");
            let Next::EndAfter(wait) = lease.next(Renewable::No) else { panic!("{lease:?}") };
            assert!(wait >= Duration::from_mins(4) && wait <= Duration::from_secs(270), "{wait:?}");
            let Next::RenewAfter(wait) = lease.after_failures(1) else { panic!("{lease:?}") };
            assert!(wait <= Duration::from_secs(1), "{wait:?}");
            // The longest a token may live comes near.
            let lease = lease.renewed(Duration::from_secs(90));
            assert!(matches!(lease.next(Renewable::Yes), Next::EndAfter(_)), "{lease:?}");
            assert!(lease.renewed(Duration::from_secs(20)).is_over());
        }
        let began = Instant::now().checked_sub(Duration::from_secs(9)).unwrap_or_else(Instant::now);
        assert!(Lease { since: began, ..Lease::new(Duration::from_secs(10)) }.is_over());
    }
}
