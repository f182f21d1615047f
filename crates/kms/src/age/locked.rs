//! Identity files encrypted with a passphrase (`age -p`), opened at first need and once.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor};
use age_core::secrecy;
use bulla_core::{Env, KeyErrorKind, SecretString};
use zeroize::Zeroizing;

use super::agent::{Agent, Answer, cache_id};
use super::identity::{self, Identity};
use crate::ask::{Ask, AskError};
use crate::failure::Failure;

/// How often a passphrase is asked for.
const ATTEMPTS: usize = 3;
/// The largest scrypt work factor that is accepted, age's own limit: some 15 s and 4 GiB.
const MAX_WORK: u8 = 22;

/// An encrypted identity file.
pub(super) struct Locked {
    /// Without armor.
    contents: Vec<u8>,
    place: String,
    /// The identities, or why there are none. Nobody is asked again then.
    opened: Mutex<Option<Result<Arc<[Identity]>, Failure>>>,
}

impl Locked {
    /// Whether this is an age file: sops tells by the first 14 bytes.
    pub(super) fn recognise(bytes: &[u8]) -> bool {
        bytes.starts_with(b"age-encryption") || bytes.starts_with(b"-----BEGIN AGE")
    }

    /// Takes the bytes of such a file, armored or not.
    ///
    /// # Errors
    /// What is wrong with its armor.
    pub(super) fn new(bytes: &[u8], place: &str) -> Result<Self, String> {
        let mut contents = Vec::new();
        ArmoredReader::new(bytes)
            .read_to_end(&mut contents)
            .map_err(|_| "it is an age file whose armor is damaged or cut off".to_owned())?;
        Ok(Self { contents, place: place.to_owned(), opened: Mutex::default() })
    }

    /// Whether a passphrase must be asked for before it can be used.
    pub(super) fn asks(&self) -> bool {
        // While someone is being asked the lock is held, and that may take long.
        self.opened.try_lock().map_or(true, |opened| opened.is_none())
    }

    /// The identities in it, if it was opened before. Asks nobody and does not wait.
    pub(super) fn opened(&self) -> Option<Arc<[Identity]>> {
        self.opened.try_lock().ok()?.as_ref()?.as_ref().ok().map(Arc::clone)
    }

    /// The identities in it. May ask for the passphrase; blocks.
    ///
    /// # Errors
    /// If nobody has the passphrase, or the file is damaged.
    pub(super) fn identities(&self, env: &dyn Env, ask: &dyn Ask) -> Result<Arc<[Identity]>, Failure> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.get_or_insert_with(|| self.unlock(env, ask)).clone()
    }

    fn unlock(&self, env: &dyn Env, ask: &dyn Ask) -> Result<Arc<[Identity]>, Failure> {
        let bad_file = |what: &str| Failure::new(KeyErrorKind::BadKeyFile, format!("{}: {what}", self.place));
        let header = Decryptor::new_buffered(self.contents.as_slice())
            .map_err(|_| bad_file("it is an age file that is damaged or cut off"))?;
        if !header.is_scrypt() {
            return Err(bad_file("it is encrypted to a recipient; only files encrypted with a passphrase are opened"));
        }
        let id = cache_id(&self.contents);
        let mut problem = None;
        for _ in 0..ATTEMPTS {
            let passphrase = self.passphrase(env, ask, &id, problem)?;
            match self.decrypt(&passphrase) {
                Ok(text) => {
                    let text = std::str::from_utf8(&text).map_err(|_| bad_file("what it holds is not text"))?;
                    let identities = identity::parse_lines(text).map_err(|what| bad_file(&what))?;
                    if identities.is_empty() {
                        return Err(bad_file("there is no identity in it"));
                    }
                    return Ok(identities.into());
                }
                Err(DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed) => {
                    if let Some(mut agent) = Agent::connect(env) {
                        // At worst the agent gives the same again, and the attempts run out.
                        let _ = agent.forget(&id);
                    }
                    problem = Some("That is not its passphrase.");
                }
                Err(DecryptError::ExcessiveWork { required, .. }) => {
                    let what = format!("its work factor of 2^{required} is past the limit of 2^{MAX_WORK}");
                    return Err(bad_file(&what));
                }
                Err(_) => return Err(bad_file("it is damaged or cut off")),
            }
        }
        Err(Failure::new(KeyErrorKind::Denied, format!("{}: wrong passphrase, {ATTEMPTS} times", self.place)))
    }

    /// From the agent's cache, or from the person: through the agent's pinentry, or the terminal if there is no agent or
    /// it cannot ask.
    fn passphrase(
        &self,
        env: &dyn Env,
        ask: &dyn Ask,
        id: &str,
        problem: Option<&str>,
    ) -> Result<SecretString, Failure> {
        let question = format!("Enter passphrase for identity '{}':", self.place);
        if let Some(mut agent) = Agent::connect(env) {
            match agent.passphrase(id, problem, &question) {
                Ok(Answer::Passphrase(passphrase)) => return Ok(passphrase),
                Ok(Answer::Cancelled) => return Err(AskError::Cancelled.about(&self.place)),
                Ok(Answer::Unable(what)) => tracing::debug!("gpg-agent cannot ask for a passphrase: {what}"),
                Err(error) => tracing::debug!("gpg-agent cannot ask for a passphrase: {error}"),
            }
        }
        let question = problem.map_or_else(|| question.clone(), |problem| format!("{problem} {question}"));
        ask.secret(&question).map_err(|error| error.about(&self.place))
    }

    fn decrypt(&self, passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
        let mut identity = age::scrypt::Identity::new(secrecy::SecretString::from(passphrase.expose()));
        identity.set_max_work_factor(MAX_WORK);
        let identity: &dyn age::Identity = &identity;
        let mut plain = Decryptor::new_buffered(self.contents.as_slice())?.decrypt(std::iter::once(identity))?;
        // What is read never outgrows the file, so the buffer never moves and leaves no copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(self.contents.len() + 32));
        plain.read_to_end(&mut text)?;
        Ok(text)
    }
}
