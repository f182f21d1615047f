//! A new key: new shares for people, and the root key under a new seal.
//!
//! The unseal key of a server that people open; the recovery key of one that a seal opens. That seal's own key is the key service's: rekeying
//! the unseal key of such a server makes a new root key, that every seal wraps.
//!
//! With verification people get their new shares first, and give them back as proof that they were kept; until then the old ones are the shares.
//! Without, the new ones are the shares from the answer on: an answer that is lost takes the key with it.

use bulla_core::{DataKey, SecretBytes};

use super::{Given, State, check, needed};
use crate::core::sealing::check_shares;
use crate::core::{Core, Open, random};
use crate::logical::{Error, Result};
use crate::seal::{Shares, Stored, shamir};

/// Which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What opens the server.
    Unseal,
    /// What people hold where a seal opens it.
    Recovery,
}

/// Where it is asked for. The two places do the same, in words of their own.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// `sys/rekey` and `sys/rekey-recovery-key`, Vault's.
    Rekey(Which),
    /// `sys/rotate/root` and `sys/rotate/recovery`, OpenBao's.
    Rotation(Which),
}

/// What a new key is to be like.
#[derive(Clone, Copy, Debug)]
pub struct NewKey {
    /// How it is shared.
    pub shares: Shares,
    /// Whether the new shares have to be given back.
    pub verify: bool,
}

/// A new key that is being made.
pub(super) struct Rekey {
    pub(super) nonce: String,
    pub(super) wanted: NewKey,
    given: Given,
    /// The key, when it waits for its verification.
    pub(super) fresh: Option<Fresh>,
}

/// A key that waits for its shares to come back.
pub(super) struct Fresh {
    pub(super) key: DataKey,
    pub(super) nonce: String,
    pub(super) given: Given,
}

/// How far it is.
#[derive(Clone, Debug)]
pub struct RekeyStatus {
    /// How many shares are needed.
    pub required: usize,
    /// What was begun.
    pub begun: Option<Begun>,
}

/// What was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its number.
    pub nonce: String,
    /// What the new key is to be like.
    pub wanted: NewKey,
    /// How many shares were given.
    pub progress: usize,
    /// The number of the verification, if that is what is waited for.
    pub verification_nonce: Option<String>,
}

/// How far a verification is.
#[derive(Clone, Debug)]
pub struct VerifyStatus {
    /// Its number; `None` if the new key is not made yet.
    pub nonce: Option<String>,
    /// How the new key is shared.
    pub shares: Shares,
    /// How many new shares were given.
    pub progress: usize,
}

/// A new key.
pub struct Made {
    /// The number of the attempt.
    pub nonce: String,
    /// The new shares; none where a seal opens the server.
    pub shares: Vec<SecretBytes>,
    /// The number of the verification that has to follow.
    pub verification_nonce: Option<String>,
}

impl Place {
    pub(super) const fn which(self) -> Which {
        match self {
            Self::Rekey(which) | Self::Rotation(which) => which,
        }
    }

    /// What it is called there.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rekey(_) => "rekey",
            Self::Rotation(_) => "rotation",
        }
    }

    fn bad(self, what: &str) -> Error {
        Error::bad_request(format!("{}{what}", self.word()))
    }

    fn none(self) -> Error {
        Error::bad_request(match self {
            Self::Rekey(Which::Unseal) => "no barrier rekey in progress",
            Self::Rekey(Which::Recovery) => "no recovery rekey in progress",
            Self::Rotation(_) => "no rotation in progress",
        })
    }

    fn wrong_nonce(self, nonce: &str) -> Error {
        let what = if matches!(self, Self::Rekey(_)) { "this rekey operation" } else { "rotation" };
        Error::bad_request(format!("incorrect nonce supplied; nonce for {what} is {nonce:?}"))
    }

    fn twice(self) -> String {
        let during = match self {
            Self::Rekey(Which::Unseal) => "this generation operation",
            Self::Rekey(Which::Recovery) => "this rekey operation",
            Self::Rotation(_) => "this rotation",
        };
        format!("given key has already been provided during {during}")
    }
}

impl State {
    const fn rekey(&mut self, which: Which) -> &mut Option<Rekey> {
        match which {
            Which::Unseal => &mut self.unseal,
            Which::Recovery => &mut self.recovery,
        }
    }
}

impl Core {
    /// Whether the key of `place` is one that this server has. The seal's record, as it is in storage and read.
    async fn record_for(&self, open: &Open, place: Place) -> Result<(Vec<u8>, Stored)> {
        let (record, stored) = self.record(open).await?;
        if place.which() == Which::Unseal || !stored.is_shamir() {
            return Ok((record, stored));
        }
        Err(Error::bad_request(match place {
            Place::Rekey(_) => "recovery rekeying not supported",
            Place::Rotation(_) => "recovery keys not supported",
        }))
    }

    /// How far a new key is.
    ///
    /// # Errors
    /// 503 if the server is sealed; 400 if it has no such key.
    pub async fn rekey_status(&self, place: Place) -> Result<RekeyStatus> {
        let open = self.open()?;
        let mut state = open.quorum.lock().await;
        let required = self.record_for(&open, place).await?.1.shares.threshold;
        let begun = state.rekey(place.which()).as_ref().map(|rekey| Begun {
            nonce: rekey.nonce.clone(),
            wanted: rekey.wanted,
            progress: rekey.given.len(),
            verification_nonce: rekey.fresh.as_ref().map(|fresh| fresh.nonce.clone()),
        });
        Ok(RekeyStatus { required, begun })
    }

    /// Begins a new key. With no recovery key there are no shares to ask for: it is made at once.
    ///
    /// # Errors
    /// 400 if one is under way, or the numbers do not go together.
    pub async fn begin_rekey(&self, place: Place, mut wanted: NewKey) -> Result<Option<Made>> {
        let open = self.open()?;
        let mut state = open.quorum.lock().await;
        let (record, stored) = self.record_for(&open, place).await?;
        let first = place.which() == Which::Recovery && stored.shares.threshold == 0;
        match (place.which(), !stored.is_shamir()) {
            (Which::Unseal, true) => {
                needed(&stored)?;
                if wanted.verify {
                    let doing = if matches!(place, Place::Rekey(_)) { "rekeying" } else { "rotating" };
                    return Err(Error::bad_request(format!(
                        "requiring verification not supported when {doing} the barrier key with recovery keys"
                    )));
                }
                // The seal's key is nobody's to share.
                wanted.shares = Shares { shares: 0, threshold: 0 };
            }
            (Which::Recovery, _) => check_shares(wanted.shares, "invalid recovery configuration")?,
            (Which::Unseal, false) => {
                let verb = if matches!(place, Place::Rekey(_)) { "rekey" } else { "rotate" };
                check_shares(wanted.shares, &format!("invalid {verb} seal configuration"))?;
            }
        }
        if first && matches!(place, Place::Rekey(_)) {
            // Everybody may ask there, and nobody has to agree.
            needed(&stored)?;
        }
        let slot = state.rekey(place.which());
        if slot.is_some() {
            return Err(place.bad(" already in progress"));
        }
        let nonce = random::uuid()?;
        tracing::warn!(nonce, which = ?place.which(), verify = wanted.verify, "somebody began to make a new key");
        let rekey = slot.insert(Rekey { nonce, wanted, given: Given::default(), fresh: None });
        if !first {
            return Ok(None);
        }
        let made = self.make_key(&open, place, &record, &stored, rekey).await;
        if !matches!(&made, Ok(made) if made.verification_nonce.is_some()) {
            *slot = None;
        }
        made.map(Some)
    }

    /// Makes a new root key, where a seal opens the server: nobody's shares are of it.
    ///
    /// # Errors
    /// 400 where people open it: the root key is wrapped by their key, which nobody here has.
    pub async fn rotate_root_key(&self) -> Result<()> {
        let open = self.open()?;
        let _state = open.quorum.lock().await;
        let (record, stored) = self.record(&open).await?;
        if stored.is_shamir() {
            return Err(Error::bad_request(
                "the root key of this server is wrapped by the key that people have shares of: begin with sys/rotate/root/init",
            ));
        }
        let committed = self.commit(&open, Which::Unseal, &record, &stored, None, stored.shares).await;
        committed.map_err(super::commit::Failed::into_error)?;
        tracing::warn!("a new root key is in use");
        Ok(())
    }

    /// Forgets what was begun.
    ///
    /// # Errors
    /// 503 if the server is sealed; 400 if it has no such key.
    pub async fn cancel_rekey(&self, place: Place) -> Result<()> {
        let open = self.open()?;
        if matches!(place, Place::Rekey(_)) {
            self.record_for(&open, place).await?;
        }
        *open.quorum.lock().await.rekey(place.which()) = None;
        Ok(())
    }

    /// Takes a share of the old key; the last that is needed makes the new one. `None`: more are needed.
    ///
    /// # Errors
    /// 400 for a share that cannot be one, or was given, for another nonce, and for shares that do not go together. 500 if the new key could not
    /// be written; with the new shares, if it may have been.
    pub async fn give_rekey_share(&self, place: Place, share: SecretBytes, nonce: &str) -> Result<Option<Made>> {
        let open = self.open()?;
        let mut state = open.quorum.lock().await;
        let (record, stored) = self.record(&open).await?;
        let slot = state.rekey(place.which());
        let rekey = slot.as_mut().ok_or_else(|| place.none())?;
        if let Some(fresh) = &rekey.fresh {
            let operation = if matches!(place, Place::Rekey(_)) { " operation" } else { "" };
            return Err(place.bad(&format!(
                "{operation} already finished; verification must be performed; nonce for the verification operation is {:?}",
                fresh.nonce
            )));
        }
        if nonce != rekey.nonce {
            return Err(place.wrong_nonce(&rekey.nonce));
        }
        let Some(given) = rekey.given.take(share, needed(&stored)?, || place.twice())? else { return Ok(None) };
        if let Err(error) = check(&open, &stored, &given).await {
            tracing::warn!(nonce, "wrong shares were given for a new key");
            return Err(error);
        }
        let made = self.make_key(&open, place, &record, &stored, rekey).await?;
        if made.verification_nonce.is_none() {
            *slot = None;
        }
        Ok(Some(made))
    }

    /// How far a verification is.
    ///
    /// # Errors
    /// 400 if no new key is being made.
    pub async fn verify_status(&self, place: Place) -> Result<VerifyStatus> {
        let open = self.open()?;
        if matches!(place, Place::Rekey(_)) {
            self.record_for(&open, place).await?;
        }
        let mut state = open.quorum.lock().await;
        let missing = || Error::bad_request(format!("no {} configuration found", place.word()));
        let rekey = state.rekey(place.which()).as_ref().ok_or_else(missing)?;
        let fresh = rekey.fresh.as_ref();
        Ok(VerifyStatus {
            nonce: fresh.map(|fresh| fresh.nonce.clone()),
            shares: rekey.wanted.shares,
            progress: fresh.map_or(0, |fresh| fresh.given.len()),
        })
    }

    /// Takes a new share; the last that is needed makes the new key the key. The verification's number then; `None`: more are needed.
    ///
    /// # Errors
    /// 400 for a share that cannot be one, or was given, for another nonce, and for shares that are not the new ones: they are forgotten, and the
    /// verification gets another number.
    pub async fn give_new_share(&self, place: Place, share: SecretBytes, nonce: &str) -> Result<Option<String>> {
        let open = self.open()?;
        let mut state = open.quorum.lock().await;
        let (record, stored) = match place {
            Place::Rekey(_) => self.record_for(&open, place).await?,
            Place::Rotation(_) => self.record(&open).await?,
        };
        let slot = state.rekey(place.which());
        let none = |what: &str| Error::bad_request(format!("no {}{what} in progress", place.word()));
        let rekey = slot.as_mut().ok_or_else(|| none(""))?;
        let fresh = rekey.fresh.as_mut().ok_or_else(|| none(" verification"))?;
        if nonce != fresh.nonce {
            return Err(Error::bad_request(format!(
                "incorrect nonce supplied; nonce for this verify operation is {:?}",
                fresh.nonce
            )));
        }
        let twice = || "given key has already been provided during this verify operation".to_owned();
        let Some(given) = fresh.given.take(share, rekey.wanted.shares.threshold, twice)? else { return Ok(None) };
        if !shamir::combine(&given).is_ok_and(|key| key == fresh.key) {
            fresh.nonce = random::uuid()?;
            return Err(place.bad(" verification failed; incorrect key shares supplied"));
        }
        let done = std::mem::take(&mut fresh.nonce);
        let committed =
            self.commit(&open, place.which(), &record, &stored, Some(&fresh.key), rekey.wanted.shares).await;
        if let Err(error) = committed {
            fresh.nonce = random::uuid()?;
            return Err(error.into_error());
        }
        tracing::warn!(which = ?place.which(), "a new key is in use, and the shares of the old one are not any more");
        *slot = None;
        Ok(Some(done))
    }

    /// Forgets the new shares that were given, and gives the verification another number.
    ///
    /// # Errors
    /// 400 if no new key is being made.
    pub async fn restart_verification(&self, place: Place) -> Result<VerifyStatus> {
        let open = self.open()?;
        if let Some(fresh) =
            open.quorum.lock().await.rekey(place.which()).as_mut().and_then(|rekey| rekey.fresh.as_mut())
        {
            fresh.given = Given::default();
            fresh.nonce = random::uuid()?;
        }
        self.verify_status(place).await
    }
}
