//! When the barrier's terms begin by themselves.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::barrier::{Barrier, KeyStatus, RECORDS_PER_TERM, View};
use crate::logical::{Error, Result};

/// What is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether terms begin by themselves. After [`RECORDS_PER_TERM`] records they do in any case.
    pub enabled: bool,
    /// After so many records.
    pub max_operations: u64,
    /// After so many seconds; 0: however old a term is.
    pub interval: i64,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, max_operations: RECORDS_PER_TERM, interval: 0 }
    }
}

impl Config {
    /// Whether the term of this status has had its time.
    fn is_due(self, status: &KeyStatus, now: i64) -> bool {
        let is_old = self.interval > 0 && now.saturating_sub(status.begun) >= self.interval;
        self.enabled && (is_old || status.encryptions >= self.max_operations)
    }
}

/// The configuration that is in force.
pub struct Rotation {
    view: View,
    config: RwLock<Config>,
}

impl Rotation {
    /// What `barrier` has.
    pub async fn open(barrier: &Arc<Barrier>) -> Result<Self> {
        let view = View::plain(barrier, "sys/core/");
        let config = view.read(KEY).await?.unwrap_or_default();
        Ok(Self { view, config: RwLock::new(config) })
    }

    /// What is configured.
    pub fn config(&self) -> Config {
        *self.config.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Configures it.
    ///
    /// # Errors
    /// 400 for numbers that are not safe, or would have a term for each moment.
    pub async fn set(&self, config: Config) -> Result<()> {
        if !OPERATIONS.contains(&config.max_operations) {
            let (least, most) = (OPERATIONS.start(), OPERATIONS.end());
            return Err(Error::bad_request(format!("max_operations must be in the range [{least},{most}]")));
        }
        if config.interval != 0 && config.interval < SHORTEST {
            return Err(Error::bad_request("interval must be greater or equal to 24h0m0s"));
        }
        self.view.write(KEY, &config).await?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Whether a new term is to begin.
    pub fn is_due(&self, barrier: &Barrier) -> bool {
        let now = jiff::Timestamp::now().as_second();
        barrier.wants_rotation() || self.config().is_due(&barrier.key_status(), now)
    }
}

/// Where it is, below `sys/core/`.
const KEY: &str = "rotation";
/// After how many records a term may end, as the peer has it.
const OPERATIONS: std::ops::RangeInclusive<u64> = 1_000_000..=3_865_470_566;
/// A day.
const SHORTEST: i64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use bulla_core::DataKey;

    use super::*;
    use crate::storage::Memory;

    #[test]
    fn a_term_ends_by_its_records_or_its_age() {
        let of = |enabled, max_operations, interval, (encryptions, age): (u64, i64)| {
            let status = KeyStatus { term: 1, begun: 1000, encryptions };
            Config { enabled, max_operations, interval }.is_due(&status, 1000 + age)
        };
        assert!(!of(true, 10, 0, (9, 1 << 40)) && of(true, 10, 0, (10, 0)));
        assert!(!of(true, 10, 60, (0, 59)) && of(true, 10, 60, (0, 60)));
        assert!(!of(false, 10, 60, (10, 60)));
        // A clock that was set back ends nothing.
        assert!(!of(true, 10, 60, (0, -5000)));
    }

    #[tokio::test]
    async fn what_is_configured_is_there_after_the_next_start_and_numbers_have_bounds() {
        let barrier = Barrier::initialize(Arc::new(Memory::default()), DataKey::generate().unwrap()).await.unwrap();
        let barrier = Arc::new(barrier);
        let rotation = Rotation::open(&barrier).await.unwrap();
        assert!(rotation.config() == Config::default() && !rotation.is_due(&barrier));
        for (max_operations, interval) in
            [(999_999, 0), (3_865_470_567, 0), (1_000_000, 60), (1_000_000, -1), (1_000_000, SHORTEST - 1)]
        {
            let config = Config { enabled: true, max_operations, interval };
            assert_eq!(rotation.set(config).await.unwrap_err().status, 400, "{config:?}");
        }
        let config = Config { enabled: false, max_operations: 1_000_000, interval: SHORTEST };
        rotation.set(config).await.unwrap();
        assert_eq!(Rotation::open(&barrier).await.unwrap().config(), config);
    }
}
