//! Chances that a seed gives again.

use bulla_test_support::random::Random;

/// Of one request: what others are does not change it.
pub struct Dice(Random);

impl Dice {
    pub fn of(seed: u64, world: u64, case: u64) -> Self {
        let mut random = Random(seed ^ world.wrapping_mul(0x1_0000_01b3) ^ case.wrapping_mul(0x9e37_79b1_85eb_ca87));
        random.next();
        Self(random)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// So many times of a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}
