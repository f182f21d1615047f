//! From one seal to another: from shares to a seal that opens by itself, back, or from one of those to another.
//!
//! The configuration says both: the new seal is there, and the old one too, `disabled`. People agree by their shares, of the unseal key or of the
//! recovery key; these stay as they are, and are those of the other key afterwards. The new seal's record, a new root key and the keyring under it are written
//! in one step: whatever happens, either the old seal opens the server, or the new one. What the old seal could open, from a copy of the storage, does
//! not open what is written later. What was written before, and stays as it is, it goes on opening: its terms are kept.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulla_core::{DataKey, SecretBytes};

use super::unseal::wrong_shares;
use super::{RECOVERY, own, recovery_hash, seal_failed};
use crate::barrier::{Barrier, BarrierError};
use crate::core::{Core, Open};
use crate::logical::{Error, Result};
use crate::seal::{AutoSeal, Seals, Stored, Wrapped, shamir};
use crate::storage::{Batch, StorageError};

/// How long seals have to wrap the root key anew beside everything else.
const KEEP_UP: Duration = Duration::from_secs(15);

/// For how long after wrong shares none are taken, where a key service is asked before it is known that they are wrong: anybody may bring some.
const PAUSE: Duration = Duration::from_secs(2);

/// What a server leaves.
pub(super) enum Left<'a> {
    /// The shares of the unseal key, by which this was wrapped.
    Shares(&'a str),
    /// Seals, and what each wrapped.
    Seals(Vec<(&'a Arc<dyn AutoSeal>, &'a Wrapped)>),
}

impl Core {
    /// What the server leaves for what its configuration says; `None` if nothing.
    pub(super) fn left<'a>(&'a self, stored: &'a Stored) -> Option<Left<'a>> {
        let Seals { current, old } = &self.seals;
        if let Some(wrapped) = stored.wrapped_by(shamir::NAME) {
            return (!current.is_empty()).then_some(Left::Shares(wrapped));
        }
        if current.iter().any(|seal| stored.made_by(seal.as_ref()).is_some()) {
            return None;
        }
        let left: Vec<_> = old.iter().filter_map(|seal| Some((seal, stored.made_by(seal.as_ref())?))).collect();
        (!left.is_empty()).then_some(Left::Seals(left))
    }

    /// Whether some seal of the configuration is the one that the server has, or had.
    ///
    /// # Errors
    /// 500, with what is missing: nothing will ever open it.
    pub async fn check_seals(&self) -> Result<()> {
        let Some((_, stored)) = self.stored_record().await? else { return Ok(()) };
        let Seals { current, old } = &self.seals;
        let has_one = current.iter().chain(old).any(|seal| stored.made_by(seal.as_ref()).is_some());
        if has_one || stored.is_shamir() {
            return Ok(());
        }
        let by = stored.root_key.iter().map(Wrapped::by).collect::<Vec<_>>().join(", ");
        Err(Error::new(
            500,
            format!(
                "the root key of this storage is wrapped by {by}, which is no seal of the configuration: write it there, with disabled = \"true\" if the server is to leave it for another"
            ),
        ))
    }

    /// Leaves a seal.
    pub(super) async fn migrate(
        &self,
        record: &[u8],
        stored: &Stored,
        left: &Left<'_>,
        given: &[SecretBytes],
    ) -> Result<()> {
        let key = shamir::combine(given).map_err(|_| wrong_shares())?;
        let root_key = match left {
            Left::Shares(wrapped) => shamir::unwrap(&key, wrapped).map_err(|_| wrong_shares())?,
            Left::Seals(seals) => self.unwrap_by_any(seals).await?,
        };
        let barrier = self.open_barrier(root_key).await?;
        if matches!(left, Left::Seals(_)) {
            let checked = check_recovery(&barrier, &key).await;
            *self.wrong_shares_at() = checked.as_ref().err().map(|_| Instant::now());
            checked?;
        }
        check_kept(&barrier, stored)?;
        let fresh = DataKey::generate()?;
        let mut changed = stored.clone();
        let mut recovery = None;
        if self.has_auto_seal() {
            changed.root_key = self.wrap_root_key(&fresh).await?;
            recovery = Some(recovery_hash(&key));
        } else {
            let wrapped = shamir::wrap(&key, &fresh).map_err(|error| seal_failed("wrap", &error))?;
            changed.root_key = vec![Wrapped { seal: shamir::NAME.to_owned(), wrapped }];
        }
        let written = serde_json::to_vec(&changed).map_err(|error| Error::internal(&error))?;
        let path = Stored::PATH.to_owned();
        let batch = Batch {
            conditions: vec![(path.clone(), Some(record.to_vec()))],
            writes: vec![
                (path, Some(written)),
                own(&barrier).to_write(RECOVERY, recovery.as_ref().map(AsRef::as_ref))?,
            ],
        };
        let replaced = barrier.replace_root_key(&fresh, changed.shares, batch).await;
        if !replaced.as_ref().is_err_and(|error| !is_unknown(error)) {
            // Whoever sealed it before wants it open by now. Its new seal does that, should it fail here.
            self.has_migrated.store(true, Ordering::Relaxed);
            self.stays_sealed.store(false, Ordering::Relaxed);
        }
        replaced.map_err(not_written)?;
        let by = |stored: &Stored| stored.root_key.iter().map(Wrapped::by).collect::<Vec<_>>().join(", ");
        tracing::warn!(from = by(stored), to = by(&changed), "the server has another seal");
        let opened = self.start(barrier, (changed.cluster_name.clone(), changed.cluster_id.clone())).await;
        let next =
            if self.has_auto_seal() { "the new seal opens it without anybody" } else { "the same shares open it" };
        opened.map(drop).map_err(|error| not_opened(&error, next))
    }

    fn wrong_shares_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.wrong_shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// 429 if shares for a migration were wrong a moment ago. None is forgotten.
    pub(super) fn check_pause(&self, left: &Left<'_>) -> Result<()> {
        let pauses = self.wrong_shares_at().is_some_and(|at| at.elapsed() < PAUSE);
        if matches!(left, Left::Seals(_)) && pauses {
            return Err(Error::new(429, "shares were wrong a moment ago: give this one again in a few seconds"));
        }
        Ok(())
    }

    async fn unwrap_by_any(&self, seals: &[(&Arc<dyn AutoSeal>, &Wrapped)]) -> Result<DataKey> {
        let mut failures = Vec::new();
        for (seal, one) in seals {
            match self.unless_stopping(async { Ok(seal.unwrap(&one.wrapped).await) }).await? {
                Ok(root_key) => return Ok(root_key),
                Err(error) => failures.push(format!("{}: {error}", seal.name())),
            }
        }
        Err(Error::new(500, format!("the old seal does not open: {}", failures.join("; "))))
    }

    /// Has the root key wrapped by each seal of the configuration by its key of today, and by no other. What fails is logged: the server is open.
    pub(super) async fn keep_up(&self, open: &Open, record: Vec<u8>, stored: &Stored) {
        let current = &self.seals.current;
        let is_kept = |seal: &Arc<dyn AutoSeal>| stored.root_key.iter().any(|one| seal.is_current(one));
        if check_kept(&open.barrier, stored).is_err() {
            return;
        }
        if current.len() == stored.root_key.len() && current.iter().all(is_kept) {
            return;
        }
        match self.wrap_anew(open, record, stored).await {
            Ok(changed) => {
                let seals = changed.root_key.iter().map(Wrapped::by).collect::<Vec<_>>().join(", ");
                tracing::warn!(seals, "the root key is wrapped by the seals of the configuration, and by no others");
            }
            Err(error) => tracing::warn!(%error, "not each seal of the configuration opens the server yet"),
        }
    }

    async fn wrap_anew(&self, open: &Open, record: Vec<u8>, stored: &Stored) -> Result<Stored> {
        // Another one: what a seal that is gone has wrapped, in a copy of the storage, opens nothing that is written later.
        let fresh = DataKey::generate()?;
        let mut changed = stored.clone();
        let wrapped = tokio::time::timeout(KEEP_UP, self.wrap_root_key(&fresh)).await;
        changed.root_key = wrapped.map_err(|_| Error::new(500, "a seal took too long"))??;
        let after = serde_json::to_vec(&changed).map_err(|error| Error::internal(&error))?;
        let path = Stored::PATH.to_owned();
        let batch = Batch { conditions: vec![(path.clone(), Some(record))], writes: vec![(path, Some(after))] };
        open.barrier.replace_root_key(&fresh, changed.shares, batch).await?;
        Ok(changed)
    }
}

/// Whether the seal's record says of people's shares what the keyring says, which the root key vouches for.
///
/// # Errors
/// 500 if it does not: somebody else wrote it.
pub(in crate::core) fn check_kept(barrier: &Barrier, stored: &Stored) -> Result<()> {
    if barrier.shares().is_none_or(|shares| shares == stored.shares) {
        return Ok(());
    }
    tracing::error!(
        "the seal's record says another number of shares than the keyring: it was changed by somebody who writes the storage"
    );
    Err(Error::new(
        500,
        "the seal's record was changed by somebody else: it says another number of shares than this server wrote; nothing was done, put back the record of a copy",
    ))
}

/// # Errors
/// 400 if it is not the recovery key.
async fn check_recovery(barrier: &Arc<Barrier>, key: &DataKey) -> Result<()> {
    let hash = own(barrier).get(RECOVERY).await?.map(|hash| SecretBytes::from(hash.as_slice()));
    if hash == Some(SecretBytes::from(recovery_hash(key).as_ref())) {
        return Ok(());
    }
    Err(Error::bad_request(
        "failed to verify recovery key: the shares are not those of this server; all were forgotten",
    ))
}

/// `next` is what opens it.
fn not_opened(error: &Error, next: &str) -> Error {
    tracing::error!(%error, "the server has its new seal, but could not be opened");
    Error::new(
        error.status,
        format!("the server has its new seal, but could not be opened: {error}; {next} once that is mended"),
    )
}

fn is_unknown(error: &BarrierError) -> bool {
    matches!(error, BarrierError::Storage(StorageError::Unknown(_)))
}

fn not_written(error: BarrierError) -> Error {
    tracing::error!(%error, "the server did not get another seal");
    match error {
        error if is_unknown(&error) => Error::new(
            500,
            "the storage does not say whether the server has its new seal: sys/seal-status says so when it answers again; the shares are the same either way",
        ),
        error if error.is_conflict() => {
            Error::new(500, "the seal's record was changed meanwhile; nothing was done, begin again")
        }
        _ => Error::new(500, "the new seal could not be written; the server has its old one"),
    }
}

#[cfg(test)]
mod tests;
