//! Files that cannot be written, or are written by two, or by one that is killed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{PLAIN, encrypted};
use crate::world::{World, ok, run};

#[test]
fn a_read_only_file_stays_as_it_is() {
    let world = encrypted();
    let before = world.read("file.yaml");
    fs::set_permissions(world.path("file.yaml"), fs::Permissions::from_mode(0o444)).unwrap();
    for arguments in
        [&["set", "file.yaml", "[\"port\"]", "1"][..], &["rotate", "-i", "file.yaml"], &["decrypt", "-i", "file.yaml"]]
    {
        let output = world.bulla(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(stderr.contains("file.yaml"), "{stderr}");
        assert_eq!(world.read("file.yaml"), before);
    }
    only_these_files(&world);
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    let world = encrypted();
    let disk = world.path("disk");
    fs::create_dir(&disk).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&disk));
    let result = std::panic::catch_unwind(|| {
        world.write("disk/file.yaml", world.read("file.yaml"));
        let before = world.read("disk/file.yaml");
        // What is left of the disk is filled up.
        let _ = fs::File::create(disk.join("filler"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![0; 65536]));
        let output = world.bulla(&["set", "disk/file.yaml", "[\"user\"]", "\"other\""]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(stderr.contains("No space left"), "{stderr}");
        assert_eq!(world.read("disk/file.yaml"), before);
        let left: Vec<_> = fs::read_dir(&disk).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    });
    run(Command::new("umount").arg(&disk));
    result.unwrap();
}

#[test]
fn a_link_stays_a_link_and_mode_and_owner_stay() {
    let world = encrypted();
    fs::create_dir(world.path("real")).unwrap();
    fs::rename(world.path("file.yaml"), world.path("real/file.yaml")).unwrap();
    fs::set_permissions(world.path("real/file.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(world.path("real/file.yaml"), Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::symlink("real/file.yaml", world.path("file.yaml")).unwrap();
    ok(world.bulla(&["set", "file.yaml", "[\"port\"]", "1"]));
    assert!(fs::symlink_metadata(world.path("file.yaml")).unwrap().is_symlink());
    let metadata = fs::metadata(world.path("real/file.yaml")).unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, 65534, 65534));
    assert_eq!(ok(world.bulla(&["decrypt", "file.yaml"])), PLAIN.replace("5432", "1").as_bytes());
}

#[test]
fn two_who_change_one_file_lose_nothing() {
    let world = encrypted();
    let each = |key: &str, value: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.args(["set", "file.yaml", &format!("[\"{key}_{value}\"]"), &value.to_string()]);
        command.current_dir(world.folder.path()).envs(world.env.iter().cloned()).stdin(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (0..8).flat_map(|value| [each("left", value), each("right", value)]).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let plain = String::from_utf8(ok(world.bulla(&["decrypt", "--strict", "file.yaml"]))).unwrap();
    for value in 0..8 {
        assert!(
            plain.contains(&format!("left_{value}: {value}")) && plain.contains(&format!("right_{value}: {value}")),
            "{plain}"
        );
    }
}

#[test]
fn killed_at_any_moment_it_leaves_the_old_file_or_the_new() {
    let world = World::new();
    let plain: String = (0..2000).map(|key| format!("key_{key}: value_{key}\n")).collect();
    world.write("plain.yaml", &plain);
    let old = ok(world.bulla(&["encrypt", "--age", &world.recipient, "plain.yaml"]));
    world.write("file.yaml", &old);
    let (mut killed, mut finished) = (0, 0);
    for round in 0..60_u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bulla"))
            .args(["set", "file.yaml", "[\"key_7\"]", &format!("\"round {round}\"")])
            .current_dir(world.folder.path())
            .envs(world.env.iter().cloned())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(round * 7919 % 120_000));
        let _ = child.kill();
        if child.wait().unwrap().success() {
            finished += 1;
        } else {
            killed += 1;
        }
        let plain_now = String::from_utf8(ok(world.bulla(&["decrypt", "--strict", "file.yaml"]))).unwrap();
        assert_eq!(plain_now.lines().count(), 2000, "round {round}");
    }
    assert!(killed > 0, "no run was killed, {finished} finished: the test proves nothing");
}

/// No temporary file was left behind.
#[track_caller]
fn only_these_files(world: &World) {
    for entry in fs::read_dir(world.folder.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with(".bulla-"), "{name} was left");
    }
}
