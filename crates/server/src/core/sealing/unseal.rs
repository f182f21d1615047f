//! Opening a sealed server: by a seal that needs nobody, or by shares.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use bulla_core::{DataKey, SecretBytes};

use super::migrate::check_kept;
use super::{Attempt, UNFINISHED, own};
use crate::barrier::Barrier;
use crate::core::{Core, Open, random};
use crate::logical::{Error, Result};
use crate::seal::{SealError, Stored, shamir};
use crate::storage::Batch;

/// Shares that were given so far.
#[derive(Default)]
pub(in crate::core) struct Progress {
    given: Vec<SecretBytes>,
    nonce: String,
}

/// What shares of a sealed server are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Open,
    Migrate,
}

impl Progress {
    /// How many there are, and which attempt it is.
    pub(super) fn shown(&self) -> (usize, String) {
        (self.given.len(), self.nonce.clone())
    }

    /// Takes a share. All of them, once there are as many as are needed; none is kept then.
    fn take(&mut self, share: SecretBytes, threshold: usize) -> Result<Option<Vec<SecretBytes>>> {
        if share.len() < 16 {
            return Err(Error::bad_request("invalid key: key is shorter than minimum 16 bytes"));
        }
        if !shamir::is_share(&share, threshold) {
            return Err(Error::bad_request("invalid key: it has not the length of a share of this server's key"));
        }
        if self.given.contains(&share) {
            return Ok(None);
        }
        if self.nonce.is_empty() {
            self.nonce = random::uuid()?;
        }
        self.given.push(share);
        Ok((self.given.len() >= threshold).then(|| std::mem::take(self).given))
    }
}

impl Core {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server is about to end: whatever waits for a key service ends with an error, at once.
    pub fn begin_to_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether it is.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// What comes of `doing`, unless the server is about to end.
    ///
    /// # Errors
    /// 503 if it is.
    pub async fn unless_stopping<T>(&self, doing: impl Future<Output = Result<T>>) -> Result<T> {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err(Error::new(503, "the server is stopping")),
            done = doing => done,
        }
    }

    /// Opens by a seal that needs nobody. `Ok(false)`: the server is not initialized. It can be dropped at any moment.
    ///
    /// # Errors
    /// If no seal opens, what each said; 503 if somebody sealed the server since it started: who does that in an emergency does not want it
    /// opened a moment later; 503 also if people have to give shares first, since it is to leave its seal.
    pub async fn unseal_by_itself(&self) -> Result<bool> {
        let _changing = self.changing.lock().await;
        if !self.is_sealed() {
            return Ok(true);
        }
        if self.stays_sealed.load(Ordering::Relaxed) {
            return Err(crate::core::sealed());
        }
        let Some((record, stored)) = self.stored_record().await? else { return Ok(false) };
        if self.left(&stored).is_some() {
            return Err(Error::new(
                503,
                "the server is to leave its seal for another: it is opened by shares that are given for the migration (operator unseal -migrate)",
            ));
        }
        let mut failures = Vec::new();
        for seal in &self.seals.current {
            let Some(one) = stored.made_by(seal.as_ref()) else {
                failures.push(format!("{}: the root key was never wrapped by this seal", seal.name()));
                continue;
            };
            match self.unless_stopping(async { Ok(seal.unwrap(&one.wrapped).await) }).await? {
                Ok(root_key) => {
                    let open = self.open_with(root_key, &stored).await?;
                    self.keep_up(&open, record, &stored).await;
                    return Ok(true);
                }
                Err(error) => failures.push(format!("{}: {error}", seal.name())),
            }
        }
        Err(Error::new(500, format!("no seal opens: {}", failures.join("; "))))
    }

    async fn open_with(&self, root_key: DataKey, stored: &Stored) -> Result<Arc<Open>> {
        let barrier = self.open_barrier(root_key).await?;
        keep_shares(&barrier, stored).await;
        self.start(barrier, (stored.cluster_name.clone(), stored.cluster_id.clone())).await
    }

    /// Opens the barrier, unless half of the server is missing.
    pub(super) async fn open_barrier(&self, root_key: DataKey) -> Result<Arc<Barrier>> {
        let barrier = Arc::new(Barrier::open(Arc::clone(&self.storage), root_key).await?);
        let Some(step) = own(&barrier).get(UNFINISHED).await? else { return Ok(barrier) };
        let step = String::from_utf8_lossy(&step);
        let why = self.unfinished.get_or_init(|| {
            format!(
                "an earlier self-initialization did not finish: it ended in {step}; the server is not opened with half of what it was to have: empty the storage and start again"
            )
        });
        Err(Error::new(500, why.as_str()))
    }

    /// Forgets the shares that were given.
    pub fn reset_unseal(&self) {
        *self.progress() = Progress::default();
    }

    /// Takes a share of the unseal key.
    ///
    /// # Errors
    /// 400 for what is no share, and for shares that do not open: all are forgotten then. 500 if the server is to leave its seal, and waits for
    /// shares to do that.
    pub async fn unseal(&self, share: SecretBytes) -> Result<Attempt> {
        self.take_share(share, Purpose::Open).await
    }

    /// Takes a share for leaving the seal that the server has: of the unseal key, or of the recovery key. The last that is needed opens the server.
    ///
    /// # Errors
    /// As [`unseal`](Self::unseal) has them; 500 if there is no other seal. Nothing has changed then, unless the error says otherwise.
    pub async fn unseal_and_migrate(&self, share: SecretBytes) -> Result<Attempt> {
        self.take_share(share, Purpose::Migrate).await
    }

    async fn take_share(&self, share: SecretBytes, purpose: Purpose) -> Result<Attempt> {
        let _changing = self.changing.lock().await;
        let found = self.stored_record().await?;
        let left = found.as_ref().and_then(|(_, stored)| self.left(stored));
        // Also one that could not be opened afterwards: the same shares do that, if it is opened by shares.
        let migrated = self.has_migrated.load(Ordering::Relaxed);
        match (purpose, &left) {
            (Purpose::Migrate, None) if !migrated => {
                return Err(Error::new(500, "can't perform a seal migration, no migration seal found"));
            }
            (Purpose::Open, Some(_)) => {
                return Err(Error::new(500, "migrate option not provided and seal migration is pending"));
            }
            _ => {}
        }
        let (record, stored) = found.as_ref().ok_or_else(|| Error::bad_request("server is not yet initialized"))?;
        if !self.is_sealed() {
            return Ok(Attempt::Open);
        }
        if left.is_none() && !stored.is_shamir() && purpose == Purpose::Migrate {
            return Err(Error::bad_request("the server has its new seal already, which opens it without shares"));
        }
        if left.is_none() && !stored.is_shamir() {
            return Err(Error::bad_request("this server is unsealed by its seal, not by shares"));
        }
        if stored.shares.threshold == 0 {
            return Err(Error::bad_request(
                "this server has no recovery key, whose shares would say that it may leave its seal: let the seal open it, make one with sys/rotate/recovery/init, and disable the seal again",
            ));
        }
        if let Some(left) = &left {
            self.check_pause(left)?;
        }
        let Some(given) = self.progress().take(share, stored.shares.threshold)? else { return Ok(Attempt::More) };
        if let Some(left) = left {
            self.migrate(record, stored, &left, &given).await?;
            return Ok(Attempt::Open);
        }
        let root_key = opened_by(&given, stored).map_err(|_| wrong_shares())?;
        self.open_with(root_key, stored).await?;
        Ok(Attempt::Open)
    }
}

/// Has the keyring say how the key that people hold is shared, if it is older than that: the seal's record is believed this once.
async fn keep_shares(barrier: &Barrier, stored: &Stored) {
    if barrier.shares().is_some() {
        // What is wrong is logged. Whatever asks for people's shares is refused; the rest goes on.
        let _ = check_kept(barrier, stored);
    } else if let Err(error) = barrier.replace_shares(stored.shares, Batch::default()).await {
        tracing::warn!(%error, "the keyring does not say yet how the key that people hold is shared");
    }
}

/// The root key, by shares of the unseal key.
fn opened_by(given: &[SecretBytes], stored: &Stored) -> std::result::Result<DataKey, SealError> {
    let wrapped = stored.wrapped_by(shamir::NAME).unwrap_or_default();
    shamir::unwrap(&shamir::combine(given)?, wrapped)
}

pub(super) fn wrong_shares() -> Error {
    Error::bad_request("failed to decrypt keys from storage: the shares do not open this server; all were forgotten")
}
