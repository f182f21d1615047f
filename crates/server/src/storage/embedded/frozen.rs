//! All entries as of one commit: its table is kept open, and redb writes over none of its pages.
//!
//! What is written meanwhile goes into other pages, so the file grows by what changes for as long as this is kept.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::latest::Table;
use crate::storage::{Entry, FROZEN_BYTES, FROZEN_ENTRIES, Frozen, StorageError};

/// The table of one commit, and how far it was read.
pub struct Held {
    table: Arc<Table>,
    from: String,
}

impl Held {
    pub fn new(table: Arc<Table>) -> Self {
        Self { table, from: String::new() }
    }
}

#[async_trait]
impl Frozen for Held {
    async fn next(&mut self) -> Result<Vec<Entry>, StorageError> {
        let fail = StorageError::backend("read");
        let (table, from) = (Arc::clone(&self.table), self.from.clone());
        // It reads a megabyte from the disk: those who wait for a single entry do not wait for that.
        let read = spawn_blocking(move || step(&table, &from)).await.map_err(|error| fail(error.to_string()))?;
        let entries = read.map_err(|error| fail(error.to_string()))?;
        if let Some((last, _)) = entries.last() {
            self.from = format!("{last}\0");
        }
        Ok(entries)
    }
}

fn step(table: &Table, from: &str) -> Result<Vec<Entry>, redb::Error> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for entry in table.range::<&str>(from..)?.take(FROZEN_ENTRIES) {
        let (key, value) = entry?;
        bytes += value.value().len();
        entries.push((key.value().to_owned(), value.value().to_vec()));
        if bytes >= FROZEN_BYTES {
            break;
        }
    }
    Ok(entries)
}
