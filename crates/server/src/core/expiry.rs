//! What ends, in the order in which it ends. On disk: nothing is loaded at the start, and nothing has a timer.
//!
//! ```text
//! sys/expire/when/TIME-KIND-KEY    nothing      TIME = 16 hex digits, milliseconds since 1970
//!                                               KIND = t: token, KEY its hash;  l: lease, KEY the hash of its id
//! ```
//!
//! The sweeper reads the first names. It sleeps until the first end, or until one that is earlier is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::barrier::{Barrier, Transaction, View};
use crate::logical::Result;

/// What ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The token with this hash.
    Token(String),
    /// The lease with this hash of its id.
    Lease(String),
}

impl Subject {
    fn name(&self, millis: i64) -> String {
        let (kind, key) = match self {
            Self::Token(hash) => ('t', hash),
            Self::Lease(hash) => ('l', hash),
        };
        format!("when/{millis:016x}-{kind}-{key}")
    }
}

/// The order.
pub struct Index {
    view: View,
    /// When the sweeper wakes.
    next: AtomicI64,
    earlier: Notify,
}

impl Index {
    /// The index in `barrier`.
    pub fn new(barrier: &Arc<Barrier>) -> Self {
        let view = View::plain(barrier, "sys/expire/");
        Self { view, next: AtomicI64::new(i64::MAX), earlier: Notify::new() }
    }

    /// A transaction on the index alone.
    #[cfg(test)]
    pub fn begin(&self) -> Transaction {
        self.view.begin()
    }

    /// Will move `subject` from one end to another, in milliseconds since 1970; 0 is none.
    pub fn set(&self, transaction: &mut Transaction, subject: &Subject, from: i64, to: i64) -> Result<()> {
        if from == to {
            return Ok(());
        }
        if from != 0 {
            transaction.delete(&self.view, &subject.name(from))?;
        }
        if to != 0 {
            transaction.put(&self.view, &subject.name(to), b"")?;
        }
        Ok(())
    }

    /// After a commit: the sweeper may have to be up earlier.
    pub fn wake(&self, millis: i64) {
        if millis != 0 && millis < self.next.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }

    /// At most `limit` of what ends first, with its end.
    pub async fn first(&self, limit: usize) -> Result<Vec<(i64, Subject)>> {
        // What is written from here on wakes the sweeper, whether it is read here or not.
        self.next.store(i64::MAX, Ordering::Release);
        let names = self.view.list("when/", "", limit).await?;
        let read = |name: &String| {
            let mut parts = name.splitn(3, '-');
            let millis = i64::from_str_radix(parts.next()?, 16).ok()?;
            let kind = parts.next()?;
            let key = parts.next()?.to_owned();
            match kind {
                "t" => Some((millis, Subject::Token(key))),
                "l" => Some((millis, Subject::Lease(key))),
                _ => None,
            }
        };
        Ok(names.iter().filter_map(read).collect())
    }

    /// Deletes an entry whose subject is not there.
    pub async fn drop_stray(&self, millis: i64, subject: &Subject) -> Result<()> {
        Ok(self.view.delete(&subject.name(millis)).await?)
    }

    /// Waits until `millis`, or until something ends earlier.
    pub async fn wait_until(&self, millis: i64) {
        self.next.store(millis, Ordering::Release);
        let left = u64::try_from((millis - super::now_millis()).max(0)).unwrap_or(0);
        // Clocks jump: none is trusted for long.
        let longest = std::time::Duration::from_secs(10);
        let _ =
            tokio::time::timeout(std::time::Duration::from_millis(left).min(longest), self.earlier.notified()).await;
    }
}
