//! Initializing and sealing; [`unseal`] opens, and [`migrate`] is how a server gets another seal.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bulla_core::{DataKey, SecretBytes};
use futures_util::FutureExt;

mod begin;
mod migrate;
mod unseal;

pub(super) use self::migrate::check_kept;
pub(super) use self::unseal::Progress;

use super::policy::ROOT;
use super::token::Entry;
use super::{Core, Open, random};
use crate::barrier::{Barrier, BarrierError, View};
use crate::logical::{Auth, Error, Issued, Result, TokenText};
use crate::seal::{SealError, Shares, Stored, Wrapped, shamir};
use crate::storage::{Batch, commit_surely};

/// What a server is to be initialized with.
#[derive(Clone, Copy, Debug)]
pub struct Init {
    /// How the unseal key, or with a seal that opens by itself the recovery key, is shared.
    pub shares: Shares,
}

/// What initializing gives, once.
pub struct Initialized {
    /// The shares.
    pub shares: Vec<SecretBytes>,
    /// Whether they are of the recovery key.
    pub recovery: bool,
    /// The first token.
    pub root_token: TokenText,
}

/// What unsealing came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// More shares are needed.
    More,
    /// It is open.
    Open,
}

/// What everybody may know.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the answer, and says one thing")]
pub struct SealStatus {
    /// The seal's kind.
    pub kind: String,
    /// Whether there is a keyring.
    pub initialized: bool,
    /// Whether it is sealed.
    pub sealed: bool,
    /// How many shares are needed, of how many.
    pub threshold: usize,
    /// Of how many.
    pub shares: usize,
    /// How many are there.
    pub progress: usize,
    /// Which attempt it is.
    pub nonce: String,
    /// Whether the shares are of the recovery key.
    pub recovery: bool,
    /// Whether the server waits for shares to leave its seal for another.
    pub migrating: bool,
    /// The cluster's name and id, when it is open.
    pub cluster: Option<(String, String)>,
}

impl Core {
    /// What is kept of the seal, as it is in storage and read.
    pub(super) async fn stored_record(&self) -> Result<Option<(Vec<u8>, Stored)>> {
        let bytes = self.storage.get(Stored::PATH).await.map_err(BarrierError::from)?;
        let Some(bytes) = bytes else { return Ok(None) };
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|_| Error::internal(&"the seal's record is damaged"))?;
        if stored.version != Stored::VERSION {
            return Err(Error::internal(&"the seal's record was written by another version"));
        }
        // Nothing vouches for this record: who can write to the storage can change it.
        if !is_sound(&stored) {
            return Err(Error::internal(&"the seal's record is damaged: nothing that this server writes is like it"));
        }
        Ok(Some((bytes, stored)))
    }

    async fn stored(&self) -> Result<Option<Stored>> {
        Ok(self.stored_record().await?.map(|(_, stored)| stored))
    }

    /// The root key, wrapped by each seal that opens by itself, which each has proved to open again.
    pub(super) async fn wrap_root_key(&self, root_key: &DataKey) -> Result<Vec<Wrapped>> {
        let all = async {
            let mut all = Vec::with_capacity(self.seals.current.len());
            for seal in &self.seals.current {
                let wrapped = seal.wrap(root_key).await.map_err(|error| seal_failed("wrap", &error))?;
                // A key that may be used in one direction alone opens no server.
                let opened = seal.unwrap(&wrapped).await.map_err(|error| seal_failed("unwrap", &error))?;
                if opened != *root_key {
                    return Err(seal_failed("unwrap", &SealError::WrongKey(seal.name())));
                }
                all.push(Wrapped { seal: seal.name(), wrapped });
            }
            Ok(all)
        };
        self.unless_stopping(all).await
    }

    /// Whether there is a keyring.
    pub async fn is_initialized(&self) -> Result<bool> {
        Ok(self.stored().await?.is_some())
    }

    /// Whether it opens by itself.
    pub fn has_auto_seal(&self) -> bool {
        !self.seals.current.is_empty()
    }

    /// The kind of the seal: the first, if there are several.
    pub fn seal_kind(&self) -> &'static str {
        self.seals.current.first().map_or(shamir::NAME, |seal| seal.kind())
    }

    /// What everybody may know.
    pub async fn seal_status(&self) -> Result<SealStatus> {
        let kind = self.seal_kind().to_owned();
        let open = self.open().ok();
        let Some(stored) = self.stored().await? else {
            return Ok(SealStatus { kind, sealed: true, recovery: self.has_auto_seal(), ..SealStatus::default() });
        };
        let (progress, nonce) = self.progress().shown();
        Ok(SealStatus {
            kind,
            initialized: true,
            sealed: open.is_none(),
            threshold: stored.shares.threshold,
            shares: stored.shares.shares,
            progress,
            nonce,
            recovery: self.has_auto_seal(),
            migrating: open.is_none() && self.left(&stored).is_some(),
            cluster: open.map(|open| open.cluster.clone()),
        })
    }

    /// Makes all keys, and the first token. With a seal that opens by itself the server is open then, else it is sealed.
    ///
    /// # Errors
    /// 400 if there are keys, or the numbers do not go together.
    pub async fn initialize(&self, init: Init) -> Result<Initialized> {
        self.make_keys(init, None).await
    }

    /// Makes all keys, and the token in whose name the server initializes itself. Until [that is finished](Self::finish_by_itself), no later start opens it.
    ///
    /// # Errors
    /// 400 if there are keys.
    pub async fn begin_by_itself(&self) -> Result<TokenText> {
        let init = Init { shares: Shares { shares: 0, threshold: 0 } };
        Ok(self.make_keys(init, Some("its beginning")).await?.root_token)
    }

    /// Notes what is being done while the server initializes itself.
    ///
    /// # Errors
    /// If it is sealed, or the storage does not take it.
    pub async fn note_step(&self, step: &str) -> Result<()> {
        Ok(own(&self.open()?.barrier).put(UNFINISHED, step.as_bytes()).await?)
    }

    /// The server has initialized itself.
    ///
    /// # Errors
    /// If it is sealed, or the storage does not take it.
    pub async fn finish_by_itself(&self) -> Result<()> {
        Ok(own(&self.open()?.barrier).delete(UNFINISHED).await?)
    }

    /// Why this server is never opened, if its self-initialization did not finish. Known after it was tried to open it.
    pub fn unfinished(&self) -> Option<&str> {
        self.unfinished.get().map(String::as_str)
    }

    /// `step`: what it is at when it initializes itself.
    async fn make_keys(&self, init: Init, step: Option<&str>) -> Result<Initialized> {
        let _changing = self.changing.lock().await;
        if self.stored().await?.is_some() {
            return Err(Error::bad_request("Vault is already initialized"));
        }
        let auto = self.has_auto_seal();
        // Where a seal opens the server, it can do without people.
        if !auto || init.shares != (Shares { shares: 0, threshold: 0 }) {
            check_shares(
                init.shares,
                if auto { "invalid recovery configuration" } else { "invalid seal configuration" },
            )?;
        }
        let (root_key, share_key) = (DataKey::generate()?, DataKey::generate()?);
        let wrapped = if auto {
            self.wrap_root_key(&root_key).await?
        } else {
            let one = shamir::wrap(&share_key, &root_key).map_err(|error| Error::internal(&error))?;
            vec![Wrapped { seal: shamir::NAME.to_owned(), wrapped: one }]
        };
        let shares = if init.shares.shares == 0 { Vec::new() } else { split(&share_key, init.shares)? };
        let name = if self.options.cluster_name.is_empty() {
            format!("vault-cluster-{}", random::short_hex()?)
        } else {
            self.options.cluster_name.clone()
        };
        let stored = Stored {
            version: Stored::VERSION,
            root_key: wrapped,
            shares: init.shares,
            cluster_name: name,
            cluster_id: random::uuid()?,
        };
        let hash = auto.then(|| recovery_hash(&share_key));
        let mut unfinished = Unfinished(Some(self));
        let made = self.fill(root_key, &stored, hash.as_ref().map(AsRef::as_ref), step).await;
        if made.is_err() || !auto {
            self.stop().await;
        }
        unfinished.0 = None;
        let root_token = made?;
        *self.progress() = Progress::default();
        Ok(Initialized { shares, recovery: auto, root_token })
    }

    /// Writes all that a server begins with. Open then, if nothing went wrong.
    async fn fill(
        &self,
        root_key: DataKey,
        stored: &Stored,
        recovery: Option<&[u8]>,
        step: Option<&str>,
    ) -> Result<TokenText> {
        let barrier = Arc::new(begin::make_barrier(&self.storage, &root_key, stored.shares).await?);
        if let Some(hash) = recovery {
            // Only to tell a right recovery key from a wrong one.
            own(&barrier).put(RECOVERY, hash).await?;
        }
        if let Some(step) = step {
            // Before the server counts as initialized: killed at any moment, it is not opened with half of what it was to have.
            own(&barrier).put(UNFINISHED, step.as_bytes()).await?;
        }
        let open = self.start(barrier, (stored.cluster_name.clone(), stored.cluster_id.clone())).await?;
        let root_token = open.root_token(None).await?.token;
        // Last: with this record the server is initialized, and before it is not.
        let record = serde_json::to_vec(stored).map_err(|error| Error::internal(&error))?;
        let batch = Batch {
            conditions: vec![(Stored::PATH.to_owned(), None)],
            writes: vec![(Stored::PATH.to_owned(), Some(record)), (begin::BEGUN.to_owned(), None)],
        };
        commit_surely(self.storage.as_ref(), batch).await.map_err(BarrierError::from)?;
        Ok(root_token)
    }

    /// Forgets all keys. Shares open it again; a seal that needs nobody does so at the next start.
    pub async fn seal(&self) {
        // Who gives shares once it is sealed comes after this: none is forgotten, and what they open stays open.
        let mut turn = std::pin::pin!(self.changing.lock());
        let has_turn = turn.as_mut().now_or_never();
        // At once, whatever else is being done: a key service may take its time. Then what was being opened meanwhile.
        self.stays_sealed.store(true, Ordering::Relaxed);
        self.stop().await;
        let _changing = match has_turn {
            Some(turn) => turn,
            None => turn.await,
        };
        *self.progress() = Progress::default();
        self.stays_sealed.store(true, Ordering::Relaxed);
        self.stop().await;
    }
}

impl Core {
    /// Forgets all keys for good, and waits for audit devices to have what was written down, as long as that may take.
    pub async fn end(&self) {
        self.seal().await;
        let left = self.metrics.sinks.finished(AUDIT_END).await;
        if left > 0 {
            tracing::error!(left, "audit devices did not take in time what they were given");
        }
    }
}

/// A server whose keys are being made. Dropped before they are, it is sealed: with keys that nobody has it serves nobody.
struct Unfinished<'a>(Option<&'a Core>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        drop(self.0.and_then(Core::close));
    }
}

impl Open {
    /// Makes a token that may do everything and has no end.
    pub async fn root_token(&self, id: Option<TokenText>) -> Result<Issued> {
        let entry = Entry {
            path: "auth/token/root".to_owned(),
            policies: vec![ROOT.to_owned()],
            auth: Auth { display_name: "root".to_owned(), policies: vec![ROOT.to_owned()], ..Auth::default() },
            ..Entry::default()
        };
        Ok(self.tokens.issue(entry, id, &self.expiry).await?.0)
    }
}

/// What the core keeps for itself.
fn own(barrier: &Arc<Barrier>) -> View {
    View::plain(barrier, "sys/core/")
}

/// How long audit devices have at the end.
const AUDIT_END: std::time::Duration = std::time::Duration::from_secs(6);
/// Where it is noted that the server has not yet initialized itself, below `sys/core/`.
const UNFINISHED: &str = "unfinished";
/// Where the hash of the recovery key is, below `sys/core/`.
pub(super) const RECOVERY: &str = "recovery";

/// Whether a record is one that this server can have written.
fn is_sound(stored: &Stored) -> bool {
    let nobody = !stored.is_shamir() && stored.shares == (Shares { shares: 0, threshold: 0 });
    let is_wrapped = |one: &Wrapped| !one.seal.is_empty() && !one.wrapped.is_empty();
    (nobody || check_shares(stored.shares, "shares").is_ok())
        && !stored.root_key.is_empty()
        && stored.root_key.iter().all(is_wrapped)
}

/// Whether the numbers go together.
///
/// # Errors
/// 400 with `what` before the reason, if they do not.
pub(super) fn check_shares(shares: Shares, what: &str) -> Result<()> {
    let Shares { shares, threshold } = shares;
    let bad = |why: &str| Err(Error::bad_request(format!("{what}: {why}")));
    match (shares, threshold) {
        (0, _) => bad("shares must be at least one"),
        (_, 0) => bad("threshold must be at least one"),
        (2.., 1) => bad("threshold must be greater than one for multiple shares"),
        (256.., _) => bad("shares must be less than 256"),
        _ if threshold > shares => bad("threshold cannot be larger than shares"),
        _ => Ok(()),
    }
}

/// Divides a key.
pub(super) fn split(key: &DataKey, shares: Shares) -> Result<Vec<SecretBytes>> {
    shamir::split(key, shares).map_err(|error| Error::bad_request(error.to_string()))
}

/// What is kept of the recovery key: enough to tell a right one from a wrong one. It is as long as it is random, so that nobody finds it by trying.
pub(super) fn recovery_hash(key: &DataKey) -> aws_lc_rs::digest::Digest {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.expose())
}

/// A seal did not do what it should.
pub(super) fn seal_failed(what: &str, error: &SealError) -> Error {
    tracing::error!(%error, "the seal could not {what} the root key");
    Error::new(500, format!("the seal could not {what} the root key: {error}"))
}
