//! What tests of the core begin with: storage that fails once, for steps that must be whole, and a server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;

use super::audit::DeviceConfig;
use super::lockout::ByKind;
use super::mount::Times;
use super::{Core, Options};
use crate::seal::Seals;
use crate::storage::{Batch, Memory, Storage, StorageError};

/// What happens to the write that is counted down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails.
    Refused,
    /// It is done, and the answer says that it failed.
    Silent,
    /// The machine is gone before it.
    DeadBefore,
    /// The machine is gone after it.
    DeadAfter,
}

/// Storage with one fault.
pub(crate) struct Faulty {
    inner: Arc<Memory>,
    fault: Fault,
    /// How many writes there are until the fault; below 0: it was.
    left: AtomicI64,
    /// Whether writes count.
    pub(crate) armed: AtomicBool,
}

impl Faulty {
    pub(crate) fn new(inner: &Arc<Memory>, fault: Fault, after: i64) -> Arc<Self> {
        Arc::new(Self { inner: Arc::clone(inner), fault, left: AtomicI64::new(after), armed: false.into() })
    }

    fn is_dead(&self) -> bool {
        matches!(self.fault, Fault::DeadBefore | Fault::DeadAfter) && self.left.load(Ordering::SeqCst) < 0
    }

    /// Whether it happened.
    pub(crate) fn was(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }
}

fn failed() -> StorageError {
    StorageError::Backend { action: "write", reason: "the test says so".to_owned() }
}

#[async_trait]
impl Storage for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        if self.is_dead() { Err(failed()) } else { self.inner.get(key).await }
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        if self.is_dead() { Err(failed()) } else { self.inner.list(prefix, after, limit).await }
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        if self.is_dead() {
            return Err(failed());
        }
        if !self.armed.load(Ordering::SeqCst) || self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return self.inner.commit(batch).await;
        }
        if matches!(self.fault, Fault::Silent | Fault::DeadAfter) {
            self.inner.commit(batch).await?;
        }
        Err(failed())
    }
}

/// A server that has no audit devices.
pub(crate) fn server(storage: Arc<dyn Storage>, seals: impl Into<Seals>) -> Arc<Core> {
    Core::new(storage, seals, options())
}

/// What a server of a test is told.
pub(crate) fn options() -> Options {
    Options {
        times: Times { default_ttl: 3600, max_ttl: 7200 },
        lockouts: ByKind::default(),
        audit: Vec::new(),
        cluster_name: String::new(),
        catalog: crate::catalog(),
    }
}

/// An audit device that writes to a file.
pub(crate) fn audit_file(path: &Path) -> DeviceConfig {
    DeviceConfig {
        path: "f/".to_owned(),
        kind: "file".to_owned(),
        options: [("file_path".to_owned(), path.display().to_string())].into(),
        ..DeviceConfig::default()
    }
}

/// All faults, at each write until there are no more.
pub(crate) const FAULTS: [Fault; 4] = [Fault::Refused, Fault::Silent, Fault::DeadBefore, Fault::DeadAfter];
