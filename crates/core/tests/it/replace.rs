//! A file is replaced whole or not at all, and stays what it was otherwise.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bulla_core::file::replace;
use rustix::fs::XattrFlags;

use crate::child;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_file_or_the_new() {
    const SIZE: usize = 300_000;
    if let Some((_, path)) = child::role() {
        println!("ready");
        for letter in (b'a'..=b'z').cycle() {
            replace(Path::new(&path), &vec![letter; SIZE], 0o600).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, vec![b'a'; SIZE]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..80 {
        let name = "replace::a_kill_at_any_moment_leaves_the_old_file_or_the_new";
        let mut child = child::command(name, "replace", path.to_str().unwrap()).spawn().unwrap();
        let ready = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .any(|line| line.ends_with("ready"));
        assert!(ready);
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_le_bytes(random)) / 3));
        child.kill().unwrap();
        child.wait().unwrap();
        let contents = fs::read(&path).unwrap();
        assert_eq!(contents.len(), SIZE);
        assert!(contents.iter().all(|byte| *byte == contents[0]), "a mixture");
        seen.insert(contents[0]);
    }
    assert!(seen.len() > 1, "the children were killed before they replaced anything");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    struct Mount<'a>(&'a Path);
    impl Drop for Mount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0).status();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(folder.path()).output();
    let mounted = mounted.expect("this test needs the mount command (package mount)");
    assert!(
        mounted.status.success(),
        "this test mounts a small tmpfs: run it as root with CAP_SYS_ADMIN ({mounted:?})"
    );
    let _mount = Mount(folder.path());
    let path = folder.path().join("file");
    fs::write(&path, vec![b'o'; 60_000]).unwrap();
    let error = replace(&path, &vec![b'n'; 100_000], 0o600).unwrap_err().to_string();
    assert!(error.starts_with("cannot replace ") && error.contains("No space left"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), vec![b'o'; 60_000]);
    assert_eq!(names(folder.path()), ["file"]);
    replace(&path, &vec![b'n'; 50_000], 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![b'n'; 50_000]);
}

#[test]
fn a_read_only_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    let error = replace(&path, b"new", 0o600).unwrap_err().to_string();
    // The system says it in its own words to all but root.
    assert!(error.contains("read-only") || error.contains("denied"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn only_regular_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [folder.path(), &fifo, Path::new("/dev/null")] {
        let error = replace(path, b"new", 0o600).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn links_stay_and_what_they_lead_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("file"), "old").unwrap();
    symlink("inner/second", folder.path().join("first")).unwrap();
    symlink("../inner/file", inner.join("second")).unwrap();
    replace(&folder.path().join("first"), b"new", 0o600).unwrap();
    assert_eq!(fs::read(inner.join("file")).unwrap(), b"new");
    assert_eq!(fs::read_link(folder.path().join("first")).unwrap(), Path::new("inner/second"));
    assert_eq!(fs::read_link(inner.join("second")).unwrap(), Path::new("../inner/file"));

    // Also when there is nothing yet where they lead.
    fs::remove_file(inner.join("file")).unwrap();
    replace(&folder.path().join("first"), b"made", 0o600).unwrap();
    assert_eq!(fs::read(inner.join("file")).unwrap(), b"made");
    assert!(folder.path().join("first").is_symlink() && inner.join("second").is_symlink());

    symlink("loop", folder.path().join("loop")).unwrap();
    assert!(replace(&folder.path().join("loop"), b"new", 0o600).is_err());
}

#[test]
fn the_mode_stays_and_a_new_file_heeds_the_umask() {
    if let Some((_, folder)) = child::role() {
        let folder = Path::new(&folder);
        replace(&folder.join("new"), b"new", 0o666).unwrap();
        replace(&folder.join("old"), b"new", 0o600).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    fs::write(&old, "old").unwrap();
    fs::set_permissions(&old, Permissions::from_mode(0o6765)).unwrap();
    let inner = child::command(
        "replace::the_mode_stays_and_a_new_file_heeds_the_umask",
        "replace",
        folder.path().to_str().unwrap(),
    );
    // The umask belongs to the process: a shell sets it for the child alone.
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 027; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    shell.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(shell.output().unwrap().status.success());
    assert_eq!(mode(&old), 0o6765);
    assert_eq!(mode(&folder.path().join("new")), 0o640);
    assert_eq!(fs::read(&old).unwrap(), b"new");
}

#[test]
fn the_owner_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    chown(&path, Some(12345), Some(54321)).expect("this test gives a file to another user: run it as root");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    replace(&path, b"new", 0o600).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(&path)), (12345, 54321, 0o640));
}

#[test]
fn a_file_whose_owner_cannot_be_kept_stays_as_it_is() {
    if let Some((_, path)) = child::role() {
        let error = replace(Path::new(&path), b"new", 0o600).unwrap_err().to_string();
        println!("{error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    for (path, mode) in [(folder.path(), 0o777), (&path, 0o666)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    // Another user, who may read the test's binary wherever it was built.
    let binary = folder.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let name = "replace::a_file_whose_owner_cannot_be_kept_stays_as_it_is";
    let inner = child::command(name, "replace", path.to_str().unwrap());
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary).args(inner.get_args());
    other.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir("/");
    let output = other.output().expect("this test needs setpriv (package util-linux), as root");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("its owner 0:0 cannot be kept"), "{output:?}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file", "it"]);
}

/// A POSIX access control list as its attribute holds it: version 2, then tag, permissions and id of each entry.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn attributes_and_access_lists_stay_and_none_is_added() {
    const NOBODY: u32 = u32::MAX;
    // The owner rw, user 12345 rw, the group nothing, the mask rw, others nothing.
    let list = access_list(&[(1, 6, NOBODY), (2, 6, 12345), (4, 0, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY)]);
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path, name: &str| {
        let mut value = [0; 1000];
        rustix::fs::getxattr(path, name, &mut value[..]).map(|len| value[..len].to_vec())
    };
    let (with, without) = (folder.path().join("with"), folder.path().join("without"));
    fs::write(&with, "old").unwrap();
    fs::write(&without, "old").unwrap();
    fs::set_permissions(&without, Permissions::from_mode(0o660)).unwrap();
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("this test needs a file system with {name}: {error}"));
    };
    set(&with, "user.note", b"kept");
    set(&with, "system.posix_acl_access", &list);
    // Files made in this folder from here on grant user 12345 access.
    set(folder.path(), "system.posix_acl_default", &list);

    replace(&with, b"new", 0o600).unwrap();
    assert_eq!(read(&with, "user.note").unwrap(), b"kept");
    assert_eq!(read(&with, "system.posix_acl_access").unwrap(), list);
    assert_eq!(mode(&with), 0o660);

    replace(&without, b"new", 0o600).unwrap();
    assert!(read(&without, "system.posix_acl_access").is_err());
    assert_eq!(mode(&without), 0o660);

    let made = folder.path().join("made");
    replace(&made, b"new", 0o666).unwrap();
    assert_eq!(read(&made, "system.posix_acl_access").unwrap(), list);
}

#[test]
fn a_missing_folder_is_an_error_that_names_the_file() {
    let error = replace(Path::new("/nowhere/file"), b"new", 0o600).unwrap_err().to_string();
    assert!(error.starts_with("cannot replace /nowhere/file: "), "{error}");
}

#[test]
fn a_reader_keeps_the_file_it_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let opened = File::open(&path).unwrap();
    replace(&path, b"new", 0o600).unwrap();
    assert_eq!(std::io::read_to_string(opened).unwrap(), "old");
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["file"]);
}
