//! Numbers that a seed gives again, for tests that do things at random moments.

use std::time::Duration;

/// Splitmix64 (Steele, Lea, Flood, 2014).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time shorter than `limit`, in whole milliseconds.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let milliseconds = u64::try_from(limit.as_millis()).unwrap();
        Duration::from_millis(self.next() % milliseconds)
    }
}

/// A number from the environment: a seed, or how often something is done.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
