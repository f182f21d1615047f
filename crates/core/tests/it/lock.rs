//! Processes that edit one file follow each other.

use std::fs;
use std::path::Path;

use bulla_core::file::{FileLock, replace};

use crate::child;

const ROUNDS: u64 = 300;

#[test]
fn two_processes_that_lock_lose_no_update() {
    if let Some((_, path)) = child::role() {
        return count(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counter");
    fs::write(&path, "0").unwrap();
    let start =
        || child::command("lock::two_processes_that_lock_lose_no_update", "count", path.to_str().unwrap()).spawn();
    for mut child in [start().unwrap(), start().unwrap()] {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), (2 * ROUNDS).to_string());
}

fn count(path: &Path) {
    for _ in 0..ROUNDS {
        let _lock = FileLock::acquire(path).unwrap();
        let value: u64 = fs::read_to_string(path).unwrap().parse().unwrap();
        replace(path, (value + 1).to_string().as_bytes(), 0o600).unwrap();
    }
}

#[test]
fn a_lock_can_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let lock = FileLock::try_acquire(&path).unwrap().unwrap();
    assert!(FileLock::try_acquire(&path).unwrap().is_none());
    // It covers one replacement: what is in place then is another file.
    replace(&path, b"new", 0o600).unwrap();
    assert!(FileLock::try_acquire(&path).unwrap().is_some());
    drop(lock);
    assert!(FileLock::try_acquire(&path).unwrap().is_some());
}

#[test]
fn a_file_that_is_not_there_cannot_be_locked() {
    let error = FileLock::acquire(Path::new("/nowhere/file")).unwrap_err().to_string();
    assert!(error.starts_with("cannot lock /nowhere/file: "), "{error}");
}
