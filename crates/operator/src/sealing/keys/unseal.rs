//! Shares given by people: the controller starts sealed, and opens when enough of them have given theirs.
//!
//! `GET /v1/unseal` answers how far it is, and with a public key of X25519 and ML-KEM-768 that is made when the process starts and
//! never leaves it. `POST /v1/unseal` takes a share sealed to it. So whatever stands between (the API server's proxy, its audit log,
//! a load balancer) sees ciphertext, and what it recorded opens nothing later: not in this process once it is unsealed, since the
//! key is then thrown away, and not in another one.
//!
//! ```text
//! info            = "bulla unseal 1"
//! associated data = the set's id
//! plaintext       = the share's text, filled up with spaces to 256 bytes
//! body            = {"publicKey": base64 of its SHA-256, "enc": base64, "ciphertext": base64 of ciphertext || tag}
//! ```
//!
//! What a caller learns: that a share is of another set, has a typing error (both of which it could have checked itself), or was
//! not given out. Each share is compared with its public commitment, so a wrong one is refused by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{SecretBytes, SecretString};
use bulla_hybrid::{PrivateKey, PublicKey};
use bulla_kms::shares::{Collector, Joined, Progress, Set, Share, ShareError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

const INFO: &[u8] = b"bulla unseal 1";
const PADDED: usize = 256;
/// Requests that are answered in a burst, and how long one takes to be allowed again.
const BURST: u32 = 64;
const REFILL: Duration = Duration::from_millis(50);

/// The largest body that is read.
pub const MAX_BODY: usize = 16 * 1024;

/// How far it is: the answer to `GET` and to a `POST` that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Whether shares are still needed.
    pub sealed: bool,
    /// The set whose shares are needed.
    pub set: String,
    /// How many different ones are there. 0 when unsealed.
    pub given: usize,
    /// How many are needed.
    pub needed: usize,
    /// How many there are in the world.
    pub shares: usize,
    /// The key to seal a share to, base64; none when unsealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// A share on its way: the body of `POST`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedShare {
    /// SHA-256 of the public key that it is sealed to, base64.
    pub public_key: String,
    /// The encapsulated key, base64.
    pub enc: String,
    /// The ciphertext and its tag, base64.
    pub ciphertext: String,
}

/// Why a share was not taken. Says nothing of it but what its holder could find out alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// It is sealed to another public key than this process' own.
    #[error(
        "the share was sealed for another process, or before this one started: ask for its public key and send the share again"
    )]
    OtherKey,
    /// It does not open.
    #[error("the request is malformed, or not meant for this set")]
    Malformed,
    /// It is not a right share.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// There were too many requests.
    #[error("too many requests; wait a moment")]
    TooMany,
    /// No randomness for a key.
    #[error("no random numbers")]
    Random,
}

/// Where shares are given.
pub struct Unsealing {
    inner: Mutex<Inner>,
    joined: Arc<Joined>,
    set: Set,
    open: watch::Sender<bool>,
}

struct Inner {
    /// None once it is unsealed.
    collecting: Option<(PrivateKey, Collector)>,
    allowed: u32,
    since: Instant,
}

impl Unsealing {
    /// Sealed, for the shares of `set`. The key that they make goes to `joined`.
    ///
    /// # Errors
    /// [`UnsealError::Random`].
    pub fn new(set: Set, joined: Arc<Joined>) -> Result<Self, UnsealError> {
        let key = PrivateKey::generate().map_err(|_| UnsealError::Random)?;
        let collecting = Some((key, Collector::new(set.clone())));
        let inner = Mutex::new(Inner { collecting, allowed: BURST, since: Instant::now() });
        Ok(Self { inner, joined, set, open: watch::Sender::new(false) })
    }

    /// How far it is.
    pub fn state(&self) -> State {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        self.state_of(&inner)
    }

    /// Becomes true when enough shares were given.
    pub fn opened(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    /// Takes a share.
    ///
    /// # Errors
    /// [`UnsealError`]; the shares that are there stay.
    pub fn give(&self, sealed: &SealedShare) -> Result<State, UnsealError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.allow(Instant::now())?;
        let Some((key, collector)) = &mut inner.collecting else { return Ok(self.state_of(&inner)) };
        let text = open(key, &self.set.id, sealed)?;
        let progress = collector.give(Share::parse(&text)?)?;
        match &progress {
            Progress::More { given, needed } => tracing::info!(given, needed, "a share was given"),
            Progress::Complete(key) => {
                self.joined.insert(key.clone());
                // With the collector go the shares, with the key whatever was recorded on the way.
                inner.collecting = None;
                self.open.send_replace(true);
                tracing::info!("enough shares were given: unsealed");
            }
        }
        Ok(self.state_of(&inner))
    }

    fn state_of(&self, inner: &Inner) -> State {
        let collecting = inner.collecting.as_ref();
        State {
            sealed: collecting.is_some(),
            set: self.set.id.clone(),
            given: collecting.map_or(0, |(_, collector)| collector.given()),
            needed: self.set.threshold,
            shares: self.set.commitments.len(),
            public_key: collecting.map(|(key, _)| STANDARD.encode(key.public_key().to_bytes())),
        }
    }
}

impl Inner {
    /// A bucket of [`BURST`] that fills by one each [`REFILL`]: opening a request costs some computing, and anyone may send one.
    fn allow(&mut self, now: Instant) -> Result<(), UnsealError> {
        let whole = now.saturating_duration_since(self.since).as_millis() / REFILL.as_millis();
        if whole > 0 {
            self.allowed = self.allowed.saturating_add(u32::try_from(whole).unwrap_or(BURST)).min(BURST);
            self.since = now;
        }
        self.allowed = self.allowed.checked_sub(1).ok_or(UnsealError::TooMany)?;
        Ok(())
    }
}

impl State {
    /// Seals a share for the process that answered so.
    ///
    /// # Errors
    /// [`UnsealError::Share`] for a share of another set, which is not sent at all; [`UnsealError::Malformed`] for an answer that
    /// has no usable key.
    pub fn seal(&self, share: &Share) -> Result<SealedShare, UnsealError> {
        if share.set() != self.set {
            return Err(ShareError::OtherSet { given: share.set().to_owned(), wanted: self.set.clone() }.into());
        }
        let bytes = self.public_key_bytes().ok_or(UnsealError::Malformed)?;
        let public = PublicKey::from_bytes(&bytes).map_err(|_| UnsealError::Malformed)?;
        let mut text = share.to_text().into_bytes();
        let end = text.len();
        text.resize(PADDED);
        text.expose_mut()[end..].fill(b' ');
        let (enc, tag) =
            public.seal_in_place(INFO, self.set.as_bytes(), text.expose_mut()).map_err(|_| UnsealError::Malformed)?;
        // Ciphertext by now.
        let mut ciphertext = text.expose().to_vec();
        ciphertext.extend_from_slice(&tag);
        Ok(SealedShare {
            public_key: STANDARD.encode(Sha256::digest(&bytes)),
            enc: STANDARD.encode(enc),
            ciphertext: STANDARD.encode(ciphertext),
        })
    }

    /// The public key's fingerprint, which the controller logs at its start: who compares them knows that nobody stands between.
    pub fn key_fingerprint(&self) -> Option<String> {
        let hash = Sha256::digest(self.public_key_bytes()?);
        Some(hash[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn public_key_bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.public_key.as_ref()?).ok()
    }
}

fn open(key: &PrivateKey, set: &str, sealed: &SealedShare) -> Result<SecretString, UnsealError> {
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| UnsealError::Malformed);
    if decode(&sealed.public_key)? != Sha256::digest(key.public_key().to_bytes()).as_slice() {
        return Err(UnsealError::OtherKey);
    }
    let enc = decode(&sealed.enc)?;
    let ciphertext = decode(&sealed.ciphertext)?;
    let (body, tag) = ciphertext.split_at_checked(PADDED).ok_or(UnsealError::Malformed)?;
    let mut text = SecretBytes::from(body);
    key.open_in_place(INFO, set.as_bytes(), &enc, text.expose_mut(), tag).map_err(|_| UnsealError::Malformed)?;
    SecretString::from_utf8(text).map_err(|_| UnsealError::Malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_kms::shares;

    use super::*;

    fn gate(count: usize, needed: usize) -> (Unsealing, Vec<Share>, Arc<Joined>) {
        let (set, shares) = shares::create(count, needed).unwrap();
        let joined = Arc::new(Joined::default());
        (Unsealing::new(set, Arc::clone(&joined)).unwrap(), shares, joined)
    }

    #[test]
    fn enough_shares_unseal_and_the_key_is_thrown_away() {
        let (gate, shares, joined) = gate(3, 2);
        let state = gate.state();
        assert_eq!((state.sealed, state.given, state.needed, state.shares), (true, 0, 2, 3));
        let first = state.seal(&shares[2]).unwrap();
        assert_eq!(gate.give(&first).unwrap().given, 1);
        // Recorded and sent again: nothing changes.
        assert_eq!(gate.give(&first).unwrap().given, 1);
        let last = gate.give(&state.seal(&shares[0]).unwrap()).unwrap();
        assert_eq!((last.sealed, last.given, last.public_key), (false, 0, None));
        assert!(*gate.opened().borrow() && joined.contains(&last.set));
        assert!(!gate.give(&first).unwrap().sealed);
    }

    #[test]
    fn a_share_sealed_for_one_process_says_nothing_to_another() {
        let (set, shares) = shares::create(2, 2).unwrap();
        let before = Unsealing::new(set.clone(), Arc::default()).unwrap();
        let after = Unsealing::new(set, Arc::default()).unwrap();
        let recorded = before.state().seal(&shares[0]).unwrap();
        assert_eq!(after.give(&recorded), Err(UnsealError::OtherKey));
        // With the new key's name on it, the ciphertext is still for the old one.
        let other = after.state().seal(&shares[0]).unwrap();
        let forged = SealedShare { public_key: other.public_key, ..recorded };
        assert_eq!(after.give(&forged), Err(UnsealError::Malformed));
        assert_eq!(after.state().given, 0);
    }

    #[test]
    fn a_request_does_not_show_the_share() {
        let (gate, shares, _) = gate(2, 2);
        let sealed = gate.state().seal(&shares[0]).unwrap();
        let text = shares[0].to_text();
        let sent = serde_json::to_string(&sealed).unwrap();
        let decoded = STANDARD.decode(&sealed.ciphertext).unwrap();
        assert_eq!(decoded.len(), PADDED + 16, "every share has the same length on the way");
        assert!(!sent.contains(&text.expose()[50..70]));
        assert!(!decoded.windows(8).any(|window| window == &text.expose().as_bytes()[50..58]));
    }

    #[test]
    fn wrong_shares_are_refused_and_told_apart() {
        let (gate, shares, _) = gate(3, 2);
        let (_, others) = shares::create(3, 2).unwrap();
        let state = gate.state();
        gate.give(&state.seal(&shares[0]).unwrap()).unwrap();
        assert!(matches!(state.seal(&others[0]), Err(UnsealError::Share(ShareError::OtherSet { .. }))));
        // Another set's state with this process' key: the associated data does not fit.
        let lie = State { set: others[0].set().to_owned(), ..state.clone() };
        assert_eq!(gate.give(&lie.seal(&others[0]).unwrap()), Err(UnsealError::Malformed));
        let garbage = SealedShare { enc: "AAAA".to_owned(), ..state.seal(&shares[1]).unwrap() };
        assert_eq!(gate.give(&garbage), Err(UnsealError::Malformed));
        assert_eq!(gate.state().given, 1);
    }

    #[test]
    fn who_sends_too_much_waits() {
        let since = Instant::now();
        let mut inner = Inner { collecting: None, allowed: BURST, since };
        assert!((0..BURST).all(|_| inner.allow(since).is_ok()));
        assert_eq!(inner.allow(since), Err(UnsealError::TooMany));
        let later = since + REFILL;
        assert!(inner.allow(later).is_ok() && inner.allow(later).is_err());
        assert!((0..BURST).all(|_| inner.allow(later + REFILL * 1000).is_ok()));
        assert!(inner.allow(later + REFILL * 1000).is_err());
    }
}
