//! Keys that wrap data keys: what names them, what they answer, how they fail.
//!
//! A **data key** encrypts a file's values. A **key-encryption key**, held by a key service, wraps the data key; the
//! wrapped form stands in the file's metadata beside the [`KeyId`] that says who can unwrap it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use async_trait::async_trait;

use crate::SecretBytes;

/// What identifies a key-encryption key, with the fields that a file's metadata keeps for it.
///
/// Two ids are the same key exactly when they are equal. `Display` gives the short form that messages and
/// `--add-…`/`--rm-…` flags use (a recipient, a fingerprint, an ARN, a URL). Control characters in it, which whoever wrote
/// the file put there, come out escaped: they would move a terminal's cursor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyId {
    /// An age recipient: `age1…`, `age1pq1…`, `age1PLUGIN1…`, `ssh-ed25519 …` or `ssh-rsa …`.
    Age {
        /// The recipient as written.
        recipient: String,
    },
    /// An OpenPGP key.
    Pgp {
        /// Its fingerprint, upper-case hex without spaces.
        fingerprint: String,
    },
    /// A key of AWS KMS.
    AwsKms {
        /// The key's or alias' ARN.
        arn: String,
        /// A role to assume first.
        role: Option<String>,
        /// The encryption context, bound as associated data.
        context: BTreeMap<String, String>,
        /// The profile of the AWS configuration to use.
        profile: Option<String>,
    },
    /// A key of Google Cloud KMS.
    GcpKms {
        /// `projects/…/locations/…/keyRings/…/cryptoKeys/…`
        resource_id: String,
    },
    /// A key of Azure Key Vault.
    AzureKeyVault {
        /// `https://NAME.vault.azure.net`
        vault_url: String,
        /// The key's name.
        name: String,
        /// The key's version; empty for the newest.
        version: String,
    },
    /// A key of Huawei Cloud KMS.
    HuaweiKms {
        /// `REGION:UUID`
        key_id: String,
    },
    /// A key of Vault's (or OpenBao's) transit engine.
    VaultTransit {
        /// The server's address, `https://HOST:8200`.
        address: String,
        /// Where the engine is mounted, `transit` for example.
        mount: String,
        /// The key's name.
        key: String,
    },
    /// An AES-256 key in a local file.
    Local {
        /// The file of 32 raw bytes, mode 0600.
        path: PathBuf,
    },
    /// A key that nobody has whole: people hold Shamir shares of it and give them to the process that needs it.
    Shares {
        /// Which key: 32 hex digits, derived from it.
        set: String,
    },
}

impl KeyId {
    /// The kind's name: sops' spelling where sops has it. `age`, `pgp`, `kms`, `gcp_kms`, `azure_kv`, `hckms`,
    /// `hc_vault`, `local`, `shares`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Age { .. } => "age",
            Self::Pgp { .. } => "pgp",
            Self::AwsKms { .. } => "kms",
            Self::GcpKms { .. } => "gcp_kms",
            Self::AzureKeyVault { .. } => "azure_kv",
            Self::HuaweiKms { .. } => "hckms",
            Self::VaultTransit { .. } => "hc_vault",
            Self::Local { .. } => "local",
            Self::Shares { .. } => "shares",
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Escaped(f);
        match self {
            Self::Age { recipient } => f.write_str(recipient),
            Self::Pgp { fingerprint } => f.write_str(fingerprint),
            Self::AwsKms { arn, role: None, .. } => f.write_str(arn),
            Self::AwsKms { arn, role: Some(role), .. } => write!(f, "{arn}+{role}"),
            Self::GcpKms { resource_id } => f.write_str(resource_id),
            Self::AzureKeyVault { vault_url, name, version } if version.is_empty() => {
                write!(f, "{vault_url}/keys/{name}")
            }
            Self::AzureKeyVault { vault_url, name, version } => write!(f, "{vault_url}/keys/{name}/{version}"),
            Self::HuaweiKms { key_id } => f.write_str(key_id),
            Self::VaultTransit { address, mount, key } => write!(f, "{address}/v1/{mount}/keys/{key}"),
            Self::Local { path } => write!(f, "{}", path.display()),
            Self::Shares { set } => f.write_str(set),
        }
    }
}

/// Passes text on with its control characters escaped (`\u{1b}`).
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let control = part.chars().next_back().filter(|last| last.is_control());
            self.0.write_str(&part[..part.len() - control.map_or(0, char::len_utf8)])?;
            if let Some(control) = control {
                write!(self.0, "{}", control.escape_default())?;
            }
        }
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    let mut out = Escaped(String::with_capacity(text.len()));
    // Writing to memory does not fail.
    let _ = out.write_str(text);
    out.0
}

/// A data key, or a Shamir share of one, as a key service wrapped it: the text of the `enc` field in a file's metadata.
///
/// Each kind has its own form (armored age or OpenPGP, base64, `vault:v1:…`); see the key services. Not secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WrappedKey(String);

impl WrappedKey {
    /// Takes the text of an `enc` field.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a key service is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`KeyService::wrap`].
    Wrap,
    /// [`KeyService::unwrap`].
    Unwrap,
}

/// Wraps and unwraps data keys with one key-encryption key.
///
/// What is wrapped is a data key of 32 bytes or a Shamir share of one, of 33.
#[async_trait]
pub trait KeyService: Send + Sync {
    /// Which key this is.
    fn id(&self) -> &KeyId;

    /// Whether `operation` may have to ask a person: a passphrase, a PIN, a touch, a prompt of an agent.
    ///
    /// Where it may, no time limit applies, and the key is tried after those that can do without, one at a time.
    /// May look (read identities, ask an agent what it holds), must not prompt.
    async fn may_ask(&self, operation: Operation) -> bool {
        let _ = operation;
        false
    }

    /// Wraps `plaintext` for this key.
    ///
    /// # Errors
    /// [`KeyError`] names the key, what was tried and what to do.
    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError>;

    /// Unwraps what [`wrap`](Self::wrap), or the peer whose format it is, made.
    ///
    /// # Errors
    /// [`KeyError`] names the key, what was tried and what to do.
    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError>;
}

/// Why a key service could not wrap or unwrap, as something to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyErrorKind {
    /// No identity, keyring entry or credential that fits was found.
    NotFound,
    /// The service refused: bad credentials, or no permission on this key.
    Denied,
    /// The service could not be reached.
    Unreachable,
    /// The service did not answer in time.
    Timeout,
    /// The wrapped key is not what this key made, or was damaged.
    BadCiphertext,
    /// A key file that is malformed, or that others may read.
    BadKeyFile,
    /// The id or a setting is malformed.
    BadConfig,
    /// This build or version does not serve this kind of key.
    Unsupported,
    /// Anything else that the service or a helper program reported.
    Other,
}

/// A failed wrap or unwrap: which key, what was tried, why it failed, what to do.
///
/// Prints as `age age1…: no identity matched (looked in …)`; [`hint`](Self::hint) is printed apart. Both are one line:
/// control characters in what is quoted are escaped.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind_name} {key}: {what}")]
pub struct KeyError {
    kind: KeyErrorKind,
    kind_name: &'static str,
    key: String,
    what: String,
    hint: Option<String>,
}

impl KeyError {
    /// A failure of `key`. `what` says what was tried and what came back, never a secret.
    pub fn new(kind: KeyErrorKind, key: &KeyId, what: impl Into<String>) -> Self {
        Self { kind, kind_name: key.kind(), key: key.to_string(), what: escaped(&what.into()), hint: None }
    }

    /// Adds what the user can do about it, as a sentence without a full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(escaped(&hint.into()));
        self
    }

    /// The key it is about, in the short form of [`KeyId`]'s `Display`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> KeyErrorKind {
        self.kind
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_cannot_move_the_cursor_of_a_terminal() {
        let id = KeyId::Age { recipient: "age1\u{1b}]0;x\u{7}\u{9b}2J\nä".to_owned() };
        assert_eq!(id.to_string(), "age1\\u{1b}]0;x\\u{7}\\u{9b}2J\\nä");
        let error = KeyError::new(KeyErrorKind::BadConfig, &id, "`\u{1b}[2J` is no key").with_hint("not \u{1b}[2J");
        let shown = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
}
