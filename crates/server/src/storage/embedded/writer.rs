//! Who writes, and when.
//!
//! Writers queue. One thread takes all that wait, makes one transaction of them, and one fsync answers them together: with many writers the disk is not
//! asked for each. Who comes alone, to a disk that is quick, writes by himself: handing over to a thread, and being woken by it, takes as long as writing.
//!
//! The file of a process that was killed has to be gone through at the next start, to find which of its pages are free. When nothing has been written for
//! a while, that is noted in it, and the next start reads the note.

use std::slice;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableTable, Table};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::TABLE;
use super::latest::{self, Latest};
use crate::storage::{Batch, StorageError};

/// How many batches one fsync may answer, and how many bytes they may have: one slow commit must not become a very slow one.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 16 << 20;
/// A disk is quick if a commit takes less: whoever waits by himself keeps a thread that others would be answered by.
const QUICK: Duration = Duration::from_millis(1);
/// How many entries are written at once, and how many bytes, by who comes alone.
const FEW: usize = 16;
const FEW_BYTES: usize = 64 << 10;
/// How often it is looked whether somebody hangs, and whether nothing has been written for a while.
const LOOK: Duration = Duration::from_secs(1);
/// For how long nothing is written before the free pages are noted.
const SETTLE: Duration = Duration::from_secs(5);

/// A batch, and who waits for it.
pub struct Job {
    pub batch: Batch,
    pub answer: oneshot::Sender<Result<(), StorageError>>,
}

/// What whoever writes has.
pub struct Writer {
    /// Before the file: who reads from it ends first.
    latest: Latest,
    database: Database,
    turn: Mutex<Turn>,
    /// Batches that were handed over and are not written.
    waiting: AtomicUsize,
    failed: AtomicBool,
    /// Where those run who write at once.
    runtime: Option<Handle>,
}

/// Whoever has it writes.
struct Turn {
    /// How long a commit takes, by those of late.
    takes: Duration,
    /// When something was written that the note of free pages does not know.
    written: Option<Instant>,
}

/// Somebody who writes. If that panics, the storage has failed.
struct Watched<'a>(&'a Writer);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.0.failed.swap(true, Ordering::Relaxed) {
            tracing::error!("writing to the storage panicked; nothing is written before the next start");
        }
    }
}

impl Writer {
    pub fn new(database: Database) -> Self {
        Self {
            database,
            latest: Latest::default(),
            // Not known to be quick.
            turn: Mutex::new(Turn { takes: 2 * QUICK, written: None }),
            waiting: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            runtime: Handle::try_current().ok(),
        }
    }

    /// The table with every commit that was answered.
    pub fn table(&self) -> Result<Arc<latest::Table>, redb::Error> {
        self.latest.table(&self.database)
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Writes a batch here and now, if nobody else is at it and it keeps this thread for a moment alone. Else gives it back.
    ///
    /// On a disk that hangs it is longer than a moment, for this thread, and for others until one of them is woken: a [`LOOK`] at most.
    pub fn write_at_once(&self, batch: Batch) -> Result<Result<(), StorageError>, Batch> {
        if self.waiting.load(Ordering::Relaxed) > 0 || batch.writes.len() > FEW || batch.size() > FEW_BYTES {
            return Err(batch);
        }
        let mut turn = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(batch),
        };
        if turn.takes >= QUICK {
            return Err(batch);
        }
        let mut outcome = Ok(());
        self.write(&mut turn, slice::from_ref(&batch), |_, one| outcome = one);
        Ok(outcome)
    }

    /// From now on the disk is taken for one whose commits take so long.
    #[cfg(test)]
    pub fn pretend(&self, takes: Duration) {
        self.turn.lock().unwrap().takes = takes;
    }

    /// Does what is done when nothing has been written for a while.
    #[cfg(test)]
    pub fn settle_now(&self) {
        let mut turn = self.turn.lock().unwrap();
        turn.written = turn.written.and(Instant::now().checked_sub(SETTLE));
        self.settle(&mut turn);
    }

    /// Hands a batch over. `None`: there is nobody who would write it.
    pub fn hand_over(&self, jobs: Option<&mpsc::Sender<Job>>, job: Job) -> Option<()> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        jobs?.send(job).ok()
    }

    /// Commits what comes, in groups, until nobody can send any more.
    pub fn write_all(&self, jobs: &mpsc::Receiver<Job>) {
        let _watched = Watched(self);
        while let Some(first) = self.next(jobs) {
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut bytes = first.batch.size();
            let (mut batches, mut answers) = (vec![first.batch], vec![Some(first.answer)]);
            while batches.len() < GROUP
                && bytes < GROUP_BYTES
                && let Ok(Job { batch, answer }) = jobs.try_recv()
            {
                bytes += batch.size();
                batches.push(batch);
                answers.push(Some(answer));
            }
            self.waiting.fetch_sub(batches.len(), Ordering::Relaxed);
            self.write(&mut turn, &batches, |at, outcome| {
                if let Some(answer) = answers[at].take() {
                    // Who asked may have gone away.
                    let _ = answer.send(outcome);
                }
            });
        }
    }

    /// The next batch. `None`: nobody is there to send any more.
    fn next(&self, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            match jobs.recv_timeout(LOOK) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => match self.turn.try_lock() {
                    Ok(mut turn) => self.settle(&mut turn),
                    // Whoever writes at once may hang there, on the thread by which the runtime hears of everything. One that sleeps does not notice; one
                    // that is woken takes that over.
                    Err(TryLockError::WouldBlock) => {
                        if let Some(runtime) = &self.runtime {
                            drop(runtime.spawn(async {}));
                        }
                    }
                    Err(TryLockError::Poisoned(turn)) => self.settle(&mut turn.into_inner()),
                },
            }
        }
    }

    /// One transaction for all batches; tells of each whether it was written, when that is so.
    fn write(&self, turn: &mut Turn, batches: &[Batch], mut tell: impl FnMut(usize, Result<(), StorageError>)) {
        let _watched = Watched(self);
        let begun = Instant::now();
        match write_group(&self.database, batches) {
            Ok(outcomes) => {
                if outcomes.contains(&true) {
                    self.latest.is_over();
                    turn.takes = (turn.takes * 7 + begun.elapsed()) / 8;
                    turn.written = Some(Instant::now());
                }
                for (at, held) in outcomes.into_iter().enumerate() {
                    tell(at, if held { Ok(()) } else { Err(StorageError::Conflict) });
                }
            }
            Err(error) => {
                self.fail(&error);
                for at in 0..batches.len() {
                    tell(at, Err(error.to_error()));
                }
            }
        }
    }

    /// What the disk has now is seen when the file is opened again; until then redb refuses to write.
    fn fail(&self, error: &Unwritten) {
        self.failed.store(true, Ordering::Relaxed);
        tracing::error!(%error, "the storage could not be written; nothing is before the next start");
    }

    /// Notes which pages are free, if nothing has been written for a while and they are not the same any more.
    fn settle(&self, turn: &mut Turn) {
        if turn.written.is_none_or(|written| written.elapsed() < SETTLE) || self.has_failed() {
            return;
        }
        turn.written = None;
        let noted = begin(&self.database).and_then(|mut transaction| {
            transaction.set_quick_repair(true);
            transaction.commit().map_err(Unwritten::Committing)
        });
        if let Err(error) = noted {
            self.fail(&error);
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

/// A transaction that is on the disk when it is committed.
fn begin(database: &Database) -> Result<redb::WriteTransaction, Unwritten> {
    let before = |error: redb::Error| Unwritten::Before(error);
    let mut transaction = database.begin_write().map_err(|error| before(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| before(error.into()))?;
    Ok(transaction)
}

/// One transaction for all of `group`; for each, whether its conditions held.
fn write_group(database: &Database, group: &[Batch]) -> Result<Vec<bool>, Unwritten> {
    let transaction = begin(database)?;
    let outcomes = apply(&transaction, group)?;
    if outcomes.contains(&true) {
        transaction.commit().map_err(Unwritten::Committing)?;
    } else {
        transaction.abort().map_err(|error| Unwritten::Before(error.into()))?;
    }
    Ok(outcomes)
}

fn apply(transaction: &redb::WriteTransaction, group: &[Batch]) -> Result<Vec<bool>, redb::Error> {
    let mut table = transaction.open_table(TABLE)?;
    let mut outcomes = Vec::with_capacity(group.len());
    for batch in group {
        let held = holds(&table, batch)?;
        if held {
            for (key, value) in &batch.writes {
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
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_storage_whose_writing_panicked_has_failed() {
        let database = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let writer = Writer::new(database);
        let batch = Batch { conditions: Vec::new(), writes: vec![("a".to_owned(), Some(b"1".to_vec()))] };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut turn = writer.turn.lock().unwrap();
            writer.write(&mut turn, slice::from_ref(&batch), |_, _| panic!("as it should"));
        }));
        assert!(panicked.is_err() && writer.has_failed() && writer.turn.is_poisoned());
    }
}
