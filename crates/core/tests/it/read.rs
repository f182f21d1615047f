//! Files are read to a limit, keys only when nobody else can.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bulla_core::file::{self, FileError};

#[test]
fn a_file_is_read_up_to_its_limit_and_not_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for size in [0_u64, 1, 4095, 4096, 4097, 200_000] {
        let contents: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &contents).unwrap();
        assert_eq!(file::read(&path, size).unwrap().expose(), contents);
        assert_eq!(file::read(&path, u64::MAX - 1).unwrap().expose(), contents);
        if size > 0 {
            let error = file::read(&path, size - 1).unwrap_err();
            assert!(matches!(error, FileError::TooLarge { limit, .. } if limit == size - 1), "{error}");
        }
    }
}

#[test]
fn a_file_without_a_size_is_read_up_to_its_limit_and_not_past_it() {
    assert!(!file::read(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
    assert!(matches!(file::read(Path::new("/proc/self/status"), 100), Err(FileError::TooLarge { .. })));
    assert!(matches!(file::read(Path::new("/dev/zero"), 1 << 20), Err(FileError::TooLarge { .. })));
}

#[test]
fn a_source_that_comes_in_pieces_is_read_whole() {
    struct Pieces(usize);
    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                n if n % 3 == 0 => Err(io::ErrorKind::Interrupted.into()),
                n if n > 1000 => Ok(0),
                n => {
                    let len = buffer.len().min(n);
                    buffer[..len].fill(7);
                    Ok(len)
                }
            }
        }
    }
    let bytes = file::read_from(Pieces(0), Path::new("pieces"), 0, 1 << 20).unwrap();
    assert!(bytes.len() > 100_000 && bytes.expose().iter().all(|byte| *byte == 7));
}

#[test]
fn errors_name_the_file_and_what_was_done() {
    let missing = file::read(Path::new("/nowhere/at all"), 10).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /nowhere/at all: "), "{missing}");
    let folder = file::read(Path::new("/"), 1 << 20).unwrap_err().to_string();
    assert!(folder.contains("directory"), "{folder}");
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, b"key").unwrap();
    for mode in [0o600, 0o400, 0o700] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(file::read_key(&path, 10).unwrap().expose(), b"key", "mode {mode:o}");
    }
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = file::read_key(&path, 10).unwrap_err();
        assert!(matches!(error, FileError::Exposed { mode: seen, .. } if seen == mode), "mode {mode:o}: {error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn a_link_to_a_key_file_is_judged_by_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("key"), folder.path().join("link"));
    fs::write(&path, b"key").unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(file::read_key(&link, 10).unwrap().expose(), b"key");
    File::open(&path).unwrap().set_permissions(Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(file::read_key(&link, 10), Err(FileError::Exposed { .. })));
}
