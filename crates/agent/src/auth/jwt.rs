//! A signed token from a file, which is removed once it is read, unless that is not wanted.

use std::io;
use std::path::Path;

use bulla_core::SecretString;

use super::read;

/// Reads the token, if there is one; otherwise the one from before stays.
pub(super) fn take(
    path: &Path,
    remove: bool,
    remove_target: bool,
    remembered: &mut Option<SecretString>,
) -> Result<(), String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(there) if !there.is_file() => return Err(format!("{}: it is no file", path.display())),
        Ok(_) => {}
    }
    if let Some(token) = read(path)? {
        *remembered = Some(token);
    } else {
        tracing::warn!(path = %path.display(), "there is no token in the file");
    }
    if remove {
        let target = if remove_target { std::fs::canonicalize(path) } else { Ok(path.to_owned()) };
        if let Err(error) = target.and_then(std::fs::remove_file) {
            tracing::error!(%error, path = %path.display(), "the file with the token could not be removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use bulla_core::file::{Fresh, NewMode, replace_as};

    use super::*;

    #[test]
    fn a_token_is_taken_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("jwt"), folder.path().join("link"));
        let write = |text: &str| {
            let fresh = Fresh { mode: NewMode::Exactly(0o600), user: None, group: None };
            replace_as(&path, text.as_bytes(), fresh).unwrap();
        };
        let mut kept = None;
        take(&path, true, false, &mut kept).unwrap();
        assert!(kept.is_none());
        write("one\n");
        take(&path, true, false, &mut kept).unwrap();
        assert_eq!(kept.as_ref().unwrap().expose(), "one");
        assert!(!path.exists());
        take(&path, true, false, &mut kept).unwrap();
        assert_eq!(kept.as_ref().unwrap().expose(), "one");
        write("two");
        symlink(&path, &link).unwrap();
        take(&link, true, false, &mut kept).unwrap();
        assert!(path.exists() && !link.is_symlink());
        symlink(&path, &link).unwrap();
        take(&link, true, true, &mut kept).unwrap();
        assert_eq!(kept.as_ref().unwrap().expose(), "two");
        assert!(!path.exists());
    }
}
