//! Storage in one file, by redb: a B-tree with copy-on-write pages, so that the file holds the last commit whatever happens.
//!
//! Writers queue. One thread takes all that wait, makes one transaction of them, and one fsync answers them together: with many writers the
//! disk is not asked for each. Readers see the last commit and wait for nobody. Why redb: docs/decisions/embedded-storage.md.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use async_trait::async_trait;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, Table, TableDefinition};
use tokio::sync::oneshot;

use super::{Batch, Entry, SCAN_BYTES, Scan, Storage, StorageError, behind, child};

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Pages kept in memory; behind them is the system's cache.
const CACHE: usize = 16 << 20;
/// How many batches one fsync may answer, and how many bytes they may have: one slow commit must not become a very slow one.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 16 << 20;

/// Entries in a file.
pub struct Embedded {
    database: Arc<Database>,
    writer: mpsc::Sender<Job>,
    failed: Arc<AtomicBool>,
}

struct Job {
    batch: Batch,
    answer: oneshot::Sender<Result<(), StorageError>>,
}

impl Embedded {
    /// Opens the file at `path`, mode 0600, or makes it.
    ///
    /// # Errors
    /// [`StorageError::Backend`]: another process has it open, it is damaged, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let fail = |reason: String| StorageError::backend("open")(format!("{}: {reason}", path.display()));
        if !path.exists() {
            make(path).map_err(|error| fail(error.to_string()))?;
        }
        let file = File::options().read(true).write(true).open(path).map_err(|error| fail(error.to_string()))?;
        // It would be taken for a new one, and whoever comes first could initialize the server anew.
        if file.metadata().is_ok_and(|about| about.len() == 0) {
            return Err(fail("it is empty; restore it, or delete it to begin anew".to_owned()));
        }
        database(file).and_then(Self::begin).map_err(|error| fail(error.to_string()))
    }

    /// Opens the file at `path` if it is there, and makes nothing.
    ///
    /// # Errors
    /// As [`Embedded::open`]; and if it is not there, or nobody has kept anything in it.
    pub fn open_existing(path: &Path) -> Result<Self, StorageError> {
        let fail = |reason: String| StorageError::backend("open")(format!("{}: {reason}", path.display()));
        let file = File::options().read(true).write(true).open(path).map_err(|error| fail(error.to_string()))?;
        if file.metadata().is_ok_and(|about| about.len() == 0) {
            return Err(fail("it is empty".to_owned()));
        }
        let opened = database(file).and_then(|database| {
            // One of another program is left as it is.
            database.begin_read()?.open_table(TABLE)?;
            Self::begin(database)
        });
        opened.map_err(|error| fail(error.to_string()))
    }

    fn begin(database: Database) -> Result<Self, redb::Error> {
        // Readers find the table from the first moment.
        let transaction = database.begin_write()?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        let database = Arc::new(database);
        let (writer, jobs) = mpsc::channel();
        let failed = Arc::new(AtomicBool::new(false));
        let theirs = (Arc::clone(&database), Arc::clone(&failed));
        let write = move || write_all(&theirs.0, &theirs.1, &jobs);
        std::thread::Builder::new().name("storage".to_owned()).spawn(write)?;
        Ok(Self { database, writer, failed })
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn names(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, redb::Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let mut names: Vec<String> = Vec::new();
        let mut from = if after.is_empty() { prefix.to_owned() } else { behind(prefix, after) };
        'seek: while limit == 0 || names.len() < limit {
            for entry in table.range::<&str>(from.as_str()..)? {
                let (key, _) = entry?;
                let Some(name) = child(prefix, key.value()) else { return Ok(names) };
                if name.is_empty() {
                    continue;
                }
                names.push(name.to_owned());
                if names.len() == limit {
                    return Ok(names);
                }
                // Past a folder's contents in one step; plain entries follow each other.
                if name.ends_with('/') {
                    from = behind(prefix, name);
                    continue 'seek;
                }
            }
            break;
        }
        Ok(names)
    }
}

#[async_trait]
impl Storage for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.read(key).map_err(|error| StorageError::backend("read")(error.to_string()))
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        self.names(prefix, after, limit).map_err(|error| StorageError::backend("read")(error.to_string()))
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        batch.checked()?;
        // Whether it was at this batch when it ended nobody knows.
        let gone = || StorageError::Unknown("the thread that writes has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.writer.send(Job { batch, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Makes a file with nothing in it at `path`, unless somebody else does first. It gets its name when it is whole, so that one that is not whole is
/// always damage: a start that was killed leaves a file of another name, which nothing reads.
fn make(path: &Path) -> Result<(), redb::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", crate::core::hex(&random)));
    let new = PathBuf::from(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
    drop(database(file)?);
    let named = match std::fs::hard_link(&new, path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system has links.
        Err(_) => std::fs::rename(&new, path),
        Ok(()) => Ok(()),
    };
    let _ = std::fs::remove_file(&new);
    named?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn database(file: File) -> Result<Database, redb::Error> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    Ok(builder.create_with_backend(redb::backends::FileBackend::new(file)?)?)
}

#[async_trait]
impl Scan for Embedded {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        let entries = || -> Result<Vec<Entry>, redb::Error> {
            let table = self.database.begin_read()?.open_table(TABLE)?;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for entry in table.range::<&str>(from..)?.take(limit) {
                let (key, value) = entry?;
                entries.push((key.value().to_owned(), value.value().to_vec()));
                bytes += value.value().len();
                if bytes >= SCAN_BYTES {
                    break;
                }
            }
            Ok(entries)
        };
        entries().map_err(|error| StorageError::backend("read")(error.to_string()))
    }
}

/// Commits what comes, in groups, until nobody can send any more.
fn write_all(database: &Database, failed: &AtomicBool, jobs: &mpsc::Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut bytes = first.batch.size();
        let mut group = vec![first];
        while group.len() < GROUP
            && bytes < GROUP_BYTES
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.batch.size();
            group.push(job);
        }
        match write_group(database, &group) {
            Ok(outcomes) => {
                for (job, held) in group.into_iter().zip(outcomes) {
                    // Who asked may have gone away.
                    let _ = job.answer.send(if held { Ok(()) } else { Err(StorageError::Conflict) });
                }
            }
            Err(error) => {
                // What the disk has now is seen when the file is opened again; until then redb refuses to write.
                failed.store(true, Ordering::Relaxed);
                tracing::error!(%error, "the storage could not be written; nothing is before the next start");
                for job in group {
                    let _ = job.answer.send(Err(error.to_error()));
                }
            }
        }
    }
}

/// Why a group was not written.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    /// Nothing of it was.
    #[error("{0}")]
    Before(#[from] redb::Error),
    /// It was written, and the disk did not say that it has it: after the next start it may be there. What is read until then is what
    /// was there before, and proves nothing.
    #[error("{0}")]
    Committing(redb::CommitError),
}

impl Unwritten {
    fn to_error(&self) -> StorageError {
        match self {
            Self::Before(error) => StorageError::backend("write")(error.to_string()),
            Self::Committing(error) => StorageError::Unknown(error.to_string()),
        }
    }
}

/// One transaction for all of `group`; for each, whether its conditions held.
fn write_group(database: &Database, group: &[Job]) -> Result<Vec<bool>, Unwritten> {
    let before = |error: redb::Error| Unwritten::Before(error);
    let mut transaction = database.begin_write().map_err(|error| before(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| before(error.into()))?;
    let outcomes = apply(&transaction, group)?;
    if outcomes.contains(&true) {
        transaction.commit().map_err(Unwritten::Committing)?;
    } else {
        transaction.abort().map_err(|error| before(error.into()))?;
    }
    Ok(outcomes)
}

fn apply(transaction: &redb::WriteTransaction, group: &[Job]) -> Result<Vec<bool>, redb::Error> {
    let mut table = transaction.open_table(TABLE)?;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let held = holds(&table, &job.batch)?;
        if held {
            for (key, value) in &job.batch.writes {
                match value {
                    Some(value) => table.insert(key.as_str(), value.as_slice())?,
                    None => table.remove(key.as_str())?,
                };
            }
        }
        outcomes.push(held);
    }
    Ok(outcomes)
}

fn holds(table: &Table<'_, &str, &[u8]>, batch: &Batch) -> Result<bool, redb::Error> {
    for (key, expected) in &batch.conditions {
        let found = table.get(key.as_str())?;
        if found.as_ref().map(redb::AccessGuard::value) != expected.as_deref() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Batch {
    fn size(&self) -> usize {
        self.writes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

#[cfg(test)]
mod tests;
