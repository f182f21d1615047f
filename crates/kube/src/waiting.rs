//! Whole objects that wait to be worked on, packed into few large blocks.
//!
//! As the API server's JSON again, because ten thousand objects of many small strings, with what is remembered of each in between, leave
//! memory that is free and cannot be given back: each page of it has a name of twenty bytes left. Packed they are a third as large, and a
//! block whose objects are all taken goes back to the system.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that blocks may take together; what is beyond is fetched again when its turn comes.
pub const MOST: usize = 16 << 20;
/// The size of a block, but of one with a larger object.
const BLOCK: usize = 256 << 10;

/// The objects.
#[derive(Default)]
pub struct Waiting {
    blocks: Vec<Block>,
    /// The block that is being filled.
    current: usize,
    /// Bytes of all blocks.
    held: usize,
    /// What an object is written to before its length is known.
    draft: Vec<u8>,
}

#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// How many objects in it still wait.
    objects: usize,
}

/// Where an object is. It has to be taken or left.
#[derive(Debug)]
pub struct Place {
    block: usize,
    start: usize,
    end: usize,
}

impl Waiting {
    /// Keeps an object, if there is room.
    pub fn put(&mut self, object: &impl Serialize) -> Option<Place> {
        self.draft.clear();
        serde_json::to_writer(&mut self.draft, object).ok()?;
        let length = self.draft.len();
        let fits = |block: &Block| block.bytes.capacity() - block.bytes.len() >= length;
        if !self.blocks.get(self.current).is_some_and(fits) {
            let size = length.max(BLOCK);
            if self.held + size > MOST {
                return None;
            }
            let empty = self.blocks.iter().position(|block| block.bytes.capacity() == 0);
            self.current = empty.unwrap_or_else(|| {
                self.blocks.push(Block::default());
                self.blocks.len() - 1
            });
            let block = self.blocks.get_mut(self.current)?;
            block.bytes = Vec::with_capacity(size);
            self.held += block.bytes.capacity();
        }
        let block = self.blocks.get_mut(self.current)?;
        let start = block.bytes.len();
        block.bytes.extend_from_slice(&self.draft);
        block.objects += 1;
        let place = Place { block: self.current, start, end: start + length };
        if length > BLOCK {
            self.draft = Vec::new();
        }
        Some(place)
    }

    /// Gives an object, which is not kept after.
    pub fn take<T: DeserializeOwned>(&mut self, place: Place) -> Option<T> {
        let bytes = self.blocks.get(place.block)?.bytes.get(place.start..place.end)?;
        let object = serde_json::from_slice(bytes).ok();
        self.leave(place);
        object
    }

    /// Lets go of an object.
    #[allow(clippy::needless_pass_by_value, reason = "a place is good for once")]
    pub fn leave(&mut self, place: Place) {
        let Some(block) = self.blocks.get_mut(place.block) else { return };
        block.objects = block.objects.saturating_sub(1);
        if block.objects == 0 {
            self.held -= block.bytes.capacity();
            *block = Block::default();
        }
    }

    /// Bytes of all blocks.
    pub const fn bytes(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn objects_come_out_as_they_went_in_and_leave_nothing() {
        let mut waiting = Waiting::default();
        let text = |n: usize| format!("{n} {}", "x".repeat(n * 37 % 5000));
        let mut places: Vec<_> = (0..500).map(|n| Some(waiting.put(&text(n)).unwrap())).collect();
        let full = waiting.bytes();
        assert!((500 * 2000..500 * 4000).contains(&full), "{full}");
        // In another order than they came; some are only left.
        for n in (0..500).step_by(2).chain((0..500).skip(1).step_by(2).collect::<Vec<_>>().into_iter().rev()) {
            let place = places[n].take().unwrap();
            if n % 3 == 0 {
                waiting.leave(place);
            } else {
                assert_eq!(waiting.take::<String>(place).unwrap(), text(n));
            }
        }
        assert_eq!(waiting.bytes(), 0);
        let again = waiting.put(&"again").unwrap();
        assert_eq!((waiting.take::<String>(again).unwrap().as_str(), waiting.blocks.len() < 10), ("again", true));
    }

    #[test]
    fn there_is_an_end_to_it_also_for_large_objects() {
        let mut waiting = Waiting::default();
        let large = "x".repeat(BLOCK * 3);
        let mut places = Vec::new();
        while let Some(place) = waiting.put(&large) {
            places.push(place);
        }
        assert!(waiting.bytes() <= MOST && places.len() == MOST / (BLOCK * 3 + 2), "{}", places.len());
        for place in places {
            waiting.leave(place);
        }
        assert_eq!(waiting.bytes(), 0);
    }
}
