//! A storage that is replaced, whole or not at all.

use std::io::Write;

use aws_lc_rs::hmac;

use super::*;
use crate::storage::snapshot::{About, Writer};
use crate::storage::{Batch, Entry, Storage};

fn snapshot(entries: &[Entry]) -> SnapshotFile {
    let about = About {
        server: "1".to_owned(),
        storage: "embedded".to_owned(),
        time: "2026-01-02T03:04:05Z".to_owned(),
        cluster_id: "c".to_owned(),
    };
    let mut out = Vec::new();
    let mut writer = Writer::begin(&about, &mut out);
    writer.add(entries, &mut out).unwrap();
    writer.end(&hmac::Key::new(hmac::HMAC_SHA256, b"k"), &mut out);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&out).unwrap();
    SnapshotFile::of(file).unwrap()
}

fn entries(number: usize) -> Vec<Entry> {
    (0..number).map(|at| (format!("k/{at:05}"), vec![7; 100])).collect()
}

async fn old(path: &Path) -> Embedded {
    let old = Embedded::open(path).unwrap();
    let writes = vec![("old".to_owned(), Some(b"1".to_vec())), ("k/00001".to_owned(), Some(b"old".to_vec()))];
    old.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
    old
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

async fn value(path: &Path, key: &str) -> Option<Vec<u8>> {
    Embedded::open_existing(path).unwrap().get(key).await.unwrap()
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_a_storage_which_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(old(&path).await);
    let done = embedded(&path, &snapshot(&entries(1000)), &|_| ()).await.unwrap();
    assert_eq!(done.summary.entries, 1000);
    assert_eq!((value(&path, "old").await, value(&path, "k/00001").await), (None, Some(vec![7; 100])));
    let kept = done.kept.unwrap();
    assert_eq!((value(&kept, "old").await, value(&kept, "k/00002").await), (Some(b"1".to_vec()), None));
    assert_eq!(names(folder.path()).len(), 2);
    // It is as private as the one that a server makes.
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn where_nothing_is_a_storage_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let done = embedded(&path, &snapshot(&entries(10)), &|_| ()).await.unwrap();
    assert_eq!((done.kept, value(&path, "k/00009").await), (None, Some(vec![7; 100])));
    assert_eq!(names(folder.path()), ["db"]);
}

#[tokio::test]
async fn a_storage_in_use_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let used = old(&path).await;
    let error = embedded(&path, &snapshot(&entries(10)), &|_| ()).await.unwrap_err();
    assert!(matches!(error, RestoreError::InUse(_)), "{error}");
    assert_eq!(used.get("old").await.unwrap().unwrap(), b"1");
    assert_eq!(names(folder.path()), ["db"]);
}

#[tokio::test]
async fn what_fails_on_the_way_leaves_the_old_one_and_nothing_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(old(&path).await);
    let error = embedded(&path, &snapshot(&[]), &|_| ()).await.unwrap_err();
    assert!(matches!(error, RestoreError::Copy(MigrateError::SourceEmpty)), "{error}");
    assert_eq!((names(folder.path()), value(&path, "old").await), (vec!["db".to_owned()], Some(b"1".to_vec())));
}

#[test]
fn where_there_are_no_links_the_two_change_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let [new, path, kept] = ["new", "path", "kept"].map(|name| folder.path().join(name));
    for (file, text) in [(&new, "new"), (&path, "old")] {
        File::create(file).unwrap().write_all(text.as_bytes()).unwrap();
    }
    // A name that is taken is none for a link; neither is it given away.
    File::create(&kept).unwrap();
    assert!(exchange(&new, &path, &kept).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read(&new).unwrap(), b"old");
}
