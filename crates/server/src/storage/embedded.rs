//! Storage in one file, by redb: a B-tree with copy-on-write pages, so that the file holds the last commit whatever happens.
//!
//! Readers see the last commit and wait for nobody. Who writes, and when: `writer`. Why redb: docs/decisions/embedded-storage.md.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::sync::oneshot;

use self::frozen::Held;
use self::writer::{Job, Writer};
use super::{Batch, Entry, Frozen, SCAN_BYTES, Scan, Storage, StorageError, behind, child};

mod frozen;
mod latest;
mod writer;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
/// Pages kept in memory; behind them is the system's cache.
const CACHE: usize = 16 << 20;
/// How long it is waited for that the file is closed. On a disk that hangs it may never be; then it is as a kill leaves it.
const CLOSE: Duration = Duration::from_secs(10);

/// Entries in a file.
pub struct Embedded {
    writer: Arc<Writer>,
    /// What is handed over to the thread that writes; `None` when it is to end.
    jobs: Option<mpsc::Sender<Job>>,
    /// Disconnected when it has ended.
    ended: Mutex<mpsc::Receiver<()>>,
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
        // Readers find the table from the first moment. A start that has nothing to write does not wait for the disk.
        let found = database.begin_read()?.open_table(TABLE).map(drop);
        match found {
            Ok(()) => {}
            Err(TableError::TableDoesNotExist(_)) => {
                let transaction = database.begin_write()?;
                transaction.open_table(TABLE)?;
                transaction.commit()?;
            }
            Err(error) => return Err(error.into()),
        }
        let writer = Arc::new(Writer::new(database));
        let (jobs, coming) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let theirs = Arc::clone(&writer);
        let write = move || {
            theirs.write_all(&coming);
            drop(theirs);
            drop::<mpsc::Sender<()>>(ends);
        };
        std::thread::Builder::new().name("storage".to_owned()).spawn(write)?;
        Ok(Self { writer, jobs: Some(jobs), ended: Mutex::new(ended) })
    }

    fn read(&self, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
        let table = self.writer.table()?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    fn names(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, redb::Error> {
        let table = self.writer.table()?;
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
        let batch = match self.writer.write_at_once(batch) {
            Ok(written) => return written,
            Err(batch) => batch,
        };
        // Whether it was at this batch when it ended nobody knows.
        let gone = || StorageError::Unknown("the thread that writes has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        self.writer.hand_over(self.jobs.as_ref(), Job { batch, answer }).ok_or_else(gone)?;
        answered.await.map_err(|_| gone())?
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        let table = self.writer.table().map_err(|error| StorageError::backend("read")(error.to_string()))?;
        Ok(Box::new(Held::new(table)))
    }

    fn has_failed(&self) -> bool {
        self.writer.has_failed()
    }
}

impl Drop for Embedded {
    /// Closes the file, so that the next start has nothing to look for in it.
    fn drop(&mut self) {
        self.jobs = None;
        // Then this is the last that has it.
        let _ = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(CLOSE);
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
        // Not every file system has links. What somebody else put there meanwhile stays.
        Err(_) => match renameat_with(CWD, &new, CWD, path, RenameFlags::NOREPLACE) {
            Err(error) if error == Errno::EXIST => Ok(()),
            renamed => renamed.map_err(std::io::Error::from),
        },
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
            let table = self.writer.table()?;
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

#[cfg(test)]
mod tests;
