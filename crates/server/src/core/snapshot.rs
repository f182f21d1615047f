//! Snapshots of a server that runs: all of its storage as of one moment, sent while others write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{API_VERSION, Core, Open};
use crate::barrier::BarrierError;
use crate::logical::{Error, Result, Stream};
use crate::storage::snapshot::{About, SnapshotError, Writer};
use crate::storage::{Frozen, StorageError};

mod author;

pub use author::{Author, author};

/// How many snapshots are sent at once: the storage keeps what was overwritten for as long.
pub const AT_ONCE: usize = 2;
/// How long one may take.
const LONGEST: Duration = Duration::from_hours(6);
/// How much is sent at once.
const PART: usize = 64 << 10;
/// How many such parts wait for whoever is sent them.
const AHEAD: usize = 16;
const MEDIA_TYPE: &str = "application/gzip";

impl Open {
    /// A snapshot of what there is now, to be sent.
    ///
    /// # Errors
    /// 503 if there are [`AT_ONCE`] already; 500 if the storage fails.
    pub async fn snapshot(&self) -> Result<Stream> {
        let core = self.core()?;
        let busy =
            |_| Error::new(503, format!("{AT_ONCE} snapshots are being sent already: try again when one is there"));
        let place = Arc::clone(&core.snapshots).try_acquire_owned().map_err(busy)?;
        let frozen = self.barrier.storage().freeze().await.map_err(BarrierError::from)?;
        let about = About {
            server: API_VERSION.to_owned(),
            storage: core.storage_kind().to_owned(),
            time: jiff::Timestamp::now().to_string(),
            cluster_id: self.cluster.1.clone(),
        };
        let (send, pieces) = mpsc::channel(AHEAD);
        let key = self.barrier.snapshot_key();
        tokio::spawn(send_all(core, place, frozen, about, key, send));
        Ok(Stream::new(MEDIA_TYPE, pieces))
    }
}

type Sender = mpsc::Sender<std::result::Result<Bytes, String>>;

/// Sends a snapshot to its end, unless nobody takes it any more.
async fn send_all(
    core: Arc<Core>,
    place: OwnedSemaphorePermit,
    mut frozen: Box<dyn Frozen>,
    about: About,
    key: aws_lc_rs::hmac::Key,
    send: Sender,
) {
    let begun = Instant::now();
    let sending = send_parts(&core, frozen.as_mut(), &about, &key, &send);
    // A server that is to end does not wait for whoever takes his time.
    let sent = core.unless_stopping(async { Ok(tokio::time::timeout(LONGEST, sending).await) }).await;
    // What the storage keeps for it is free before whoever asked has all of it, and asks again.
    drop((frozen, place));
    let failed = match sent {
        Ok(Ok(Ok(Some((entries, bytes))))) => {
            core.metrics.snapshots.observe(begun);
            tracing::info!(entries, bytes, "a snapshot was sent");
            return;
        }
        Ok(Ok(Ok(None))) => {
            tracing::info!("a snapshot was not sent to its end: whoever asked for it is gone");
            return;
        }
        Ok(Ok(Err(error))) => error.to_string(),
        Err(error) => error.to_string(),
        Ok(Err(_)) => format!("it took longer than {} hours", LONGEST.as_secs() / 3600),
    };
    tracing::error!(error = failed, "a snapshot was not sent to its end");
    // Else what was sent would end as if it were all.
    let _ = send.send(Err(failed)).await;
}

/// How many entries and bytes were sent; `None` if nobody takes them.
async fn send_parts(
    core: &Core,
    frozen: &mut dyn Frozen,
    about: &About,
    key: &aws_lc_rs::hmac::Key,
    send: &Sender,
) -> std::result::Result<Option<(u64, u64)>, SnapshotError> {
    let mut out = Vec::new();
    let mut writer = Writer::begin(about, &mut out);
    let mut bytes = 0;
    loop {
        // Whoever seals a server in an emergency does not want the rest of it sent.
        if core.is_sealed() {
            return Err(StorageError::backend("read")("the server was sealed".to_owned()).into());
        }
        let step = frozen.next().await?;
        if step.is_empty() {
            break;
        }
        writer.add(&step, &mut out)?;
        bytes += out.len() as u64;
        if !flush(&mut out, send).await {
            return Ok(None);
        }
    }
    let entries = writer.entries();
    writer.end(key, &mut out);
    bytes += out.len() as u64;
    Ok(flush(&mut out, send).await.then_some((entries, bytes)))
}

/// `false`: nobody takes it.
async fn flush(out: &mut Vec<u8>, send: &Sender) -> bool {
    let mut all = Bytes::from(std::mem::take(out));
    while !all.is_empty() {
        let part = all.split_to(all.len().min(PART));
        if send.send(Ok(part)).await.is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
