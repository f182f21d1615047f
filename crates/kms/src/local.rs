//! Data keys wrapped by an AES-256 key kept in a local file.
//!
//! For tests, the demo and machines with no key service. The file holds 32 raw bytes, mode 0600. [`create`] makes one.
//!
//! Wrapped form: standard base64 of `nonce (12 bytes) || ciphertext || tag (16 bytes)`, AES-256-GCM, with the ASCII
//! text `bulla local key 1` as associated data. The text keeps the form apart from whatever else the key may encrypt.
//! Where the file lies is not bound: the id in a file's metadata is a path, and a file that was moved opens as before
//! once the path in the metadata, or a link, leads to it. That it is the same key the tag proves.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::file::{self, FileError};
use bulla_core::{DataKey, KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};

use crate::gcm;
use crate::registry::Context;

const KEY: usize = DataKey::LEN;
const ASSOCIATED_DATA: &[u8] = b"bulla local key 1";

/// Makes a key file at `path` with a fresh random key, mode 0600. A file that is there already stays as it is.
///
/// # Errors
/// [`FileError::Io`]; there is no new file then.
pub fn create(path: &Path) -> Result<(), FileError> {
    let fail = |source| FileError::Io { action: "create", path: path.to_owned(), source };
    let key = SecretBytes::random(KEY).map_err(|error| fail(io::Error::other(error)))?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let written = file.write_all(key.expose()).and_then(|()| file.sync_all()).and_then(|()| {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    });
    written.map_err(|error| {
        // Half a key is of no use to anyone.
        let _ = fs::remove_file(path);
        fail(error)
    })
}

/// Opens the service for `id`.
#[expect(clippy::unnecessary_wraps, reason = "the signature that all services share")]
pub(crate) fn open(id: &KeyId, _context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    Ok(Arc::new(Local { id: id.clone() }))
}

struct Local {
    id: KeyId,
}

#[async_trait]
impl KeyService for Local {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        let sealed = gcm::seal(self.key().await?.expose(), ASSOCIATED_DATA, plaintext)
            .map_err(|error| self.error(KeyErrorKind::Other, error.to_string()))?;
        Ok(WrappedKey::new(STANDARD.encode(sealed)))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let damaged = |what| self.error(KeyErrorKind::BadCiphertext, what);
        let sealed = STANDARD.decode(wrapped.as_str()).map_err(|_| damaged("the wrapped key is not base64"))?;
        if sealed.len() < gcm::OVERHEAD {
            return Err(damaged("the wrapped key is too short"));
        }
        gcm::open(self.key().await?.expose(), ASSOCIATED_DATA, &sealed)
            .map_err(|_| damaged("the key in this file did not make the wrapped key, or that was changed since"))
    }
}

impl Local {
    /// The key of the file, which is read each time: it is small, and may have been replaced.
    async fn key(&self) -> Result<DataKey, KeyError> {
        let KeyId::Local { path } = self.id.clone() else {
            return Err(self.error(KeyErrorKind::BadConfig, "not a local key"));
        };
        // Not on the threads that wait for others: a file can be on a slow disk.
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let key = read.map_err(|error| self.error(KeyErrorKind::Other, error.to_string()))?.map_err(|error| {
            let kind = match &error {
                FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => KeyErrorKind::NotFound,
                FileError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                    KeyErrorKind::Denied
                }
                _ => KeyErrorKind::BadKeyFile,
            };
            self.error(kind, error.to_string())
        })?;
        DataKey::from_bytes(key).map_err(|key| {
            self.error(KeyErrorKind::BadKeyFile, format!("the file has {} bytes, a key has {KEY}", key.len()))
        })
    }

    fn error(&self, kind: KeyErrorKind, what: impl Into<String>) -> KeyError {
        KeyError::new(kind, &self.id, what)
    }
}

/// The path comes from a file's metadata, which anyone may have written: nothing that blocks is opened.
fn read(path: &Path) -> Result<SecretBytes, FileError> {
    let fail = |source| FileError::Io { action: "read", path: path.to_owned(), source };
    if !fs::metadata(path).map_err(fail)?.is_file() {
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    file::read_key(path, KEY as u64)
}

#[cfg(test)]
mod tests;
