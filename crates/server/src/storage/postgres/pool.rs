//! Connections that read. What is asked is asked again on another connection if one is lost: reading twice does no harm.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::connect::{Session, Trouble};
use super::tenure::{End, Sent, Tenure};
use crate::storage::StorageError;

/// What can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Read,
    List,
    Scan,
}

struct Reader {
    session: Session,
    statements: [Statement; 3],
}

/// Connections that read, at most so many.
pub(super) struct Pool {
    tenure: Arc<Tenure>,
    permits: Semaphore,
    idle: Mutex<Vec<Reader>>,
}

impl Pool {
    pub fn new(tenure: Arc<Tenure>, connections: usize) -> Self {
        Self { tenure, permits: Semaphore::new(connections), idle: Mutex::default() }
    }

    /// The rows of an answer; the first columns of each are the term and the last commit's number, which are looked at.
    pub async fn ask(&self, question: Question, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, StorageError> {
        self.tenure.ended()?;
        let times = self.tenure.connector.times;
        let deadline = Instant::now() + times.total;
        let busy = |_| Trouble::Passing("all connections are busy".to_owned());
        let permit = timeout_at(deadline, self.permits.acquire()).await.map_err(busy);
        let _permit = permit.map_err(|trouble| self.tenure.error("read", trouble))?;
        loop {
            // It sees at least this.
            let (done, sent) = (self.tenure.done.load(Ordering::Acquire), Sent::now());
            let trouble = match self.try_once(question, parameters, deadline).await {
                Ok(rows) => {
                    let first = rows.first().ok_or_else(|| self.tenure.end(End::Fenced))?;
                    let term = first.try_get(0).map_err(|error| self.tenure.error("read", error.into()))?;
                    self.tenure.is_ours(term, sent)?;
                    let commit: i64 = first.try_get(1).map_err(|error| self.tenure.error("read", error.into()))?;
                    if commit < done {
                        return Err(self.tenure.end(End::Older));
                    }
                    return Ok(rows);
                }
                Err(trouble) => trouble,
            };
            self.tenure.ended()?;
            if !matches!(trouble, Trouble::Passing(_)) || Instant::now() + times.pause >= deadline {
                return Err(self.tenure.error("read", trouble));
            }
            sleep(times.pause).await;
        }
    }

    async fn try_once(
        &self,
        question: Question,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> Result<Vec<Row>, Trouble> {
        let reader = match self.idle_one() {
            Some(reader) => reader,
            None => self.connect(deadline).await?,
        };
        let statement = &reader.statements[question as usize];
        // What hangs is dropped with its connection.
        let until = deadline.min(Instant::now() + self.tenure.connector.times.statement);
        let Ok(answer) = timeout_at(until, reader.session.client.query(statement, parameters)).await else {
            // The idle ones are as old, and hang as well.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return Err(Trouble::Passing("no answer in time".to_owned()));
        };
        let rows = answer?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        Ok(rows)
    }

    fn idle_one(&self) -> Option<Reader> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|reader| !reader.session.client.is_closed());
        idle.pop()
    }

    async fn connect(&self, deadline: Instant) -> Result<Reader, Trouble> {
        let session = self.tenure.connector.connect_before(deadline).await?;
        let names = &self.tenure.names;
        let (read, list, scan) = (names.read(), names.list(), names.scan());
        let client = &session.client;
        let prepared = timeout_at(
            deadline,
            futures_util::future::try_join3(client.prepare(&read), client.prepare(&list), client.prepare(&scan)),
        );
        let (read, list, scan) = prepared.await.map_err(|_| Trouble::Passing("no answer in time".to_owned()))??;
        Ok(Reader { session, statements: [read, list, scan] })
    }
}
