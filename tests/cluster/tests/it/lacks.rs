//! What a machine may lack for a cluster: one message each, which says what to do, and nothing is begun.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::{TempDir, tempdir};

/// The program behind `cargo xtask`, which stands beside the tests.
fn xtask() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(Path::parent).unwrap().join("xtask");
    assert!(program.exists(), "{} is not there; run: cargo xtask test", program.display());
    program
}

/// `up` of a cluster that must not come to be, with an empty cache. Gives its complaint.
fn refused(command: &mut Command, cache: &Path) -> String {
    let output = command.args(["cluster", "up", "--name", "lacks"]).env("BULLA_CACHE", cache).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{complaint}");
    assert!(!Path::new("/var/tmp/bulla-cluster/lacks").exists());
    // One error, however much was said of the way there.
    assert_eq!(complaint.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{complaint}");
    complaint
}

#[test]
fn without_root_it_says_so() {
    let folder = tempdir().unwrap();
    // Where anybody may read it.
    let program = folder.path().join("xtask");
    fs::copy(xtask(), &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--clear-groups"]).arg(program);
    let complaint = refused(&mut command, folder.path());
    assert!(complaint.contains("needs root") && complaint.contains("sudo"), "{complaint}");
}

#[test]
fn without_go_it_says_which() {
    let (programs, cache) = (tempdir().unwrap(), tempdir().unwrap());
    for folder in ["/usr/bin", "/usr/sbin", "/bin", "/sbin"] {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_name() != "go" {
                // The folders repeat each other.
                let _ = symlink(entry.path(), programs.path().join(entry.file_name()));
            }
        }
    }
    let complaint = refused(Command::new(xtask()).env("PATH", programs.path()), cache.path());
    assert!(complaint.contains("Go 1.26"), "{complaint}");
}

#[test]
fn nobody_else_gets_at_the_keys_of_a_cluster() {
    let folder = bulla_cluster_tests::own_cluster("pki");
    let key = folder.join("admin.kubeconfig");
    let output = Command::new("setpriv").args(["--reuid=65534", "--clear-groups", "cat"]).arg(&key).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "another user reads {}", key.display());
}

#[test]
fn without_room_it_says_where() {
    let disk = SmallDisk::mount();
    let complaint = refused(&mut Command::new(xtask()), disk.0.path());
    assert!(complaint.contains(disk.0.path().to_str().unwrap()) && complaint.contains("BULLA_CACHE"), "{complaint}");
}

#[test]
fn without_a_network_it_says_what_cannot_be_had() {
    let (modules, cache) = (tempdir().unwrap(), tempdir().unwrap());
    let mut command = Command::new(xtask());
    command.env("GOPROXY", "off").env("GOMODCACHE", modules.path());
    let complaint = refused(&mut command, cache.path());
    assert!(
        complaint.contains("the Go modules of Kubernetes cannot be had") && complaint.contains("GOPROXY"),
        "{complaint}"
    );
}

/// A file system with hardly any room, gone with the test.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success());
        Self(folder)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}
