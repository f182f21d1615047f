//! The connection that writes.
//!
//! One task takes all batches that wait and sends them as one statement: one way there and back, one flush of the database's log. A batch whose
//! keys one before it in the group writes waits for the next group.
//!
//! Where the answer is lost, the next connection claims the table's row first. That waits for what the lost one is still at; after it, that can
//! do nothing more, and the row says whether the group was written. So it is known, not guessed, and what was not written is sent again.
//!
//! Where that takes longer than who asked waits, the answer is that nobody knows, and it is found out afterwards. If it was done after all, what is
//! kept in memory was made without it: the tenure ends.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::Statement;
use tokio_postgres::error::Severity;

use super::connect::{Session, Times, Trouble};
use super::remembered::Remembered;
use super::tenure::{End, Sent, Tenure};
use crate::storage::{Batch, StorageError};

/// How many batches one statement may have, and how many bytes.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 8 << 20;

/// How many batches wait at most.
pub(super) const QUEUE: usize = 4096;

/// A batch and who waits for it, until when.
pub(super) struct Job {
    pub batch: Batch,
    pub answer: oneshot::Sender<Result<(), StorageError>>,
    pub deadline: Instant,
}

impl Job {
    /// The job, if somebody waits for it still and there is time for it. If not, it is answered and never written.
    fn in_time(self, times: Times) -> Option<Self> {
        if !self.answer.is_closed() && Instant::now() < send_before(self.deadline, times) {
            return Some(self);
        }
        let _ = self.answer.send(Err(StorageError::backend("write")(TOO_SLOW.to_owned())));
        None
    }

    fn bytes(&self) -> usize {
        let entries = self.batch.conditions.iter().chain(&self.batch.writes);
        entries.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// Nothing is sent later than this: its answer would be waited for too short, and what became of it be unknown.
fn send_before(deadline: Instant, times: Times) -> Instant {
    deadline.checked_sub(times.statement / 2).unwrap_or(deadline)
}

const TOO_SLOW: &str = "the database was too slow; nothing was written";

/// Writes what comes, in groups, until nobody can send any more.
pub(super) async fn write_all(tenure: Arc<Tenure>, remembered: Option<Arc<Remembered>>, mut jobs: mpsc::Receiver<Job>) {
    let times = tenure.connector.times;
    sleep_until(tenure.writes_from).await;
    let mut writer = Writer { tenure, remembered, connection: None, is_open: false };
    let mut next: Option<Job> = None;
    loop {
        let waiting = next.take();
        let first = if waiting.is_some() {
            waiting
        } else {
            tokio::select! {
                biased;
                job = jobs.recv() => job,
                // Nothing that it waits for is lost with it: what is open stays open until the row was seen.
                () = writer.find_out(), if writer.is_open => continue,
            }
        };
        let Some(first) = first else { return };
        let mut group = Group::default();
        next = first.in_time(times).and_then(|job| group.add(job));
        while next.is_none()
            && let Ok(job) = jobs.try_recv()
        {
            next = job.in_time(times).and_then(|job| group.add(job));
        }
        if !group.jobs.is_empty() {
            writer.write(group.jobs).await;
        }
    }
}

#[derive(Default)]
struct Group {
    jobs: Vec<Job>,
    written: HashSet<String>,
    bytes: usize,
}

impl Group {
    /// Adds a job, or gives it back.
    fn add(&mut self, job: Job) -> Option<Job> {
        let (batch, bytes) = (&job.batch, job.bytes());
        let mut keys = batch.conditions.iter().chain(&batch.writes).map(|(key, _)| key);
        let is_full = self.jobs.len() == GROUP || self.bytes + bytes > GROUP_BYTES;
        if !self.jobs.is_empty() && (is_full || keys.any(|key| self.written.contains(key))) {
            return Some(job);
        }
        self.bytes += bytes;
        self.written.extend(batch.writes.iter().map(|(key, _)| key.clone()));
        self.jobs.push(job);
        None
    }
}

struct Writer {
    tenure: Arc<Tenure>,
    remembered: Option<Arc<Remembered>>,
    connection: Option<Connection>,
    /// Whether something was sent of which nobody knows whether it was written.
    is_open: bool,
}

struct Connection {
    session: Session,
    commit: Statement,
    writer: i64,
}

/// The batches of a group that were refused.
type Refused = Vec<i32>;

/// Why a group was not written.
enum Unwritten {
    /// Nothing of it was, and will not be.
    Nothing(Trouble),
    /// It may have been.
    Unknown(String),
    /// It cannot be any more.
    Ended(StorageError),
}

impl Writer {
    /// Looks what became of what is open, again and again until that is known.
    async fn find_out(&mut self) {
        let times = self.tenure.connector.times;
        while self.is_open && self.tenure.ended().is_ok() {
            sleep(times.pause).await;
            match self.connect(Instant::now() + times.total).await {
                Ok(Some(_)) => drop(self.tenure.end(End::Late)),
                Ok(None) => {}
                Err(Trouble::Fenced) => drop(self.tenure.end(End::Fenced)),
                Err(Trouble::Passing(reason) | Trouble::Lasting(reason)) => {
                    tracing::debug!(reason, "what became of a commit is not known yet");
                }
            }
        }
        self.is_open = false;
        self.settle();
    }

    /// What is remembered hears what became of all that was sent, or that it is not known.
    fn settle(&self) {
        let Some(remembered) = &self.remembered else { return };
        if self.is_open { remembered.is_unsettled() } else { remembered.is_settled() }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let Some(deadline) = jobs.iter().map(|job| job.deadline).min() else { return };
        let batches: Vec<&Batch> = jobs.iter().map(|job| &job.batch).collect();
        if let Some(remembered) = &self.remembered {
            remembered.sends(&batches);
        }
        let outcome = self.commit(&batches, deadline).await;
        if let (Some(remembered), Ok(refused)) = (&self.remembered, &outcome) {
            for (number, batch) in (0..).zip(&batches) {
                if refused.contains(&number) { remembered.refused(batch) } else { remembered.written(batch) }
            }
        }
        let several = jobs.len() > 1;
        let one_by_one = several && matches!(outcome, Err(Unwritten::Nothing(Trouble::Lasting(_))));
        if !one_by_one {
            self.settle();
        }
        match outcome {
            Ok(refused) => {
                for (number, job) in (0..).zip(jobs) {
                    // Who asked may have gone away.
                    let _ =
                        job.answer.send(if refused.contains(&number) { Err(StorageError::Conflict) } else { Ok(()) });
                }
            }
            // One of them may be what the database does not take.
            Err(_) if one_by_one => {
                for job in jobs {
                    let Some(job) = job.in_time(self.tenure.connector.times) else { continue };
                    let answer = match self.commit(&[&job.batch], job.deadline).await {
                        Ok(refused) if refused.is_empty() => Ok(()),
                        Ok(_) => Err(StorageError::Conflict),
                        Err(error) => Err(self.error(error)),
                    };
                    let _ = job.answer.send(answer);
                }
                self.settle();
            }
            Err(error) => {
                let error = self.error(error);
                tracing::error!(%error, "the storage could not be written");
                for job in jobs {
                    let _ = job.answer.send(Err(again(&error)));
                }
            }
        }
    }

    fn error(&self, error: Unwritten) -> StorageError {
        match error {
            Unwritten::Nothing(trouble) => self.tenure.error("write", trouble),
            Unwritten::Unknown(reason) => StorageError::Unknown(reason),
            Unwritten::Ended(error) => error,
        }
    }

    async fn commit(&mut self, batches: &[&Batch], deadline: Instant) -> Result<Refused, Unwritten> {
        let times = self.tenure.connector.times;
        let arrays = Arrays::new(batches);
        // Whether what is open is this group.
        let mut is_sent = false;
        loop {
            if let Err(error) = self.tenure.ended() {
                return Err(if is_sent { Unwritten::Unknown(error.to_string()) } else { Unwritten::Ended(error) });
            }
            let trouble = match self.attempt(&arrays, &mut is_sent, deadline).await {
                Ok(refused) => return Ok(refused),
                Err(trouble) => trouble,
            };
            let until = if is_sent { deadline } else { send_before(deadline, times) };
            match trouble {
                Trouble::Passing(reason) if Instant::now() + times.pause < until => {
                    tracing::debug!(reason, "a commit is tried again");
                    sleep(times.pause).await;
                }
                Trouble::Fenced => drop(self.tenure.end(End::Fenced)),
                Trouble::Passing(reason) | Trouble::Lasting(reason) if is_sent => {
                    return Err(Unwritten::Unknown(reason));
                }
                trouble => return Err(Unwritten::Nothing(trouble)),
            }
        }
    }

    async fn attempt(
        &mut self,
        arrays: &Arrays<'_>,
        is_sent: &mut bool,
        deadline: Instant,
    ) -> Result<Refused, Trouble> {
        let times = self.tenure.connector.times;
        if self.connection.as_ref().is_none_or(|connection| connection.session.client.is_closed()) {
            self.connection = None;
            let until = if *is_sent { deadline } else { send_before(deadline, times) };
            let done = self.connect(until).await?;
            match (std::mem::take(is_sent), done) {
                (true, Some(refused)) => return Ok(refused),
                (false, Some(_)) => return Err(Trouble::Passing(self.tenure.end(End::Late).to_string())),
                (_, None) => {}
            }
        }
        if Instant::now() >= send_before(deadline, times) {
            return Err(Trouble::Passing(TOO_SLOW.to_owned()));
        }
        let Some(connection) = &self.connection else { return Err(Trouble::Passing("no connection".to_owned())) };
        let (number, sent) = (self.tenure.done.load(Ordering::Acquire) + 1, Sent::now());
        (self.is_open, *is_sent) = (true, true);
        let until = deadline.min(Instant::now() + times.statement);
        let answer = match timeout_at(until, arrays.send(connection, self.tenure.term, number)).await {
            Ok(Ok(answer)) => answer,
            // The database has said that it was not done, on a connection that lives: nothing is open.
            Ok(Err(error))
                if error.as_db_error().is_some_and(|said| said.parsed_severity() == Some(Severity::Error)) =>
            {
                (self.is_open, *is_sent) = (false, false);
                let trouble = Trouble::from(error);
                if matches!(trouble, Trouble::Passing(_)) {
                    self.connection = None;
                }
                return Err(trouble);
            }
            lost => {
                self.connection = None;
                return Err(lost.map_or_else(
                    |_| Trouble::Passing("no answer in time".to_owned()),
                    |answer| {
                        answer.err().map_or(Trouble::Fenced, |error| Trouble::Passing(super::connect::explain(&error)))
                    },
                ));
            }
        };
        (self.is_open, *is_sent) = (false, false);
        let Some(row) = answer.first() else {
            // Another server has it, or a claim of ours that was given up came late: the next one says which.
            self.connection = None;
            return Err(Trouble::Passing("the connection does not write any more".to_owned()));
        };
        let refused = row.try_get(0)?;
        self.tenure.done.store(number, Ordering::Release);
        self.tenure.hear(sent);
        Ok(refused)
    }

    /// Connects and claims the row. Gives what became of the group that was open, if it was written.
    async fn connect(&mut self, deadline: Instant) -> Result<Option<Refused>, Trouble> {
        let session = self.tenure.connector.connect_before(deadline).await?;
        let names = &self.tenure.names;
        let prepare = async {
            let commit = session.client.prepare(&names.commit()).await?;
            let row = session.client.query_opt(&names.claim(), &[&self.tenure.term]).await?;
            Ok::<_, Trouble>((commit, row.ok_or(Trouble::Fenced)?))
        };
        let in_time = |_| Trouble::Passing("no answer in time".to_owned());
        let (commit, row) = timeout_at(deadline.min(Instant::now() + self.tenure.connector.times.statement), prepare)
            .await
            .map_err(in_time)??;
        let (writer, found, last): (i64, i64, Refused) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let done = self.tenure.done.load(Ordering::Acquire);
        let was_open = std::mem::take(&mut self.is_open);
        let mut refused = None;
        if was_open && found == done + 1 {
            self.tenure.done.store(found, Ordering::Release);
            refused = Some(last);
        } else if found != done {
            self.tenure.end(End::Older);
            return Err(Trouble::Passing("the database has another state".to_owned()));
        }
        self.connection = Some(Connection { session, commit, writer });
        Ok(refused)
    }
}

/// The batches, a column a list.
#[derive(Default)]
struct Arrays<'b> {
    conditions: Columns<'b, Option<&'b [u8]>>,
    puts: Columns<'b, &'b [u8]>,
    cuts: Columns<'b, ()>,
}

/// To which batch of the group it belongs, the key, the value.
struct Columns<'b, V> {
    batches: Vec<i32>,
    keys: Vec<&'b [u8]>,
    values: Vec<V>,
}

impl<V> Default for Columns<'_, V> {
    fn default() -> Self {
        Self { batches: Vec::new(), keys: Vec::new(), values: Vec::new() }
    }
}

impl<'b, V> Columns<'b, V> {
    fn push(&mut self, batch: i32, key: &'b str, value: V) {
        self.batches.push(batch);
        self.keys.push(key.as_bytes());
        self.values.push(value);
    }
}

impl<'b> Arrays<'b> {
    fn new(batches: &[&'b Batch]) -> Self {
        let mut arrays = Self::default();
        for (number, batch) in (0..).zip(batches) {
            for (key, value) in &batch.conditions {
                arrays.conditions.push(number, key, value.as_deref());
            }
            // The last of a key's writes counts.
            let last: BTreeMap<&str, Option<&[u8]>> =
                batch.writes.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            for (key, value) in last {
                match value {
                    Some(value) => arrays.puts.push(number, key, value),
                    None => arrays.cuts.push(number, key, ()),
                }
            }
        }
        arrays
    }

    async fn send(
        &self,
        connection: &Connection,
        term: i64,
        number: i64,
    ) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
        let (conditions, puts, cuts) = (&self.conditions, &self.puts, &self.cuts);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
            &term,
            &connection.writer,
            &number,
            &conditions.batches,
            &conditions.keys,
            &conditions.values,
            &puts.batches,
            &puts.keys,
            &puts.values,
            &cuts.batches,
            &cuts.keys,
        ];
        connection.session.client.query(&connection.commit, &parameters).await
    }
}

/// The same error once more, for the next who waits.
fn again(error: &StorageError) -> StorageError {
    match error {
        StorageError::Fenced => StorageError::Fenced,
        StorageError::Unknown(reason) => StorageError::Unknown(reason.clone()),
        StorageError::Backend { action, reason } => StorageError::backend(action)(reason.clone()),
        other => StorageError::backend("write")(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
