//! What readers see: the table as of the last commit, opened once for all who read until the next.
//!
//! To begin a transaction and find the table in it takes as long as to find an entry, and a request reads three or four.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadOnlyTable, ReadableDatabase};

use super::TABLE;

/// The table of one commit.
pub type Table = ReadOnlyTable<&'static str, &'static [u8]>;

/// The table of the last commit, if somebody has asked for it.
#[derive(Default)]
pub struct Latest {
    /// How many commits there were, by those who know that theirs is done.
    commits: AtomicU64,
    /// A table, and how many commits there were when it was opened.
    opened: RwLock<Option<(u64, Arc<Table>)>>,
}

impl Latest {
    /// The table with every commit that was answered.
    pub fn table(&self, database: &Database) -> Result<Arc<Table>, redb::Error> {
        if let Some(table) = self.current() {
            return Ok(table);
        }
        // One after the other: nobody sees less than somebody before.
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let commits = self.commits.load(Ordering::Acquire);
        if let Some((_, table)) = opened.as_ref().filter(|(of, _)| *of == commits) {
            return Ok(Arc::clone(table));
        }
        // Pages that this one still shows can be written over.
        *opened = None;
        let table = Arc::new(database.begin_read()?.open_table(TABLE)?);
        *opened = Some((commits, Arc::clone(&table)));
        Ok(table)
    }

    fn current(&self) -> Option<Arc<Table>> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let current = opened.as_ref().filter(|(of, _)| *of == self.commits.load(Ordering::Acquire));
        current.map(|(_, table)| Arc::clone(table))
    }

    /// A commit is done, and is answered next.
    pub fn is_over(&self) {
        self.commits.fetch_add(1, Ordering::Release);
    }
}
