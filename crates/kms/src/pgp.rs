//! Data keys wrapped with OpenPGP, through the user's own `gpg`: their keyring, their agent, their smart card.
//!
//! Wrapped form: an armored OpenPGP message to one key, without a line end after its last line; in it the data key as it
//! is, as a binary literal.
//!
//! `gpg` is the one that `SOPS_GPG_EXEC` names, else the one on `PATH`; `GNUPGHOME` is its keyring, as always. The data
//! key passes through pipes only. The agent asks for passphrases and PINs with its own pinentry.
//!
//! sops tries an OpenPGP implementation of its own before `gpg`. It reads keyrings of a form that GnuPG has not written
//! since 2.1, and private keys outside the agent; what it makes, `gpg` reads. There is none here: one more parser of
//! OpenPGP and its keys in memory are not worth what it could open besides.

mod status;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::iter::once;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, Operation, SecretBytes, WrappedKey};
use tokio::sync::Mutex as Turn;

use self::status::Report;
use crate::ask::person_is_there;
use crate::command::{Output, Program, RunError};
use crate::failure::Failure;
use crate::registry::Context;

/// What the keys have in common: which were opened already.
#[derive(Default)]
pub(crate) struct State {
    /// By fingerprint. The first file opens a key, and may ask for its passphrase; those that come meanwhile wait for
    /// that, lest each asks.
    keys: Mutex<HashMap<String, Arc<Turn<Use>>>>,
}

/// What is known about using a secret key.
#[derive(Clone, Default)]
enum Use {
    /// Nothing yet.
    #[default]
    Untried,
    /// The agent has it.
    Open,
    /// The person was asked and did not open it. Nobody is asked again in this run.
    Refused(Failure),
}

/// Opens the service for `id`.
///
/// # Errors
/// [`KeyErrorKind::BadConfig`] for what is no fingerprint.
pub(crate) fn open(id: &KeyId, context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    let KeyId::Pgp { fingerprint } = id else {
        return Err(KeyError::new(KeyErrorKind::Unsupported, id, "this is not an OpenPGP key"));
    };
    // With a `!` exactly that subkey is meant, not the primary key's best. gpg, and so sops, takes a `0x` before it.
    let hex = fingerprint.strip_suffix('!').unwrap_or(fingerprint);
    let hex = hex.strip_prefix("0x").or_else(|| hex.strip_prefix("0X")).unwrap_or(hex);
    if !(8..=64).contains(&hex.len()) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = "not a fingerprint: 40 hexadecimal digits are expected";
        return Err(KeyError::new(KeyErrorKind::BadConfig, id, what)
            .with_hint("gpg --list-keys shows the fingerprints of the keys there are"));
    }
    let fingerprint = fingerprint.clone();
    Ok(Arc::new(Service { id: id.clone(), fingerprint, context: Arc::clone(context) }))
}

/// The key service of one OpenPGP key.
struct Service {
    id: KeyId,
    fingerprint: String,
    context: Arc<Context>,
}

#[async_trait]
impl KeyService for Service {
    fn id(&self) -> &KeyId {
        &self.id
    }

    /// What the agent will ask cannot be told without starting `gpg`, so it may for every file.
    async fn may_ask(&self, operation: Operation) -> bool {
        operation == Operation::Unwrap
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.encrypt(plaintext).await.map_err(|failure| failure.of(&self.id))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let key = {
            let mut keys = self.context.pgp.keys.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(keys.entry(self.fingerprint.clone()).or_default())
        };
        let mut first = key.lock().await;
        match &*first {
            Use::Refused(failure) => return Err(failure.clone().of(&self.id)),
            Use::Open => drop(first),
            Use::Untried => {
                let opened = self.decrypt(wrapped).await;
                match &opened {
                    Ok(_) => *first = Use::Open,
                    Err(failure) if failure.kind == KeyErrorKind::Denied => *first = Use::Refused(failure.clone()),
                    Err(_) => {}
                }
                return opened.map_err(|failure| failure.of(&self.id));
            }
        }
        self.decrypt(wrapped).await.map_err(|failure| failure.of(&self.id))
    }
}

impl Service {
    async fn encrypt(&self, plaintext: &SecretBytes) -> Result<WrappedKey, Failure> {
        // The fingerprint says which key is meant, so nothing has to vouch for it. sops has it with --trusted-key, which
        // costs a check of the user's trust database and leaves the key trusted there. This leaves nothing; but a key that
        // the user disabled in the keyring is taken, too, when a file names it.
        let arguments = [
            "--trust-model",
            "always",
            "--no-default-recipient",
            "--no-encrypt-to",
            "--yes",
            "--armor",
            "--encrypt",
            "--recipient",
            &self.fingerprint,
        ];
        let limit = Some(self.context.options.timeout);
        let output = self.gpg(&arguments, plaintext.expose(), limit).await?;
        let text = std::str::from_utf8(output.stdout.expose()).unwrap_or_default().trim();
        if output.status.success() && !text.is_empty() {
            return Ok(WrappedKey::new(text));
        }
        let report = Report::read(&output.stderr);
        let keys = if report.is_unusable() { self.listed().await } else { String::new() };
        Err(report.cannot_encrypt(&self.fingerprint, &keys, output.status))
    }

    async fn decrypt(&self, wrapped: &WrappedKey) -> Result<SecretBytes, Failure> {
        let context = &self.context;
        // A person may be looking for the smart card.
        let limit = (!person_is_there(context.env.as_ref())).then_some(context.options.timeout);
        let output = self.gpg(&["--decrypt"], wrapped.as_str().as_bytes(), limit).await?;
        let report = Report::read(&output.stderr);
        if report.was_in_the_clear() {
            let what = "the wrapped key is not encrypted: whoever reads the file has its data key";
            return Err(Failure::new(KeyErrorKind::BadCiphertext, what)
                .hint("whoever wrote the file made it so; encrypt it anew, and change the secrets in it"));
        }
        if output.status.success() && !output.stdout.is_empty() {
            return Ok(output.stdout);
        }
        Err(report.cannot_decrypt(output.status, context.env.var("GPG_TTY").is_some()))
    }

    /// What `gpg` says of the public key, in the form for programs.
    async fn listed(&self) -> String {
        let arguments = ["--with-colons", "--list-keys", &self.fingerprint];
        let output = self.gpg(&arguments, b"", Some(self.context.options.timeout)).await;
        output.map(|output| String::from_utf8_lossy(output.stdout.expose()).into_owned()).unwrap_or_default()
    }

    async fn gpg(&self, arguments: &[&str], input: &[u8], deadline: Option<Duration>) -> Result<Output, Failure> {
        let env = self.context.env.as_ref();
        let gpg = env.var("SOPS_GPG_EXEC").unwrap_or_else(|| OsString::from("gpg"));
        // Status lines are for programs and the same in all languages. They go where the complaints go, in order.
        let always = ["--batch", "--no-tty", "--status-fd", "2"];
        let argv: Vec<&OsStr> =
            once(gpg.as_os_str()).chain(always.iter().chain(arguments).map(|&word| OsStr::new(word))).collect();
        let passed: Vec<(&str, OsString)> =
            ["GNUPGHOME", "GPG_TTY"].into_iter().filter_map(|name| env.var(name).map(|value| (name, value))).collect();
        let environment: Vec<(&str, &OsStr)> = passed.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        let program = Program { name: "gpg", argv: &argv, environment: &environment, input, deadline };
        program.run().await.map_err(|error| {
            let setting = if env.var("SOPS_GPG_EXEC").is_some() { "SOPS_GPG_EXEC" } else { "gpg" };
            let failure = error.about(setting);
            match error {
                RunError::Start { .. } => failure.hint("install GnuPG, or set SOPS_GPG_EXEC to the path of gpg"),
                RunError::Slow { .. } => {
                    failure.hint("gpg-agent may be waiting for a passphrase that nobody is asked for")
                }
                _ => failure,
            }
        })
    }
}
