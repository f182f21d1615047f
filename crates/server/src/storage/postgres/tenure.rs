//! Whose the storage is: one server's at a time.
//!
//! Who opens it takes a lock of the database's (`pg_try_advisory_lock`) on a connection of its own, and keeps it: the lock is what a second server
//! is refused by. It can be lost, with the connection. What nobody gets past is the term in the table: taking over raises it, and each
//! statement looks at it. So a server that was cut off and comes back reads nothing old and writes nothing.
//!
//! What a server remembers it believes for [`Times::trust`] after it sent what the database answered as its own. Whoever takes over lets that time pass
//! before the first commit: so nobody answers from memory what somebody else has changed.
//!
//! [`Times::trust`]: super::connect::Times::trust

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use super::connect::{Connector, Session, Trouble};
use super::schema::Names;
use crate::storage::StorageError;

/// The first number of our locks, `bula`; the second is the table's.
pub(super) const CLASS: i32 = 0x6275_6c61;

/// What all that work on an open storage have in common.
pub(super) struct Tenure {
    pub connector: Connector,
    pub names: Names,
    pub term: i64,
    /// The number of the last commit that is known to be done.
    pub done: AtomicI64,
    /// Before then nothing is committed.
    pub writes_from: Instant,
    /// When the last was sent that the database answered as ours.
    heard: Mutex<Option<Sent>>,
    end: watch::Sender<Option<End>>,
}

/// Why nothing more can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another server has it.
    Fenced,
    /// The database has forgotten what it had acknowledged.
    Older,
    /// What was said to be unknown was done.
    Late,
}

/// When something was sent, by two clocks: one stands still while the machine sleeps, the other can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sent(Instant, SystemTime);

impl Sent {
    pub fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }
}

impl End {
    pub fn error(self) -> StorageError {
        match self {
            Self::Fenced => StorageError::Fenced,
            Self::Older => StorageError::backend("trust")(
                "the database has an older state than it had acknowledged: it was put back, or a replica that was behind has taken over. Start the server again to go on with what is there"
                    .to_owned(),
            ),
            Self::Late => StorageError::backend("trust")(
                "a commit whose answer was lost was done after all: what this process remembers is older; start again"
                    .to_owned(),
            ),
        }
    }
}

impl Tenure {
    /// Takes the lock and the term, on a session that is then the lock's.
    pub async fn take(connector: Connector, names: Names, session: &Session) -> Result<Self, Trouble> {
        if !lock(&session.client, &names).await? {
            return Err(Trouble::Lasting(holder(&session.client, &names).await));
        }
        let row = session.client.query_one(&names.take(), &[&us()]).await?;
        let (term, done) = (row.try_get(0)?, row.try_get(1)?);
        // Whoever had it before may believe what it remembers for so long, by a clock that may be slower.
        let pause = if term == 1 { Duration::ZERO } else { connector.times.trust * 5 / 4 };
        Ok(Self {
            connector,
            names,
            term,
            done: AtomicI64::new(done),
            writes_from: Instant::now() + pause,
            heard: Mutex::default(),
            end: watch::Sender::new(None),
        })
    }

    /// Nothing more is done.
    pub fn end(&self, end: End) -> StorageError {
        let is_first = self.end.send_if_modified(|now| {
            let is_first = now.is_none();
            now.get_or_insert(end);
            is_first
        });
        if is_first {
            tracing::error!(error = %end.error(), "the storage is not this server's any more");
        }
        end.error()
    }

    /// Why it has ended, if it has.
    pub fn ended(&self) -> Result<(), StorageError> {
        self.end.borrow().map_or(Ok(()), |end| Err(end.error()))
    }

    /// Waits for the end.
    pub async fn until_end(&self) -> StorageError {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => end.error(),
            _ => StorageError::Fenced,
        }
    }

    /// Looks at what a row of ours begins with that answers what was sent then.
    pub fn is_ours(&self, term: i64, sent: Sent) -> Result<(), StorageError> {
        if term != self.term {
            return Err(self.end(End::Fenced));
        }
        self.hear(sent);
        Ok(())
    }

    /// The database has answered as ours what was sent then.
    pub fn hear(&self, sent: Sent) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = (*heard).max(Some(sent));
    }

    /// Whether nobody else can have written since.
    pub fn was_heard(&self) -> bool {
        let trust = self.connector.times.trust;
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|Sent(at, date)| at.elapsed() < trust && date.elapsed().is_ok_and(|since| since < trust))
    }

    /// The storage's error for a trouble.
    pub fn error(&self, action: &'static str, trouble: Trouble) -> StorageError {
        match trouble {
            Trouble::Passing(reason) | Trouble::Lasting(reason) => StorageError::backend(action)(reason),
            Trouble::Fenced => self.end(End::Fenced),
        }
    }

    /// Looks after the lock until the end: takes it again if its connection is lost.
    pub async fn keep(self: Arc<Self>, session: Session) {
        let mut session = Some(session);
        let times = self.connector.times;
        let mut is_told = false;
        while self.ended().is_ok() {
            let Some(held) = &session else {
                sleep(times.pause).await;
                match self.retake().await {
                    Ok(again) => session = again,
                    Err(Trouble::Fenced) => drop(self.end(End::Fenced)),
                    Err(Trouble::Passing(reason) | Trouble::Lasting(reason)) if !is_told => {
                        is_told = true;
                        tracing::warn!(reason, "the storage's lock is lost, and cannot be taken again yet");
                    }
                    Err(_) => {}
                }
                continue;
            };
            match timeout(times.statement, self.look(&held.client)).await {
                Ok(Ok(())) => {
                    is_told = false;
                    self.wait_with(held).await;
                }
                Ok(Err(Trouble::Fenced)) => drop(self.end(End::Fenced)),
                Ok(Err(_)) | Err(_) => session = None,
            }
        }
    }

    /// Until it is time to look again, or the connection is closed.
    async fn wait_with(&self, session: &Session) {
        let times = self.connector.times;
        let looks = times.look.as_millis() / times.pause.as_millis().max(1);
        for _ in 0..looks.max(1) {
            sleep(times.pause).await;
            if session.client.is_closed() {
                break;
            }
        }
    }

    /// The lock on a new connection; none if somebody has it, and has not taken over yet.
    async fn retake(&self) -> Result<Option<Session>, Trouble> {
        let session = self.connector.connect().await?;
        let statements = async {
            let is_locked = lock(&session.client, &self.names).await?;
            self.look(&session.client).await?;
            Ok::<_, Trouble>(is_locked)
        };
        let is_locked = timeout(self.connector.times.statement, statements);
        let is_locked = is_locked.await.map_err(|_| Trouble::Passing("no answer in time".to_owned()))??;
        if is_locked {
            tracing::info!("the storage's lock is taken again after its connection was lost");
        }
        Ok(is_locked.then_some(session))
    }

    /// Whether it is ours still, and as new as it was.
    async fn look(&self, client: &Client) -> Result<(), Trouble> {
        let (done, sent) = (self.done.load(Ordering::Acquire), Sent::now());
        let row = client.query_opt(&self.names.holder(), &[]).await?;
        let found = row.map(|row| Ok::<(i64, i64), tokio_postgres::Error>((row.try_get(0)?, row.try_get(1)?)));
        match found.transpose()? {
            Some((term, commit)) if term == self.term => {
                if commit < done {
                    self.end(End::Older);
                }
                self.hear(sent);
                Ok(())
            }
            // A lower one is an older state, too: this server has taken over before.
            _ => Err(Trouble::Fenced),
        }
    }
}

async fn lock(client: &Client, names: &Names) -> Result<bool, Trouble> {
    let take = "SELECT pg_try_advisory_lock($1, to_regclass($2)::oid::bigint::bit(32)::integer)";
    Ok(client.query_one(take, &[&CLASS, &names.entries]).await?.try_get(0)?)
}

/// Who we are, for whoever finds the lock taken.
fn us() -> String {
    let host = bulla_core::file::read(std::path::Path::new("/proc/sys/kernel/hostname"), 4096);
    let host = host.ok().and_then(|name| String::from_utf8(name.expose().to_vec()).ok());
    format!("{}, process {}", host.as_deref().map_or("an unknown host", str::trim), std::process::id())
}

async fn holder(client: &Client, names: &Names) -> String {
    let row = client.query_opt(&names.holder(), &[]).await.ok().flatten();
    let text = |row: &tokio_postgres::Row, at| row.try_get::<_, String>(at).unwrap_or_default();
    let who = row.map(|row| format!("{}, since {}", text(&row, 2), text(&row, 3)));
    format!(
        "{} is in use by {}; one server at a time uses a storage",
        names.entries,
        who.as_deref().unwrap_or("a server that has just begun")
    )
}
