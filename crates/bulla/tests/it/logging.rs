//! What is told without being asked for, and what when it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::world::{Program, World, finish};

const SECRET: &str = "s3cret-Zk9-value";

fn world() -> World {
    let world = World::new();
    for name in ["d/a.json", "d/b.json", "d/c.json"] {
        world.write(name, "");
        world.encrypted(name, &format!("{{\"a\": \"{SECRET}\"}}\n"));
    }
    world
}

#[test]
fn a_key_that_others_can_read_is_warned_about_once() {
    let world = world();
    let quiet = world.bulla(&["decrypt", "d/a.json"]).ok();
    assert_eq!(quiet.stderr, "");
    fs::set_permissions(world.path("alice.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["decrypt", "d/a.json"][..], &["rotate", "-i", "-r", "d"]] {
        let run = world.bulla(arguments).ok();
        assert_eq!(run.stderr.matches("chmod 600").count(), 1, "{}", run.stderr);
        assert!(run.stderr.starts_with("warning: "), "{}", run.stderr);
    }
}

#[test]
fn log_lines_say_what_is_done_without_colour_and_without_secrets() {
    let world = world();
    let run = world.bulla(&["--verbose", "decrypt", "d/a.json"]).ok();
    assert!(run.stderr.contains("data key unwrapped"), "{}", run.stderr);
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
    let mut command = world.command(Program::Bulla);
    command.args(["decrypt", "d/a.json"]).env("BULLA_LOG", "trace").env("BULLA_LOG_FORMAT", "json");
    let run = finish(&mut command, b"").ok();
    assert!(run.stderr.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{}", run.stderr);
    assert!(run.stderr.contains("data key unwrapped"), "{}", run.stderr);
    assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
}
