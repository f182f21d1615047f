//! Making a new key, and writing it: in one step, so that there is no moment in which neither the old shares nor the new ones open the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, SecretBytes};

use super::rekey::{Fresh, Made, Place, Rekey, Which};
use super::{Given, Open};
use crate::barrier::{BarrierError, View};
use crate::core::sealing::{RECOVERY, recovery_hash, seal_failed, split};
use crate::core::{Core, hex, random};
use crate::logical::{Error, Result};
use crate::seal::{Shares, Stored, Wrapped, shamir};
use crate::storage::{Batch, StorageError};

/// Why a key was not written.
pub(super) enum Failed {
    /// Nothing has changed.
    Nothing(Error),
    /// The storage does not say.
    Perhaps,
}

impl Failed {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Nothing(error) => error,
            Self::Perhaps => Error::new(500, PERHAPS),
        }
    }
}

impl From<BarrierError> for Failed {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Storage(StorageError::Unknown(_)) => {
                tracing::error!(%error, "a new key may have been written, or not");
                Self::Perhaps
            }
            error if error.is_conflict() => {
                Self::Nothing(Error::new(500, "the seal's record was changed meanwhile; nothing was done, begin again"))
            }
            error => {
                tracing::error!(%error, "a new key was not written");
                Self::Nothing(Error::new(500, "the new key could not be written; the old shares are still the shares"))
            }
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Nothing(error)
    }
}

const PERHAPS: &str = "the storage does not say whether the new key was written: keep the old shares and the new ones, and try both after the next seal";

impl Core {
    /// Makes the new key of `rekey`, and writes it unless it has to be verified first.
    pub(super) async fn make_key(
        &self,
        open: &Open,
        place: Place,
        record: &[u8],
        stored: &Stored,
        rekey: &mut Rekey,
    ) -> Result<Made> {
        let wanted = rekey.wanted;
        let mut made = Made { nonce: rekey.nonce.clone(), shares: Vec::new(), verification_nonce: None };
        let key = if wanted.shares.shares == 0 { None } else { Some(DataKey::generate()?) };
        if let Some(key) = &key {
            made.shares = split(key, wanted.shares)?;
        }
        if let Some(key) = key.as_ref().filter(|_| wanted.verify) {
            let nonce = random::uuid()?;
            rekey.fresh = Some(Fresh { key: key.clone(), nonce: nonce.clone(), given: Given::default() });
            made.verification_nonce = Some(nonce);
            return Ok(made);
        }
        match self.commit(open, place.which(), record, stored, key.as_ref(), wanted.shares).await {
            Ok(()) => {
                tracing::warn!(nonce = made.nonce, which = ?place.which(), "a new key is in use");
                Ok(made)
            }
            // These may be the only shares that open.
            Err(Failed::Perhaps) => Err(with_shares(&made.shares)),
            Err(Failed::Nothing(error)) => Err(error),
        }
    }

    /// Writes a new key. `key` is none where seals have the unseal key.
    pub(super) async fn commit(
        &self,
        open: &Open,
        which: Which,
        record: &[u8],
        stored: &Stored,
        key: Option<&DataKey>,
        shares: Shares,
    ) -> std::result::Result<(), Failed> {
        let mut changed = stored.clone();
        if let (Which::Recovery, Some(key)) = (which, key) {
            changed.shares = shares;
            let hash = View::plain(&open.barrier, "sys/core/").to_write(RECOVERY, Some(recovery_hash(key).as_ref()))?;
            let mut batch = replacing(record, &changed)?;
            batch.writes.push(hash);
            return Ok(open.barrier.replace_shares(shares, batch).await?);
        }
        // Another root key, too: with it alone neither old shares nor an old copy of the record open what is written from now on.
        let root_key = DataKey::generate().map_err(Error::from)?;
        if let Some(key) = key {
            let wrapped = shamir::wrap(key, &root_key).map_err(|error| seal_failed("wrap", &error))?;
            changed.root_key = vec![Wrapped { seal: shamir::NAME.to_owned(), wrapped }];
            changed.shares = shares;
        } else {
            changed.root_key = self.wrap_root_key(&root_key).await?;
        }
        let batch = replacing(record, &changed)?;
        Ok(open.barrier.replace_root_key(&root_key, changed.shares, batch).await?)
    }
}

/// Puts `changed` in place of the seal's record, if that is still `record`.
fn replacing(record: &[u8], changed: &Stored) -> Result<Batch> {
    let written = serde_json::to_vec(changed).map_err(|error| Error::internal(&error))?;
    let path = Stored::PATH.to_owned();
    Ok(Batch { conditions: vec![(path.clone(), Some(record.to_vec()))], writes: vec![(path, Some(written))] })
}

/// The error of a key that may be the key now, with its shares: without them nobody would have it.
fn with_shares(shares: &[SecretBytes]) -> Error {
    let texts = |form: fn(&[u8]) -> String| shares.iter().map(|share| form(share.expose())).collect::<Vec<_>>();
    let data = object! {
        "errors": vec![PERHAPS],
        "keys": texts(hex),
        "keys_base64": texts(|share| STANDARD.encode(share)),
    };
    Error { data: Some(data), ..Error::new(500, PERHAPS) }
}
