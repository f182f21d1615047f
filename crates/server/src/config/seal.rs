//! `seal` blocks.

use std::path::PathBuf;

use bulla_core::hcl::Body;

use super::{is_on, note_unknown, text};

/// What opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// A key in the configuration: its id and where it is (`file://PATH`, `env://NAME`), and those of the one before it.
    Static {
        /// Its id.
        id: String,
        /// Where it is.
        key: String,
        /// The same of the one before it.
        previous: Option<(String, String)>,
    },
    /// Vault's transit engine: `address/v1/mount/keys/key`.
    Transit(String),
    /// A key of AWS KMS, by its ARN.
    AwsKms(String),
    /// A key file of bulla's.
    Local(PathBuf),
}

/// What a server does with a seal of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is opened by it.
    Opens,
    /// It leaves it, or left it: `disabled = "true"`.
    Old,
}

/// Which setting of the peer's is which variable here.
const FROM_ENVIRONMENT: &[(&str, &str, &str)] = &[
    ("transit", "token", "VAULT_TOKEN, or how else the server is to log in"),
    ("transit", "namespace", "VAULT_NAMESPACE"),
    ("awskms", "access_key", "AWS_ACCESS_KEY_ID"),
    ("awskms", "secret_key", "AWS_SECRET_ACCESS_KEY"),
    ("awskms", "session_token", "AWS_SESSION_TOKEN"),
    ("awskms", "endpoint", "AWS_ENDPOINT_URL_KMS"),
];

/// Reads a block. None for people's shares.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn read(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Option<(Role, Seal)>, String> {
    let role = if is_on(body, "disabled")? { Role::Old } else { Role::Opens };
    let need = |key: &str| text(body, key).ok_or_else(|| format!("seal {kind:?} needs {key}"));
    let known: &[&str] = match kind {
        "static" => &["disabled", "current_key_id", "current_key", "previous_key_id", "previous_key"],
        "transit" => &["disabled", "address", "mount_path", "key_name"],
        "awskms" => &["disabled", "kms_key_id"],
        "local" => &["disabled", "path"],
        _ => &["disabled"],
    };
    for (of, name, variable) in FROM_ENVIRONMENT {
        if kind == *of && text(body, name).is_some() {
            return Err(format!(
                "seal {kind:?}: {name} is not read from here, so that no credential need be in the file: set {variable}"
            ));
        }
    }
    let unknown = note_unknown(&format!("seal {kind:?}"), body, known, ignored);
    let seal = match kind {
        "shamir" => return unknown.map(|()| None),
        "static" => Seal::Static {
            id: need("current_key_id")?,
            key: need("current_key")?,
            previous: text(body, "previous_key_id").zip(text(body, "previous_key")),
        },
        "transit" => {
            let address = need("address")?;
            let mount = text(body, "mount_path").unwrap_or_else(|| "transit".to_owned());
            Seal::Transit(format!(
                "{}/v1/{}/keys/{}",
                address.trim_end_matches('/'),
                mount.trim_matches('/'),
                need("key_name")?
            ))
        }
        "awskms" => Seal::AwsKms(need("kms_key_id")?),
        "local" => Seal::Local(need("path")?.into()),
        other => {
            return Err(format!(
                "seal {other:?} is not supported; \"shamir\", \"static\", \"transit\", \"awskms\" and \"local\" are"
            ));
        }
    };
    unknown.map(|()| Some((role, seal)))
}
