//! A file with the process id, for whoever sends the process signals.

use std::path::{Path, PathBuf};

use super::{FileError, Fresh, NewMode, replace_as};

/// The file, removed at the end.
#[derive(Debug)]
pub struct PidFile(Option<PathBuf>);

impl PidFile {
    /// Writes it, if there is a path.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub fn write(path: Option<&Path>) -> Result<Self, FileError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let text = format!("{}\n", std::process::id());
        let fresh = Fresh { mode: NewMode::LessUmask(0o644), user: None, group: None };
        replace_as(path, text.as_bytes(), fresh)?;
        Ok(Self(Some(path.to_owned())))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Who finds one that stayed finds that there is no such process.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_number_of_the_process_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let file = PidFile::write(Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
        assert!(PidFile::write(Some(&folder.path().join("none/pid"))).is_err());
        drop(PidFile::write(None).unwrap());
    }
}
