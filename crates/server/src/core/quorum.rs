//! What people do together who hold shares of a key, while the server is open: they make a root token, or a new key.
//!
//! The key is the unseal key; where a seal opens the server by itself, it is the recovery key. As many shares as are needed say that as many
//! people agree: nobody alone can do it, and nothing else allows it. What is under way is in memory alone, and sealing ends it.
//!
//! Shares are compared in constant time and wiped when they are not needed any more. Shares that do not go together are forgotten, all of them,
//! and the attempt goes on from its beginning under its nonce: which of them was wrong is not told.

use bulla_core::SecretBytes;
use tokio::sync::{Mutex, MutexGuard};

mod commit;
mod rekey;
mod root;

pub use rekey::{Begun, Made, NewKey, Place, RekeyStatus, VerifyStatus, Which};
pub use root::{OTP, RootStatus, decode as decode_token};

use super::sealing::{RECOVERY, check_kept, recovery_hash};
use super::{Core, Open};
use crate::barrier::View;
use crate::logical::{Error, Result};
use crate::seal::{Stored, shamir};

/// What is under way.
#[derive(Default)]
pub struct Quorum(Mutex<State>);

#[derive(Default)]
struct State {
    root: Option<root::Attempt>,
    unseal: Option<rekey::Rekey>,
    recovery: Option<rekey::Rekey>,
}

impl Quorum {
    async fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().await
    }
}

/// Shares that were given so far.
#[derive(Default)]
struct Given(Vec<SecretBytes>);

impl Given {
    /// Takes a share. All of them, once there are as many as are needed; none is kept then.
    ///
    /// # Errors
    /// 400 for what cannot be a share, and `twice` for one that was given already.
    fn take(
        &mut self,
        share: SecretBytes,
        threshold: usize,
        twice: impl FnOnce() -> String,
    ) -> Result<Option<Vec<SecretBytes>>> {
        if !shamir::is_share(&share, threshold) {
            return Err(Error::bad_request("invalid key: it has not the length of a share of this server's key"));
        }
        if self.0.contains(&share) {
            return Err(Error::bad_request(twice()));
        }
        self.0.push(share);
        Ok((self.0.len() >= threshold).then(|| std::mem::take(&mut self.0)))
    }

    const fn len(&self) -> usize {
        self.0.len()
    }
}

impl Core {
    /// The seal's record of a server that is open, as it is in storage and read.
    ///
    /// # Errors
    /// 500 if it is not as this server wrote it: how many people have to agree is not what somebody wrote there.
    async fn record(&self, open: &Open) -> Result<(Vec<u8>, Stored)> {
        let (record, stored) =
            self.stored_record().await?.ok_or_else(|| Error::internal(&"the seal's record is gone"))?;
        check_kept(&open.barrier, &stored)?;
        Ok((record, stored))
    }
}

/// How many shares say that people agree.
///
/// # Errors
/// 400 if nobody holds any.
fn needed(stored: &Stored) -> Result<usize> {
    match stored.shares.threshold {
        0 => Err(Error::bad_request(
            "this server has no recovery key, which is what would allow this; whoever may write sys/rotate/recovery/init can make one",
        )),
        threshold => Ok(threshold),
    }
}

/// Whether shares are of the key that people hold.
///
/// # Errors
/// 400 if they are not.
async fn check(open: &Open, stored: &Stored, given: &[SecretBytes]) -> Result<()> {
    let wrong = || {
        Error::bad_request(
            "the shares do not give the key of this server; all were forgotten, give them again from the first",
        )
    };
    let key = shamir::combine(given).map_err(|_| wrong())?;
    let is_right = if let Some(wrapped) = stored.wrapped_by(shamir::NAME) {
        shamir::unwrap(&key, wrapped).is_ok_and(|root_key| open.barrier.is_root_key(&root_key))
    } else {
        let hash = View::plain(&open.barrier, "sys/core/").get(RECOVERY).await?;
        let hash = hash.map(|hash| SecretBytes::from(hash.as_slice()));
        hash == Some(SecretBytes::from(recovery_hash(&key).as_ref()))
    };
    if is_right { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests;
