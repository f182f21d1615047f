//! Private keys from files: PEM, or the controller's key Secrets as a backup has them.

use std::path::{Path, PathBuf};

use bulla_core::SecretBytes;
use bulla_core::file;
use bulla_document::Value;
use bulla_format::sealed::{KeyRing, PrivateKey, RingKey};

use super::{Secret, manifest};
use crate::error::Failure;
use crate::exit::Code;

/// A backup of hundreds of keys is some megabytes.
const LIMIT: u64 = 64 << 20;

/// Reads the keys of all files.
///
/// # Errors
/// [`Code::NoDataKey`]: a file that cannot be read or holds no key.
pub(crate) fn read(files: &[PathBuf]) -> Result<KeyRing, Failure> {
    let mut keys = Vec::new();
    for path in files {
        keys.extend(read_file(path)?);
    }
    if keys.is_empty() {
        return Err(
            Failure::new(Code::NoDataKey, "no private key was named").with_hint("pass --recovery-private-key FILE")
        );
    }
    Ok(KeyRing::new(keys.into_iter().map(|key| RingKey { key, since: jiff::Timestamp::UNIX_EPOCH })))
}

fn read_file(path: &Path) -> Result<Vec<PrivateKey>, Failure> {
    let name = path.display().to_string();
    let failed = |what: &dyn std::fmt::Display| Failure::new(Code::NoDataKey, format!("{name}: {what}"));
    let text = file::read(path, LIMIT).map_err(|error| Failure::new(Code::NoDataKey, error.to_string()))?;
    // A manifest holds its keys in base64, a PEM file as they are: only one of them begins so.
    if looks_like_pem(&text) {
        return PrivateKey::from_pem(text.expose()).map_err(|error| failed(&error));
    }
    let parts = manifest::read(&name, &text).map_err(|failure| Failure { code: Code::NoDataKey, ..failure })?;
    let mut keys = Vec::new();
    for object in parts.iter().filter_map(|part| part.object.as_ref()).flat_map(manifest::items) {
        keys.extend(of_secret(object).map_err(|what| failed(&what))?);
    }
    if keys.is_empty() { Err(failed(&"there is no private key in it (PEM, or key Secrets)")) } else { Ok(keys) }
}

fn looks_like_pem(text: &SecretBytes) -> bool {
    memchr::memmem::find(text.expose(), b"\n-----BEGIN ").is_some() || text.expose().starts_with(b"-----BEGIN ")
}

fn of_secret(object: &Value) -> Result<Vec<PrivateKey>, String> {
    let secret = Secret::read(object)?;
    let name = &secret.metadata.name;
    let Some((_, pem)) = secret.data.iter().find(|(key, _)| key == "tls.key") else {
        return Err(format!("the Secret {name:?} has no tls.key"));
    };
    PrivateKey::from_pem(pem.expose()).map_err(|error| format!("the Secret {name:?}: {error}"))
}
