//! TLS, from the variables of Vault's client.

use std::path::{Path, PathBuf};

use bulla_core::{Env, KeyErrorKind};
use rustls::{ClientConfig, RootCertStore};

use super::settings::switch;
use super::trust::{self, Identity, IdentityError, Trust};
use super::variable;
use crate::failure::Failure;

/// The TLS configuration that the environment describes.
pub(super) fn config(env: &dyn Env) -> Result<ClientConfig, Failure> {
    let trust = if switch(env, variable::SKIP_VERIFY)? { Trust::DangerAnybody } else { authorities(env)? };
    let (identity, place) = identity(env)?.map_or_else(|| (None, "TLS".to_owned()), |(it, place)| (Some(it), place));
    trust::config(trust, identity).map_err(|error| bad(place, error))
}

fn bad(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    Failure::new(KeyErrorKind::BadConfig, format!("{what}: {error}"))
}

/// The authorities to trust: those of the variables alone, or else the system's.
fn authorities(env: &dyn Env) -> Result<Trust, Failure> {
    let mut roots = RootCertStore::empty();
    let mut add = |place: &str, pem: &[u8]| trust::add(&mut roots, pem).map_err(|error| bad(place, error));
    if let Some(path) = env.path(variable::CACERT) {
        add(&format!("{}: {}", variable::CACERT, path.display()), &read(variable::CACERT, &path)?)?;
    } else if let Some(text) = env.text(variable::CACERT_BYTES) {
        add(variable::CACERT_BYTES, text.as_bytes())?;
    } else if let Some(folder) = env.path(variable::CAPATH) {
        let files = files(&folder).map_err(|e| bad(format!("{}: {}", variable::CAPATH, folder.display()), e))?;
        for file in files {
            add(&format!("{}: {}", variable::CAPATH, file.display()), &read(variable::CAPATH, &file)?)?;
        }
        if roots.is_empty() {
            return Err(bad(format!("{}: {}", variable::CAPATH, folder.display()), "no file in it"));
        }
    } else {
        return Ok(Trust::System);
    }
    Ok(Trust::Only(roots))
}

fn read(variable: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| bad(format!("{variable}: reading {}", path.display()), error))
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Who we are, and where that stands.
fn identity(env: &dyn Env) -> Result<Option<(Identity, String)>, Failure> {
    let (certificate, key) = match (env.path(variable::CLIENT_CERT), env.path(variable::CLIENT_KEY)) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            return Err(bad(
                variable::CLIENT_CERT,
                format!("set without {} or the other way round", variable::CLIENT_KEY),
            ));
        }
    };
    let place = format!("{}: {}", variable::CLIENT_CERT, certificate.display());
    let pem = zeroize::Zeroizing::new(read(variable::CLIENT_KEY, &key)?);
    let identity =
        Identity::from_pem(&read(variable::CLIENT_CERT, &certificate)?, &pem).map_err(|wrong| match wrong {
            IdentityError::Certificate => bad(&place, "malformed PEM"),
            IdentityError::Key => bad(format!("{}: {}", variable::CLIENT_KEY, key.display()), "no PEM private key"),
        })?;
    Ok(Some((identity, place)))
}
