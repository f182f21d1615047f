//! The token that `login` stores: `~/.vault-token`, for its owner alone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bulla_core::file::{self, FileError};
use bulla_core::{Env, SecretString};

use crate::failure::Failure;

/// More than any token has.
const LONGEST: u64 = 64 << 10;

/// The stored token, if there is one.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn load(env: &dyn Env) -> Result<Option<SecretString>, Failure> {
    let Some(path) = place(env) else { return Ok(None) };
    match file::read(&path, LONGEST) {
        Ok(bytes) => {
            let text = std::str::from_utf8(bytes.expose());
            let text = text.map_err(|_| Failure::usage(format!("the token in {} is not UTF-8", path.display())))?;
            Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(SecretString::from))
        }
        Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!("failed to get token from token helper: {error}"))),
    }
}

/// Stores a token.
///
/// # Errors
/// A file that cannot be written, or a home that is not known.
pub(crate) fn store(env: &dyn Env, token: &SecretString) -> Result<(), Failure> {
    let path = place(env).ok_or_else(|| Failure::usage("error storing token: HOME is not set"))?;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::remote(format!(
            "Error storing token: {error}\n\nAuthentication was successful, but the token was not persisted."
        ))
    };
    // A file keeps its mode when it is replaced.
    match std::fs::set_permissions(&path, Permissions::from_mode(0o600)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(&format!("cannot change the mode of {}: {error}", path.display())));
        }
        _ => {}
    }
    file::replace(&path, token.expose().as_bytes(), 0o600).map_err(|error| failed(&error))
}

fn place(env: &dyn Env) -> Option<PathBuf> {
    env.home().map(|home| home.join(".vault-token"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_token_is_stored_for_its_owner_alone_also_over_a_file_that_others_read() {
        let home = tempfile::tempdir().unwrap();
        let env = BTreeMap::from([("HOME".to_owned(), home.path().to_str().unwrap().to_owned())]);
        assert!(load(&env).unwrap().is_none());
        let path = home.path().join(".vault-token");
        file::replace(&path, b"old\n", 0o644).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(load(&env).unwrap().unwrap().expose(), "old");
        store(&env, &SecretString::from("new")).unwrap();
        assert_eq!(load(&env).unwrap().unwrap().expose(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(load(&BTreeMap::new()).unwrap().is_none());
        assert!(store(&BTreeMap::new(), &SecretString::from("x")).is_err());
    }
}
