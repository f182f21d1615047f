//! A root token, made with shares of the key, that only whoever began can read: it is encoded with a one-time password.
//!
//! ```text
//! encoded = base64 without padding of (token XOR password)        both are as long as a token, one letter a byte
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bulla_core::{SecretBytes, SecretString};
use zeroize::Zeroizing;

use super::{Given, check, needed};
use crate::core::{Core, random, token};
use crate::logical::{Error, Result};

/// An attempt at a root token.
pub(super) struct Attempt {
    nonce: String,
    otp: SecretString,
    given: Given,
}

/// How far an attempt is.
#[derive(Default)]
pub struct RootStatus {
    /// Its number, if there is one.
    pub nonce: Option<String>,
    /// How many shares were given.
    pub progress: usize,
    /// How many are needed.
    pub required: usize,
    /// The one-time password: in the answer to who begins and brings none, and nowhere else.
    pub otp: Option<SecretString>,
    /// The token, encoded, when it is made.
    pub encoded_token: Option<String>,
}

/// How long a one-time password is.
pub const OTP: usize = token::TEXT;

impl Core {
    /// How far the attempt is, if there is one.
    ///
    /// # Errors
    /// 503 if the server is sealed.
    pub async fn root_status(&self) -> Result<RootStatus> {
        let open = self.open()?;
        let state = open.quorum.lock().await;
        let required = self.record(&open).await?.1.shares.threshold;
        let Some(attempt) = &state.root else { return Ok(RootStatus { required, ..RootStatus::default() }) };
        let (nonce, progress) = (Some(attempt.nonce.clone()), attempt.given.len());
        Ok(RootStatus { nonce, progress, required, ..RootStatus::default() })
    }

    /// Begins an attempt. Without a one-time password one is made.
    ///
    /// # Errors
    /// 400 if there is one, the password is not as long as a token, or nobody holds shares.
    pub async fn begin_root(&self, otp: Option<SecretString>) -> Result<RootStatus> {
        let open = self.open()?;
        let mut state = open.quorum.lock().await;
        let required = needed(&self.record(&open).await?.1)?;
        if otp.as_ref().is_some_and(|otp| otp.expose().len() != OTP) {
            return Err(Error::bad_request("OTP string has incorrect length"));
        }
        if state.root.is_some() {
            return Err(Error::bad_request("root generation already in progress for this namespace"));
        }
        let (otp, made) = if let Some(otp) = otp {
            (otp, None)
        } else {
            let otp = SecretString::from(random::text(OTP)?);
            (otp.clone(), Some(otp))
        };
        let nonce = random::uuid()?;
        tracing::warn!(nonce, "somebody began to make a root token");
        state.root = Some(Attempt { nonce: nonce.clone(), otp, given: Given::default() });
        Ok(RootStatus { nonce: Some(nonce), required, otp: made, ..RootStatus::default() })
    }

    /// Forgets the attempt.
    ///
    /// # Errors
    /// 503 if the server is sealed.
    pub async fn cancel_root(&self) -> Result<()> {
        self.open()?.quorum.lock().await.root = None;
        Ok(())
    }

    /// Takes a share; the last that is needed makes the token.
    ///
    /// # Errors
    /// 400 for a share that cannot be one, or was given, for another nonce, and for shares that do not go together.
    pub async fn give_root_share(&self, share: SecretBytes, nonce: &str) -> Result<RootStatus> {
        let open = self.open()?;
        // The record as it is when the shares are looked at: new ones may be on their way.
        let mut state = open.quorum.lock().await;
        let (_, stored) = self.record(&open).await?;
        let required = needed(&stored)?;
        let attempt = state.root.as_mut().ok_or_else(|| Error::bad_request("no root generation in progress"))?;
        if nonce != attempt.nonce {
            return Err(Error::bad_request(format!(
                "incorrect nonce supplied; nonce for this root generation operation is {:?}",
                attempt.nonce
            )));
        }
        let twice = || "given key has already been provided during this generation operation".to_owned();
        let given = attempt.given.take(share, required, twice)?;
        let mut status = RootStatus {
            nonce: Some(attempt.nonce.clone()),
            progress: attempt.given.len(),
            required,
            ..RootStatus::default()
        };
        let Some(given) = given else { return Ok(status) };
        if let Err(error) = check(&open, &stored, &given).await {
            tracing::warn!(nonce, "wrong shares were given for a root token");
            return Err(error);
        }
        let token = open.root_token(None).await?.token;
        status.encoded_token = Some(encode(token.expose(), attempt.otp.expose()));
        status.progress = required;
        tracing::warn!(nonce, "a root token was made");
        state.root = None;
        Ok(status)
    }
}

/// A token that only the one-time password shows; both have the same length.
fn encode(token: &str, otp: &str) -> String {
    let both = token.bytes().zip(otp.bytes());
    STANDARD_NO_PAD.encode(Zeroizing::new(both.map(|(letter, mask)| letter ^ mask).collect::<Vec<u8>>()))
}

/// Shows an encoded token.
///
/// # Errors
/// 400 if it is not encoded, or the password is not as long.
pub fn decode(encoded: &str, otp: &SecretString) -> Result<SecretString> {
    let bytes = STANDARD_NO_PAD.decode(encoded.trim_end_matches('='));
    let bytes = bytes.map_err(|_| Error::bad_request("error decoding base64'd token: it is not base64"))?;
    let mut bytes = SecretBytes::from(bytes);
    let otp = otp.expose().as_bytes();
    if bytes.len() != otp.len() {
        return Err(Error::bad_request(format!(
            "error xoring token: length of byte slices is not equivalent: {} != {}",
            bytes.len(),
            otp.len()
        )));
    }
    bytes.expose_mut().iter_mut().zip(otp).for_each(|(byte, mask)| *byte ^= mask);
    SecretString::from_utf8(bytes).map_err(|_| Error::bad_request("this is not the one-time password of this token"))
}
