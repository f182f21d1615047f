//! SSH private keys as identities: ed25519 and RSA, with or without a passphrase.

use std::io::BufReader;
use std::sync::{Mutex, PoisonError};

use age::DecryptError;
use age::ssh::{EncryptedKey, Recipient, UnsupportedKey};
use age_core::format::{FileKey, Stanza};
use age_core::secrecy;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use bulla_core::KeyErrorKind;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ask::Ask;
use crate::failure::Failure;

/// How often a passphrase is asked for.
const ATTEMPTS: usize = 3;

/// An SSH private key.
pub(super) struct Identity {
    key: Key,
    /// The public key in SSH's wire form.
    public: Vec<u8>,
    /// The type of the stanzas that are for such keys, and the first argument of those for this one.
    tag: (&'static str, String),
    /// Where it came from.
    place: String,
}

enum Key {
    Plain(age::ssh::Identity),
    /// Opened at first need: the key, or why there is none. Nobody is asked again then.
    Locked(EncryptedKey, Mutex<Option<Result<age::ssh::Identity, Failure>>>),
}

impl Identity {
    /// Parses a private key file, in OpenSSH's or the old PEM form.
    ///
    /// # Errors
    /// What is wrong with it, without its text.
    pub(super) fn parse(text: &str, place: &str) -> Result<Self, String> {
        let text = text.trim_start();
        if !text.starts_with("-----BEGIN") {
            return Err("it is not an SSH private key".to_owned());
        }
        let converted = pkcs1(text);
        let text = converted.as_ref().map_or(text, |converted| converted.as_str());
        let advice = format!("ssh-keygen -p -f {place} writes it in a form that is");
        let parsed = age::ssh::Identity::from_buffer(BufReader::new(text.as_bytes()), None).map_err(|_| match text
            .lines()
            .next()
        {
            Some("-----BEGIN PRIVATE KEY-----" | "-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
                format!("SSH keys in the PKCS#8 form are not supported; {advice}")
            }
            _ => "it is not a valid SSH private key".to_owned(),
        })?;
        if let age::ssh::Identity::Unsupported(key) = &parsed {
            return Err(match key {
                UnsupportedKey::EncryptedPem => {
                    format!("SSH keys with a passphrase in the old PEM form are not supported; {advice}")
                }
                UnsupportedKey::EncryptedSsh(cipher) => format!("keys encrypted with {cipher} are not supported"),
                UnsupportedKey::Hardware(kind) => format!("keys on a device ({kind}) cannot decrypt"),
                UnsupportedKey::Type(kind) => format!("SSH keys of the kind {kind} cannot decrypt"),
            });
        }
        let (kind, public) = match Recipient::try_from(parsed.clone()) {
            Ok(Recipient::SshEd25519(public, _)) => ("ssh-ed25519", public),
            Ok(Recipient::SshRsa(public, _)) => ("ssh-rsa", public),
            Err(_) => return Err("SSH keys of this kind or size are not supported".to_owned()),
        };
        let key = match parsed {
            age::ssh::Identity::Encrypted(key) => Key::Locked(key, Mutex::default()),
            key => Key::Plain(key),
        };
        let tag = (kind, BASE64_STANDARD_NO_PAD.encode(&Sha256::digest(&public)[..4]));
        Ok(Self { key, public, tag, place: place.to_owned() })
    }

    /// Whether it is the private key of this recipient.
    pub(super) fn belongs_to(&self, recipient: &Recipient) -> bool {
        let (Recipient::SshEd25519(public, _) | Recipient::SshRsa(public, _)) = recipient;
        *public == self.public
    }

    /// Whether a passphrase must be asked for before it can be used.
    pub(super) fn asks(&self) -> bool {
        match &self.key {
            Key::Plain(_) => false,
            // While someone is being asked the lock is held, and that may take long.
            Key::Locked(_, opened) => opened.try_lock().map_or(true, |opened| opened.is_none()),
        }
    }

    /// Whether its passphrase was asked for and given.
    pub(super) fn is_unlocked(&self) -> bool {
        match &self.key {
            Key::Plain(_) => false,
            Key::Locked(_, opened) => opened.try_lock().is_ok_and(|opened| matches!(*opened, Some(Ok(_)))),
        }
    }

    /// Tries the stanzas of a file; `None` if none is for this key. May ask for the passphrase, and blocks then.
    ///
    /// # Errors
    /// If one is, and the key cannot be had.
    pub(super) fn unwrap(&self, stanzas: &[Stanza], ask: &dyn Ask) -> Option<Result<FileKey, Failure>> {
        let mine = |stanza: &&Stanza| stanza.tag == self.tag.0 && stanza.args.first() == Some(&self.tag.1);
        let stanza = stanzas.iter().find(mine)?;
        match &self.key {
            Key::Plain(key) => self.open(key, stanza),
            Key::Locked(locked, opened) => {
                let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
                match opened.get_or_insert_with(|| self.unlock(locked, ask)) {
                    Ok(key) => self.open(key, stanza),
                    Err(failure) => Some(Err(failure.clone())),
                }
            }
        }
    }

    fn open(&self, key: &age::ssh::Identity, stanza: &Stanza) -> Option<Result<FileKey, Failure>> {
        let opened = age::Identity::unwrap_stanza(key, stanza)?;
        Some(opened.map_err(|_| {
            let what = format!("what is wrapped for {} is damaged", self.place);
            Failure::new(KeyErrorKind::BadCiphertext, what)
        }))
    }

    fn unlock(&self, key: &EncryptedKey, ask: &dyn Ask) -> Result<age::ssh::Identity, Failure> {
        let mut question = format!("Passphrase for {}:", self.place);
        for _ in 0..ATTEMPTS {
            let passphrase = ask.secret(&question).map_err(|error| error.about(&self.place))?;
            match key.decrypt(secrecy::SecretString::from(passphrase.expose())) {
                Ok(key) => return Ok(key.into()),
                Err(DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed) => {}
                Err(_) => return Err(Failure::new(KeyErrorKind::BadKeyFile, format!("{} is damaged", self.place))),
            }
            question = format!("That is not its passphrase. Passphrase for {}:", self.place);
        }
        Err(Failure::new(KeyErrorKind::Denied, format!("{}: wrong passphrase, {ATTEMPTS} times", self.place)))
    }
}

/// An RSA key in the PKCS#8 form, which sops takes and the age crate does not, in the PKCS#1 form that is inside it.
/// `None` for anything else.
///
/// ```text
/// PrivateKeyInfo ::= SEQUENCE { version, algorithm = rsaEncryption, privateKey OCTET STRING (an RSAPrivateKey) }
/// ```
///
/// RFC 5208 for the outer form, RFC 8017, appendix A.1.2, for the inner.
fn pkcs1(text: &str) -> Option<Zeroizing<String>> {
    const RSA: pkcs8::ObjectIdentifier = pkcs8::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    let body = text.strip_prefix("-----BEGIN PRIVATE KEY-----")?.split("-----END PRIVATE KEY-----").next()?;
    let mut letters = Zeroizing::new(String::with_capacity(body.len()));
    letters.extend(body.split_ascii_whitespace());
    let der = Zeroizing::new(BASE64_STANDARD.decode(letters.as_bytes()).ok()?);
    let key = pkcs8::PrivateKeyInfo::try_from(der.as_slice()).ok()?;
    if key.algorithm.oid != RSA {
        return None;
    }
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(key.private_key));
    let mut converted = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / 64 + 100));
    converted.push_str("-----BEGIN RSA PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        converted.push_str(line);
        converted.push('\n');
        rest = after;
    }
    converted.push_str("-----END RSA PRIVATE KEY-----\n");
    Some(converted)
}
