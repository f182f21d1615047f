//! All entries as of one moment: a transaction of the database's that sees what was committed when it began, on a connection of its own.
//!
//! It is there beside the connections of the pool, for as long as somebody goes through the entries. Whose the storage was then is looked at when it
//! begins; a server that is fenced later does not go on with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::time::{Instant, timeout};
use tokio_postgres::Statement;

use super::connect::{Session, Trouble};
use super::entries;
use super::tenure::{End, Sent, Tenure};
use crate::storage::{Entry, FROZEN_BYTES, FROZEN_ENTRIES, Frozen, StorageError};

/// A transaction that reads. Dropped, it ends with its connection.
pub(super) struct Transaction {
    tenure: Arc<Tenure>,
    session: Session,
    scan: Statement,
    from: String,
}

impl Transaction {
    pub async fn begin(tenure: Arc<Tenure>) -> Result<Self, StorageError> {
        tenure.ended()?;
        // It sees at least this.
        let (done, sent) = (tenure.done.load(Ordering::Acquire), Sent::now());
        let times = tenure.connector.times;
        let connected = tenure.connector.connect_before(Instant::now() + times.total).await;
        let session = connected.map_err(|trouble| tenure.error("read", trouble))?;
        let begun = async {
            session.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            // What is seen from now on is what this sees.
            let holder = session.client.query_opt(&tenure.names.holder(), &[]).await?;
            let scan = session.client.prepare(&tenure.names.scan_of(FROZEN_BYTES)).await?;
            let holder = holder.map(|row| Ok::<(i64, i64), tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?)));
            Ok::<_, Trouble>((holder.transpose()?, scan))
        };
        let late = |_| Trouble::Passing("no answer in time".to_owned());
        let begun = timeout(times.statement, begun).await.map_err(late).and_then(|begun| begun);
        let (holder, scan) = begun.map_err(|trouble| tenure.error("read", trouble))?;
        let (term, commit) = holder.ok_or_else(|| tenure.end(End::Fenced))?;
        tenure.is_ours(term, sent)?;
        if commit < done {
            return Err(tenure.end(End::Older));
        }
        Ok(Self { tenure, session, scan, from: String::new() })
    }
}

#[async_trait]
impl Frozen for Transaction {
    async fn next(&mut self) -> Result<Vec<Entry>, StorageError> {
        self.tenure.ended()?;
        let limit = i64::try_from(FROZEN_ENTRIES).unwrap_or(i64::MAX);
        let (client, from) = (&self.session.client, self.from.as_bytes());
        let asked = timeout(self.tenure.connector.times.statement, client.query(&self.scan, &[&from, &limit])).await;
        let rows = match asked {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return Err(self.tenure.error("read", error.into())),
            Err(_) => return Err(self.tenure.error("read", Trouble::Passing("no answer in time".to_owned()))),
        };
        let entries = entries(&rows)?;
        if let Some((last, _)) = entries.last() {
            self.from = format!("{last}\0");
        }
        Ok(entries)
    }
}
