//! How long tests wait for what other processes do.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A minute's waiting, by the clock and by turns. Where a machine is so busy that whoever waits hardly gets a turn, what is waited for gets none either:
/// the clock alone would say that it does not come.
pub struct Patience {
    begun: Instant,
    turns: Cell<u32>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { begun: Instant::now(), turns: Cell::new(0) }
    }
}

impl Patience {
    const LEAST: Duration = Duration::from_mins(1);
    const MOST: Duration = Duration::from_mins(15);
    /// In a minute with a moment's sleep each there are more.
    const TURNS: u32 = 1500;

    /// Whether to look again. Called once a turn.
    pub fn is_left(&self) -> bool {
        self.turns.set(self.turns.get() + 1);
        let passed = self.begun.elapsed();
        passed < Self::LEAST || passed < Self::MOST && self.turns.get() < Self::TURNS
    }
}
