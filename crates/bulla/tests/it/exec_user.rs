//! `--user`: another user, wholly, or nothing at all.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::processes::Running;
use crate::world::{Program, World, finish};

const LOOK: &str = "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb):' /proc/self/status; echo $HOME $USER $LOGNAME";

fn world() -> World {
    let world = World::new();
    world.encrypted("app.env", "A=1\n");
    // The program is to be able to come in.
    std::fs::set_permissions(world.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    world
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn the_program_is_that_user_alone_with_nothing_of_ours_left() {
    let world = world();
    let run = world.bulla(&["exec-env", "--user", "nobody", "app.env", "--", "sh", "-c", LOOK]);
    if !is_root() {
        let failed = run.fails(1);
        assert!(failed.stderr.contains("cannot run as another user"), "{}", failed.stderr);
        return;
    }
    let number =
        |flag| finish(std::process::Command::new("id").args([flag, "nobody"]), b"").ok().text().trim().to_owned();
    let (uid, gid, groups) = (number("-u"), number("-g"), number("-G"));
    let run = run.ok();
    let lines: Vec<Vec<&str>> = run.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Uid:", &uid, &uid, &uid, &uid]);
    assert_eq!(lines[1], ["Gid:", &gid, &gid, &gid, &gid]);
    assert_eq!(lines[2][1..], groups.split_whitespace().collect::<Vec<_>>());
    for line in &lines[3..6] {
        assert_eq!(line[1], "0000000000000000", "{line:?}");
    }
    assert_eq!(lines[6][1..], ["nobody", "nobody"]);
}

#[test]
fn a_number_without_a_name_is_taken_as_containers_take_it() {
    let world = world();
    let run = world.bulla(&["exec-env", "--user", "4242:4343", "app.env", "--", "sh", "-c", "id -u; id -g; id -G"]);
    if is_root() {
        assert_eq!(run.ok().text(), "4242\n4343\n4343\n");
    } else {
        run.fails(1);
    }
}

#[test]
fn a_user_that_does_not_exist_runs_nothing() {
    let world = world();
    for form in [&["exec-env"][..], &["exec-file"]] {
        let rest = ["--user", "no-such-user-here", "app.env", "--", "echo", "ran {}"];
        let run = world.bulla(&[form, &rest].concat()).fails(1);
        assert!(run.stderr.contains("no such user"), "{}", run.stderr);
    }
}

#[test]
fn the_other_user_can_read_the_file_and_not_touch_the_folder_it_is_in() {
    let world = world();
    if !is_root() {
        world.bulla(&["exec-file", "--user", "nobody", "app.env", "--", "cat", "{}"]).fails(1);
        return;
    }
    for form in ["--filename=secret", "--memfd"] {
        let run = world.bulla(&["exec-file", form, "--user", "nobody", "app.env", "--", "cat", "{}"]).ok();
        assert_eq!(run.text(), "A=1\n", "{form}");
    }
    let script = "cat \"$1\" > /dev/null; echo ready; echo \"$1\"; rm -f \"$1\" 2>/dev/null; \
                  ln -s /etc/target \"$1.x\" 2>/dev/null; read x; cat \"$1\"";
    let arguments = ["exec-file", "--user", "nobody", "app.env", "--", "sh", "-c", script, "x", "{}"];
    let mut running = Running::start(world.command(Program::Bulla).args(arguments));
    let path = std::path::PathBuf::from(running.line());
    let folder = path.parent().unwrap().metadata().unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o777), (0, 0o711));
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    // It could not be removed, and is served again.
    assert_eq!(running.end(), ("A=1\n".to_owned(), 0));
}
