//! Storage in a `PostgreSQL` database: for whoever has one that is replicated and backed up.
//!
//! One server at a time has it, see `tenure`. All that it does not know for certain it finds out, see `writer`. Tables and statements: `schema`.
//! What the operator may write about TLS: [`Settings`].

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;

mod connect;
mod frozen;
mod pool;
mod remembered;
mod schema;
mod settings;
mod tenure;
mod writer;

pub use schema::Table;
pub use settings::{CONNECTIONS, Cache, LEAST_CONNECTIONS, Plaintext, Settings, Tables};

use connect::{Connector, Times, Trouble};
use pool::{Pool, Question};
use remembered::{Known, Remembered};
use tenure::Tenure;
use writer::Job;

use super::{Batch, Entry, Frozen, MAX_VALUE, Scan, Storage, StorageError, behind};

/// How many names one statement looks for: none shall take long.
const PAGE: usize = 4096;

/// Entries in a database.
pub struct Postgres {
    tenure: Arc<Tenure>,
    /// `None`: everything is read each time.
    remembered: Option<Arc<Remembered>>,
    readers: Pool,
    writer: mpsc::Sender<Job>,
    keeper: AbortHandle,
}

impl Postgres {
    /// Connects, makes the tables if they are not there, and takes the storage for this process.
    ///
    /// # Errors
    /// [`StorageError::Backend`]: another server has it, and which; the database cannot be reached, refuses, or would forget what it acknowledges.
    pub async fn open(settings: &Settings) -> Result<Self, StorageError> {
        Self::open_within(settings, Times::default()).await
    }

    async fn open_within(settings: &Settings, times: Times) -> Result<Self, StorageError> {
        let fail = StorageError::backend("open");
        let target = settings.target().map_err(&fail)?;
        if let Some(warning) = target.warning {
            tracing::warn!("{warning}");
        }
        let connector = Connector::new(target, times);
        let opened = Self::take(settings, connector).await;
        let (tenure, session) = opened.map_err(|trouble| match trouble {
            Trouble::Passing(reason) | Trouble::Lasting(reason) => fail(reason),
            Trouble::Fenced => StorageError::Fenced,
        })?;
        let tenure = Arc::new(tenure);
        let readers = settings.connections.max(LEAST_CONNECTIONS) - (LEAST_CONNECTIONS - 1);
        let (writer, jobs) = mpsc::channel(writer::QUEUE);
        let remembered = (settings.cache == Cache::Kept).then(Arc::default);
        tokio::spawn(writer::write_all(Arc::clone(&tenure), remembered.clone(), jobs));
        let keeper = tokio::spawn(Arc::clone(&tenure).keep(session)).abort_handle();
        Ok(Self { readers: Pool::new(Arc::clone(&tenure), readers), tenure, remembered, writer, keeper })
    }

    async fn take(settings: &Settings, connector: Connector) -> Result<(Tenure, connect::Session), Trouble> {
        let deadline = Instant::now() + connector.times.total;
        let session = connector.connect_before(deadline).await?;
        if session.fsync == "off" {
            tracing::warn!("the database's fsync is off: what it acknowledges is lost when its machine loses power");
        }
        let taken = async {
            let names = schema::prepare(&session.client, &settings.table, settings.tables).await?;
            Tenure::take(connector, names, &session).await
        };
        let taken = timeout_at(deadline, taken).await;
        let tenure = taken.map_err(|_| Trouble::Passing("the database does not answer in time".to_owned()))??;
        Ok((tenure, session))
    }

    async fn page(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        // Behind the prefix itself: a name has a character.
        let from = behind(prefix, after);
        // Nothing in UTF-8 begins with this byte.
        let end = prefix.strip_suffix('/').map_or_else(|| vec![0xff], |folder| format!("{folder}0").into_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows =
            self.readers.ask(Question::List, &[&from.as_bytes(), &end.as_slice(), &limit, &prefix.as_bytes()]).await?;
        rows.iter().filter_map(|row| bytes(row, 2).transpose()).map(|name| text(name?)).collect()
    }
}

impl Drop for Postgres {
    /// The lock goes with its connection.
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[async_trait]
impl Storage for Postgres {
    fn kind(&self) -> &'static str {
        "postgresql"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.tenure.ended()?;
        let remembered = self.remembered.as_ref();
        if let Some(Known(value)) = remembered.filter(|_| self.tenure.was_heard()).and_then(|known| known.recall(key)) {
            return Ok(value);
        }
        let reading = remembered.map(|remembered| remembered.reads(key));
        let rows = self.readers.ask(Question::Read, &[&key.as_bytes()]).await?;
        let value = rows.first().map_or(Ok(None), |row| bytes(row, 2))?;
        if let Some(reading) = reading {
            reading.found(value.as_deref());
        }
        Ok(value)
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let wanted = if limit == 0 { PAGE } else { PAGE.min(limit - names.len()) };
            let after = names.last().map_or(after, String::as_str);
            let page = self.page(prefix, after, wanted).await?;
            let is_last = page.len() < wanted;
            names.extend(page);
            if is_last || names.len() == limit {
                return Ok(names);
            }
        }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        batch.checked()?;
        if batch.writes.iter().any(|(key, _)| key.len() > schema::MAX_KEY) {
            return Err(StorageError::TooLarge { what: "key", limit: schema::MAX_KEY });
        }
        // Whether it was at this batch when it ended nobody knows.
        let gone = || StorageError::Unknown("what writes has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + self.tenure.connector.times.total;
        self.writer.try_send(Job { batch, answer, deadline }).map_err(|error| match error {
            TrySendError::Full(_) => StorageError::backend("write")(format!(
                "{} commits wait for the database; nothing was written",
                writer::QUEUE
            )),
            TrySendError::Closed(_) => gone(),
        })?;
        answered.await.map_err(|_| gone())?
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        Ok(Box::new(frozen::Transaction::begin(Arc::clone(&self.tenure)).await?))
    }

    async fn lost(&self) -> StorageError {
        self.tenure.until_end().await
    }
}

#[async_trait]
impl Scan for Postgres {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        entries(&self.readers.ask(Question::Scan, &[&from.as_bytes(), &limit]).await?)
    }
}

/// The entries of a scan's rows.
fn entries(rows: &[Row]) -> Result<Vec<Entry>, StorageError> {
    let entry = |row: &Row| Ok(bytes(row, 2)?.zip(bytes(row, 3)?));
    rows.iter()
        .filter_map(|row| entry(row).transpose())
        .map(|entry| entry.and_then(|(key, value)| Ok((text(key)?, value))))
        .collect()
}

fn bytes(row: &Row, column: usize) -> Result<Option<Vec<u8>>, StorageError> {
    let read = row.try_get::<_, Option<Vec<u8>>>(column);
    let read = read.map_err(|error| StorageError::backend("read")(connect::explain(&error)))?;
    match read {
        Some(value) if value.len() > MAX_VALUE => Err(StorageError::backend("read")("an entry is too long".to_owned())),
        read => Ok(read),
    }
}

fn text(name: Vec<u8>) -> Result<String, StorageError> {
    String::from_utf8(name).map_err(|_| StorageError::backend("read")("a key is not UTF-8".to_owned()))
}

#[cfg(test)]
pub(in crate::storage) mod tests;
