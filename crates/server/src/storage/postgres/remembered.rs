//! What the server remembers of the database, so that what is asked for again and again (a token, its policies, a busy entry) is not read each time.
//!
//! One server writes to a storage, so it knows of all that changes: what it sends it forgets before, and remembers when the database has said that it is
//! there. What is read while it is written is not remembered. Whether what is remembered may be believed is the tenure's business: for a moment after
//! the database was heard to be ours, see [`super::tenure`].
//!
//! Values are as they are in the database, encrypted.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::storage::Batch;

/// How many bytes are remembered at most.
const BYTES: usize = 4 << 20;
/// What an entry takes beside its key and value, about.
const ENTRY: usize = 128;

/// An entry's value; `None`: it is known not to be there.
type Value = Option<Box<[u8]>>;

/// What is known of an entry: its value, or that it is not there.
#[derive(Debug, PartialEq)]
pub(super) struct Known(pub Option<Vec<u8>>);

/// What is remembered.
#[derive(Default)]
pub(super) struct Remembered(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was looked at of late, and what before that. When the first is half of all, it becomes the second, which is forgotten.
    young: HashMap<String, Value>,
    old: HashMap<String, Value>,
    /// Bytes of the first.
    bytes: usize,
    /// Keys that are being written.
    writing: HashSet<String>,
    /// Keys that are being read.
    reading: HashMap<String, Readers>,
    /// Something was sent of which nobody knows what became of it.
    is_blind: bool,
}

#[derive(Default)]
struct Readers {
    count: usize,
    /// It was written meanwhile: what they read may be older.
    is_late: bool,
}

/// Somebody reads an entry.
pub(super) struct Reading<'r> {
    remembered: &'r Remembered,
    key: &'r str,
}

impl Remembered {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `key`, if it is known.
    pub fn recall(&self, key: &str) -> Option<Known> {
        let mut state = self.state();
        let value = if let Some(value) = state.young.get(key) {
            value.as_deref().map(<[u8]>::to_vec)
        } else {
            let (key, value) = state.old.remove_entry(key)?;
            let found = value.as_deref().map(<[u8]>::to_vec);
            state.keep(key, value);
            found
        };
        Some(Known(value))
    }

    /// `key` is read from now on.
    pub fn reads<'r>(&'r self, key: &'r str) -> Reading<'r> {
        let mut state = self.state();
        let is_late = state.is_blind || state.writing.contains(key);
        let readers = state.reading.entry(key.to_owned()).or_default();
        readers.count += 1;
        readers.is_late |= is_late;
        Reading { remembered: self, key }
    }

    /// These are sent now.
    pub fn sends(&self, batches: &[&Batch]) {
        let mut state = self.state();
        for (key, _) in batches.iter().flat_map(|batch| &batch.writes) {
            state.forget(key);
            state.writing.insert(key.clone());
        }
    }

    /// The database has said that `batch` is there.
    pub fn written(&self, batch: &Batch) {
        let mut state = self.state();
        for (key, value) in &batch.writes {
            // The last of a key's writes counts.
            state.forget(key);
            state.keep(key.clone(), value.as_deref().map(Box::from));
        }
    }

    /// The database has refused `batch`: it has something else than what is remembered, if somebody has changed it by hand.
    pub fn refused(&self, batch: &Batch) {
        let mut state = self.state();
        batch.conditions.iter().for_each(|(key, _)| state.forget(key));
    }

    /// What became of all that was sent is known.
    pub fn is_settled(&self) {
        let mut state = self.state();
        state.writing.clear();
        state.is_blind = false;
    }

    /// What became of something that was sent is not known: nothing is remembered until it is.
    pub fn is_unsettled(&self) {
        let mut state = self.state();
        (state.young, state.old, state.writing) = Default::default();
        state.bytes = 0;
        state.is_blind = true;
        state.reading.values_mut().for_each(|readers| readers.is_late = true);
    }
}

impl State {
    fn keep(&mut self, key: String, value: Value) {
        let bytes = key.len() + value.as_ref().map_or(0, |value| value.len()) + ENTRY;
        if self.bytes + bytes > BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        // One that is longer than all is not kept.
        if bytes <= BYTES / 2 {
            self.bytes += bytes;
            self.young.insert(key, value);
        }
    }

    fn forget(&mut self, key: &str) {
        self.old.remove(key);
        if let Some(value) = self.young.remove(key) {
            self.bytes -= key.len() + value.map_or(0, |value| value.len()) + ENTRY;
        }
        if let Some(readers) = self.reading.get_mut(key) {
            readers.is_late = true;
        }
    }
}

impl Reading<'_> {
    /// What was read.
    pub fn found(self, value: Option<&[u8]>) {
        let mut state = self.remembered.state();
        let is_known = state.young.contains_key(self.key) || state.old.contains_key(self.key);
        if !is_known && state.reading.get(self.key).is_some_and(|readers| !readers.is_late) {
            state.keep(self.key.to_owned(), value.map(Box::from));
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut state = self.remembered.state();
        if let Some(readers) = state.reading.get_mut(self.key) {
            readers.count -= 1;
            if readers.count == 0 {
                state.reading.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(key: &str, value: Option<&str>) -> Batch {
        Batch { conditions: Vec::new(), writes: vec![(key.to_owned(), value.map(|value| value.as_bytes().to_vec()))] }
    }

    fn known(value: &str) -> Known {
        Known(Some(value.as_bytes().to_vec()))
    }

    #[test]
    fn what_was_read_or_written_is_known_until_it_is_written_again() {
        let remembered = Remembered::default();
        assert_eq!(remembered.recall("k"), None);
        remembered.reads("k").found(Some(b"1"));
        remembered.reads("none").found(None);
        assert_eq!((remembered.recall("k"), remembered.recall("none")), (Some(known("1")), Some(Known(None))));
        let batch = write("k", Some("2"));
        remembered.sends(&[&batch]);
        assert_eq!(remembered.recall("k"), None);
        remembered.written(&batch);
        remembered.is_settled();
        assert_eq!(remembered.recall("k"), Some(known("2")));
        let batch = write("k", None);
        remembered.sends(&[&batch]);
        // It was refused.
        remembered.is_settled();
        assert_eq!(remembered.recall("k"), None);
        remembered.sends(&[&batch]);
        remembered.written(&batch);
        assert_eq!(remembered.recall("k"), Some(Known(None)));
    }

    #[test]
    fn what_was_read_before_or_during_a_write_is_not_remembered() {
        let remembered = Remembered::default();
        let batch = write("k", Some("2"));
        let before = remembered.reads("k");
        remembered.sends(&[&batch]);
        before.found(Some(b"1"));
        let during = remembered.reads("k");
        remembered.is_settled();
        during.found(Some(b"1"));
        assert_eq!(remembered.recall("k"), None);
        // Whoever reads after it does, though another reads since before.
        let before = remembered.reads("k");
        remembered.sends(&[&batch]);
        remembered.written(&batch);
        remembered.is_settled();
        before.found(Some(b"1"));
        assert_eq!(remembered.recall("k"), Some(known("2")));
    }

    #[test]
    fn nothing_is_remembered_while_something_is_open() {
        let remembered = Remembered::default();
        remembered.reads("other").found(Some(b"1"));
        let since_before = remembered.reads("k");
        remembered.sends(&[&write("w", Some("2"))]);
        remembered.is_unsettled();
        since_before.found(Some(b"1"));
        remembered.reads("k").found(Some(b"1"));
        let during = remembered.reads("late");
        assert_eq!((remembered.recall("other"), remembered.recall("k")), (None, None));
        remembered.is_settled();
        during.found(Some(b"1"));
        assert_eq!(remembered.recall("late"), None);
        remembered.reads("k").found(Some(b"1"));
        assert_eq!(remembered.recall("k"), Some(known("1")));
    }

    #[test]
    fn it_is_bounded_and_what_is_looked_at_stays() {
        let remembered = Remembered::default();
        let value = vec![7; 10_000];
        remembered.reads("busy").found(Some(b"1"));
        for number in 0..10_000 {
            let key = format!("k{number}");
            remembered.reads(&key).found(Some(&value));
            assert!(remembered.recall("busy").is_some(), "{number}");
        }
        let state = remembered.state();
        let held: usize = state.young.values().chain(state.old.values()).flatten().map(|value| value.len()).sum();
        assert!(held <= BYTES && held > BYTES / 4, "{held}");
        drop(state);
        assert!(remembered.recall("k0").is_none() && remembered.recall("k9999").is_some());
        remembered.reads("too long").found(Some(&vec![0; BYTES]));
        assert!(remembered.recall("too long").is_none());
        assert!(remembered.state().reading.is_empty());
    }

    proptest! {
        /// Readers and a writer, in any order: what is recalled is what the database has.
        #[test]
        fn what_is_recalled_is_what_is_there(steps in prop::collection::vec((0..5_u8, 0..3_usize), 0..60)) {
            const KEYS: [&str; 3] = ["a", "b", "c"];
            let remembered = Remembered::default();
            let mut database: HashMap<&str, Vec<u8>> = HashMap::new();
            let mut readers: Vec<(Reading<'_>, Option<Vec<u8>>)> = Vec::new();
            let mut sent: Option<Batch> = None;
            for (number, (step, which)) in steps.into_iter().enumerate() {
                let key = KEYS[which];
                match step {
                    // Somebody begins to read, and sees what is there now.
                    0 => readers.push((remembered.reads(key), database.get(key).cloned())),
                    1 if !readers.is_empty() => {
                        let (reading, value) = readers.swap_remove(which % readers.len());
                        reading.found(value.as_deref());
                    }
                    2 if sent.is_none() => {
                        let batch = write(key, (number % 5 > 0).then_some(number.to_string()).as_deref());
                        remembered.sends(&[&batch]);
                        sent = Some(batch);
                    }
                    // It is done, and the answer comes, or does not.
                    3 | 4 => {
                        let Some(batch) = sent.take() else { continue };
                        let (key, value) = &batch.writes[0];
                        let key = KEYS.iter().find(|one| *one == key).unwrap();
                        match value {
                            Some(value) => drop(database.insert(key, value.clone())),
                            None => drop(database.remove(key)),
                        }
                        if step == 3 {
                            remembered.written(&batch);
                        } else {
                            remembered.is_unsettled();
                        }
                        if step == 3 || which > 0 {
                            remembered.is_settled();
                        }
                    }
                    _ => {}
                }
                for key in KEYS {
                    if let Some(Known(value)) = remembered.recall(key) {
                        prop_assert_eq!(&value, &database.get(key).cloned(), "{}", key);
                    }
                }
            }
        }
    }
}
