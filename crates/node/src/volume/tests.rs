#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests make their files by the shortest way")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bulla_core::SecretBytes;
use tempfile::TempDir;

use super::*;

fn content(files: &[(&str, &str)]) -> Content {
    let mut content = Content::default();
    for (path, contents) in files {
        let file = File { mode: 0o640, contents: SecretBytes::from(contents.as_bytes()) };
        content.add(path, file, &Limits::default()).unwrap();
    }
    content
}

fn root(folder: &TempDir) -> OwnedFd {
    fs::File::open(folder.path()).unwrap().into()
}

fn write(root: &OwnedFd, files: &[(&str, &str)]) -> Record {
    prepare(root, &content(files), Record { class: "c".to_owned(), ..Record::default() }).unwrap().commit(root).unwrap()
}

/// Everything that is seen, by `ls`, without the volume's own names.
fn seen(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with("..")).collect();
    names.sort();
    names
}

/// The folders of versions.
fn versions(folder: &Path) -> usize {
    let is_version = |name: &str| name.starts_with("..2");
    fs::read_dir(folder)
        .unwrap()
        .filter(|entry| is_version(entry.as_ref().unwrap().file_name().to_str().unwrap()))
        .count()
}

#[test]
fn a_new_version_takes_the_place_of_the_old_one() {
    let folder = TempDir::new().unwrap();
    let (root, path) = (root(&folder), folder.path());
    write(&root, &[("user", "a"), ("tls/key", "k"), ("tls/deep/er", "d")]);
    assert_eq!(fs::read_to_string(path.join("tls/deep/er")).unwrap(), "d");
    assert_eq!(fs::metadata(path.join("user")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(path.join("user")).unwrap(), Path::new("..data/user"));
    // What is opened before stays what it was.
    let before = fs::File::open(path.join("user")).unwrap();
    write(&root, &[("user", "b"), ("new", "n")]);
    assert_eq!(std::io::read_to_string(before).unwrap(), "a");
    assert_eq!(fs::read_to_string(path.join("user")).unwrap(), "b");
    assert_eq!((seen(path), versions(path)), (vec!["new".to_owned(), "user".to_owned()], 1));
    write(&root, &[]);
    assert_eq!((seen(path), versions(path)), (vec![], 1));
}

#[test]
fn what_is_remembered_tells_whether_anything_changed() {
    let folder = TempDir::new().unwrap();
    let root = root(&folder);
    assert_eq!(record(&root).unwrap(), None);
    let written = write(&root, &[("a", "1"), ("b", "2")]);
    let read = record(&root).unwrap().unwrap();
    assert_eq!(read, written);
    assert!(is_current(&read, &content(&[("b", "2"), ("a", "1")])));
    for other in [content(&[("a", "1")]), content(&[("a", "12"), ("b", "")]), content(&[("a", "1"), ("b", "3")])] {
        assert!(!is_current(&read, &other));
    }
    let file = folder.path().join("..bulla");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("\"1\""));
    // Cut off, or of a version that is not shown: it is fetched again.
    fs::write(&file, &fs::read(&file).unwrap()[..20]).unwrap();
    let read = record(&root).unwrap().unwrap();
    assert!(read.is_unfinished && !is_current(&read, &content(&[("a", "1"), ("b", "2")])));
    remember(&root, &Record { folder: "..other".to_owned(), ..written }).unwrap();
    assert!(!is_current(&record(&root).unwrap().unwrap(), &content(&[("a", "1"), ("b", "2")])));
}

#[test]
fn a_version_that_was_not_shown_changes_nothing_and_goes_with_the_next() {
    let folder = TempDir::new().unwrap();
    let root = root(&folder);
    write(&root, &[("a", "1")]);
    drop(prepare(&root, &content(&[("a", "2")]), Record::default()).unwrap());
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "1");
    assert_eq!(versions(folder.path()), 2);
    write(&root, &[("a", "3")]);
    assert_eq!((fs::read_to_string(folder.path().join("a")).unwrap().as_str(), versions(folder.path())), ("3", 1));
}

#[test]
fn wherever_it_ends_readers_see_one_version_and_the_next_attempt_finishes_it() {
    let (old, new) = ([("a", "1"), ("gone", "1")], [("a", "2"), ("b/c", "2"), ("b2", "2")]);
    for end in 0.. {
        let folder = TempDir::new().unwrap();
        let (root, path) = (root(&folder), folder.path());
        write(&root, &old);
        let next = Record { class: "c".to_owned(), versions: vec![ObjectVersion::default()], ..Record::default() };
        let mut steps = 0;
        let done = prepare(&root, &content(&new), next.clone()).unwrap().commit_by(&root, || {
            steps += 1;
            if steps > end { Err(rustix::io::Errno::INTR) } else { Ok(()) }
        });
        let a = fs::read_to_string(path.join("a")).unwrap();
        let data = fs::read_link(path.join("..data")).unwrap();
        assert_eq!(fs::read_to_string(path.join(&data).join("a")).unwrap(), a);
        assert_eq!(path.join(&data).join("b2").exists(), a == "2");
        let read = record(&root).unwrap().unwrap();
        if done.is_ok() {
            assert!(end > 8 && is_current(&read, &content(&new)) && !read.is_unfinished);
            break;
        }
        // Before anything was touched it is what it was.
        assert_eq!(read.is_unfinished, end > 0, "after {end} steps");
        let is_as_it_was = is_current(&read, &content(&old));
        assert!(is_as_it_was == (end == 0) && !is_current(&read, &content(&new)));
        assert!(end == 0 || read.versions.is_empty(), "the provider would answer that it is as it was");
        let finished = prepare(&root, &content(&new), next).unwrap().commit(&root).unwrap();
        assert_eq!(record(&root).unwrap().unwrap(), finished);
        assert_eq!((seen(path), versions(path)), (["a", "b", "b2"].map(str::to_owned).to_vec(), 1));
        assert_eq!(fs::read_to_string(path.join("b/c")).unwrap(), "2");
    }
}

#[test]
fn what_was_never_filled_is_no_volume() {
    for end in 0..4 {
        let folder = TempDir::new().unwrap();
        let (root, mut steps) = (root(&folder), 0);
        // So whoever made it says from the beginning that it is nobody else's.
        remember(&root, &Record::default()).unwrap();
        let first = prepare(&root, &content(&[("a", "1")]), Record::default()).unwrap();
        let done = first.commit_by(&root, || {
            steps += 1;
            if steps > end { Err(rustix::io::Errno::INTR) } else { Ok(()) }
        });
        assert!(done.is_err() && !record(&root).unwrap().unwrap().is_filled(), "after {end} steps");
    }
}

#[test]
fn links_that_lie_in_the_way_lead_nowhere() {
    let (folder, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(outside.path().join("file"), "theirs").unwrap();
    symlink(outside.path(), folder.path().join("..data")).unwrap();
    symlink(outside.path(), folder.path().join("dir")).unwrap();
    symlink(outside.path().join("file"), folder.path().join("a")).unwrap();
    fs::create_dir(folder.path().join("old")).unwrap();
    fs::write(folder.path().join("old/file"), "x").unwrap();
    let root = root(&folder);
    write(&root, &[("a", "1"), ("dir/file", "2")]);
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("dir/file")).unwrap(), "2");
    assert_eq!(seen(folder.path()), ["a", "dir"]);
}
