//! The half that mounts, asked over its socket by a test that is as hostile as a half that was taken over.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bulla_node::mounter::protocol::{FailureKind, Owner, Reply, Request, Shape, receive};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountFlags, mount};
use tempfile::TempDir;

use super::half::{DRIVER, Half, USER};

const SHAPE: Shape = Shape { bytes: 1 << 20, files: 100, group: None };

fn attach(id: u64, target: &str) -> Request {
    Request::Attach { id, target: target.to_owned(), folder: None, owner: Owner::default() }
}

fn detach(target: &str) -> Request {
    Request::Detach { target: target.to_owned() }
}

fn put(root: &OwnedFd, path: &str, text: &str) {
    let file = openat(root, path, OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o600)).unwrap();
    rustix::io::write(file, text.as_bytes()).unwrap();
}

#[test]
fn a_volume_is_filled_before_it_is_seen_and_leaves_nothing() {
    let half = Half::start();
    let target = half.volume("p1");
    let place = half.look("pods").join(&target);
    let (id, root) = half.create(Shape { group: Some(2000), ..SHAPE });
    rustix::fs::mkdirat(&root, "v", Mode::from_raw_mode(0o755)).unwrap();
    put(&root, "v/password", "hunter2");
    assert!(!half.mounts().contains("bulla"), "it was seen before it was whole");
    let owner = Owner { user: Some(1000), group: Some(2000) };
    half.done(&Request::Attach { id, target: target.clone(), folder: Some("v".to_owned()), owner });
    assert_eq!(fs::read_to_string(place.join("v/password")).unwrap(), "hunter2");
    let file = fs::metadata(place.join("v/password")).unwrap();
    assert_eq!((file.uid(), file.gid()), (1000, 2000));
    let top = fs::metadata(&place).unwrap();
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (USER, 2000, 0o2755));
    let line = half.mounts().lines().find(|line| line.contains(" tmpfs bulla ")).unwrap().to_owned();
    for option in ["nosuid", "nodev", "noexec", "noswap", "size=1024k", "nr_inodes=100"] {
        assert!(line.contains(option), "no {option} in {line}");
    }
    assert_eq!(half.ask(&Request::Count).0, Reply::Counted(1));
    half.done(&detach(&target));
    half.done(&detach(&target));
    assert!(!place.exists() && !half.mounts().contains(" tmpfs bulla "));
    // The kubelet may have removed all of it.
    half.done(&detach("gone/volumes/kubernetes.io~csi/secrets/mount"));
}

#[test]
fn nothing_is_mounted_but_at_a_volume_of_the_kubelet() {
    let half = Half::start();
    let (id, _) = half.create(SHAPE);
    for bad in
        ["", "/etc", "../etc", "p1/volumes/kubernetes.io~secret/s/mount", "p1/volumes/kubernetes.io~csi/../mount"]
    {
        assert_eq!(half.fails(&attach(id, bad)).0, FailureKind::Refused, "{bad:?}");
        assert_eq!(half.fails(&detach(bad)).0, FailureKind::Refused, "{bad:?}");
    }
    // A way out by a link: in each part of the path.
    let pods = half.look("pods");
    let outside = TempDir::new().unwrap();
    fs::create_dir_all(outside.path().join("volumes/kubernetes.io~csi/secrets/mount")).unwrap();
    symlink(outside.path(), pods.join("l1")).unwrap();
    fs::create_dir_all(pods.join("l2/volumes")).unwrap();
    symlink(outside.path().join("volumes/kubernetes.io~csi"), pods.join("l2/volumes/kubernetes.io~csi")).unwrap();
    fs::create_dir_all(pods.join("l3/volumes/kubernetes.io~csi/secrets")).unwrap();
    symlink("/etc", pods.join("l3/volumes/kubernetes.io~csi/secrets/mount")).unwrap();
    for pod in ["l1", "l2", "l3"] {
        let target = format!("{pod}/volumes/kubernetes.io~csi/secrets/mount");
        assert_eq!(half.fails(&attach(id, &target)).0, FailureKind::Refused, "{pod}");
        assert_eq!(half.fails(&Request::Open { target: target.clone() }).0, FailureKind::Refused, "{pod}");
        assert_eq!(half.fails(&detach(&target)).0, FailureKind::Refused, "{pod}");
    }
    assert!(
        Path::new("/etc/passwd").exists() && outside.path().join("volumes/kubernetes.io~csi/secrets/mount").exists()
    );
}

#[test]
fn what_somebody_else_mounted_is_neither_covered_nor_taken_away() {
    let half = Half::with(|kubelet| {
        let place = kubelet.join("pods/p/volumes/kubernetes.io~csi/disk/mount");
        fs::create_dir_all(&place).unwrap();
        mount("/proc", &place, "proc", MountFlags::empty(), None).unwrap();
    });
    let target = "p/volumes/kubernetes.io~csi/disk/mount";
    let (id, _) = half.create(SHAPE);
    assert_eq!(half.fails(&attach(id, target)).0, FailureKind::Busy);
    assert_eq!(half.fails(&Request::Open { target: target.to_owned() }).0, FailureKind::NotFound);
    assert_eq!(half.fails(&detach(target)).0, FailureKind::Refused);
    assert!(half.look("pods").join(target).join("self").exists());
}

/// What another driver mounted, with the note that the kubelet has beside it: twice, by mistake, as the peer does.
fn other_driver(kubelet: &Path, note: Option<&str>) {
    let volume = kubelet.join("pods/p/volumes/kubernetes.io~csi/secrets");
    let place = volume.join("mount");
    fs::create_dir_all(&place).unwrap();
    if let Some(note) = note {
        fs::write(volume.join("vol_data.json"), note).unwrap();
    }
    for _ in 0..2 {
        mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None).unwrap();
    }
    fs::create_dir(place.join("..2026")).unwrap();
    fs::write(place.join("..2026/a"), "x").unwrap();
}

#[test]
fn a_volume_of_another_driver_s_name_is_left_alone() {
    let target = "p/volumes/kubernetes.io~csi/secrets/mount";
    for note in [None, Some(r#"{"driverName":"other.csi.k8s.io"}"#), Some("{"), Some("[]")] {
        let half = Half::with(move |kubelet| other_driver(kubelet, note));
        assert_eq!(half.fails(&Request::Open { target: target.to_owned() }).0, FailureKind::NotFound, "{note:?}");
        let own = Request::Own { target: target.to_owned(), folder: "..2026".to_owned(), owner: Owner::default() };
        assert_eq!(half.fails(&own).0, FailureKind::NotFound, "{note:?}");
        assert_eq!(half.fails(&detach(target)).0, FailureKind::Refused, "{note:?}");
        let place = half.look("pods").join(target);
        assert_eq!(fs::metadata(&place).unwrap().uid(), 0);
        assert_eq!(fs::read_to_string(place.join("..2026/a")).unwrap(), "x");
    }
}

#[test]
fn a_volume_of_an_earlier_driver_is_taken_over() {
    let note = format!(r#"{{"attachmentID":"csi-1","driverName":"{DRIVER}","volumeLifecycleMode":"Ephemeral"}}"#);
    let half = Half::with(move |kubelet| other_driver(kubelet, Some(&note)));
    let target = "p/volumes/kubernetes.io~csi/secrets/mount";
    let (reply, root) = half.ask(&Request::Open { target: target.to_owned() });
    assert!(reply == Reply::Opened && root.is_some());
    let place = half.look("pods").join(target);
    assert_eq!(fs::metadata(&place).unwrap().uid(), USER);
    assert_eq!(fs::metadata(place.join("..2026")).unwrap().uid(), USER);
    half.done(&detach(target));
    assert!(!place.exists());
}

#[test]
fn what_is_asked_for_is_bounded() {
    let half = Half::start();
    let most = Shape { bytes: 64 << 20, files: 10_000, group: None };
    half.create(most);
    for more in [Shape { bytes: most.bytes + 1, ..most }, Shape { files: 10_001, ..most }, Shape { bytes: 0, ..most }] {
        assert_eq!(half.fails(&Request::Create(more)).0, FailureKind::Refused);
    }
    let target = half.volume("p");
    assert_eq!(half.fails(&attach(77, &target)).0, FailureKind::Refused);
    let (id, root) = half.create(SHAPE);
    assert!(
        rustix::io::write(
            openat(&root, "a", OFlags::WRONLY | OFlags::CREATE, Mode::from_raw_mode(0o600)).unwrap(),
            &vec![0; 2 << 20]
        )
        .unwrap()
            <= 1 << 20
    );
    for folder in ["", ".", "..", "a/b", "/"] {
        let owner = Owner { user: Some(0), group: None };
        let request = Request::Attach { id, target: target.clone(), folder: Some(folder.to_owned()), owner };
        assert_eq!(half.fails(&request).0, FailureKind::Refused, "{folder:?}");
    }
    half.done(&Request::Discard { id });
    half.done(&Request::Discard { id });
    for name in ["", "a/b", "..", "a.b", &"a".repeat(31)] {
        assert_eq!(half.fails(&Request::Connect { provider: name.to_owned() }).0, FailureKind::Refused, "{name:?}");
    }
    assert_eq!(half.fails(&Request::Connect { provider: "vault".to_owned() }).0, FailureKind::NotFound);
    assert_eq!(half.fails(&Request::Listen { name: "../x".to_owned() }).0, FailureKind::Refused);
}

#[test]
fn files_that_lie_where_nothing_is_mounted_are_removed() {
    let half = Half::start();
    let target = half.volume("p");
    let place = half.look("pods").join(&target);
    fs::create_dir_all(place.join("a/b")).unwrap();
    fs::write(place.join("a/b/c"), "x").unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("kept"), "x").unwrap();
    symlink(outside.path(), place.join("link")).unwrap();
    half.done(&detach(&target));
    assert!(!place.exists() && outside.path().join("kept").exists());
}

#[test]
fn sockets_are_served_and_found() {
    let half = Half::start();
    let (reply, socket) = half.ask(&Request::Listen { name: "csi".to_owned() });
    assert!(reply == Reply::Listening && socket.is_some());
    let path = half.folder.path().join("plugin/csi.sock");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(half.ask(&Request::Listen { name: "csi".to_owned() }).0, Reply::Listening);
    half.done(&Request::Unlisten { name: "csi".to_owned() });
    half.done(&Request::Unlisten { name: "csi".to_owned() });
    assert!(!path.exists());

    // A provider whose socket moved to the other folder, and one whose process is gone.
    let providers = half.folder.path().join("providers");
    fs::create_dir(&providers).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(providers.join("vault.sock")).unwrap();
    assert_eq!(half.ask(&Request::Connect { provider: "vault".to_owned() }).0, Reply::Connected);
    drop(listener);
    assert_eq!(half.fails(&Request::Connect { provider: "vault".to_owned() }).0, FailureKind::System);
}

#[test]
fn a_process_that_ends_late_takes_no_socket_of_the_next_along() {
    let listen = Request::Listen { name: "csi".to_owned() };
    let is_lost = |half: &Half| match half.ask(&Request::IsLost { name: "csi".to_owned() }) {
        (Reply::Lost(is_lost), None) => is_lost,
        other => panic!("{other:?}"),
    };
    let old = Half::start();
    let new = old.beside();
    let path = old.folder.path().join("plugin/csi.sock");
    let was = old.ask(&listen).1;
    assert!(!is_lost(&old));
    let is = new.ask(&listen).1;
    assert!(!is_lost(&old), "somebody is there");
    old.done(&Request::Unlisten { name: "csi".to_owned() });
    drop(was);
    assert!(path.exists() && !is_lost(&new));

    // It is started once more, has the path for a moment, and is killed.
    let was = old.ask(&listen).1;
    assert!(!is_lost(&new));
    drop((was, old));
    // Its thread ends a little later.
    while !is_lost(&new) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let again = new.ask(&listen).1;
    assert!(!is_lost(&new));
    fs::remove_file(&path).unwrap();
    assert!(is_lost(&new));
    drop((is, again));
}

#[test]
fn what_is_no_request_ends_it() {
    let half = Half::start();
    rustix::net::send(&half.socket, b"{\"create\":{}}", rustix::net::SendFlags::empty()).unwrap();
    assert!(receive::<Reply>(&half.socket).unwrap().is_none());
}
