//! Standard input and output: files pass through, nothing else stands on standard output.

use std::process::{Command, Stdio};

use crate::world::{ALICE, Program, World, finish};

#[test]
fn files_pass_through_a_pipe() {
    let world = World::new();
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: hunter2\n---\na: 1\n";
    let encrypt = ["encrypt", "--age", ALICE.recipient, "--input-type", "yaml", "-"];
    let encrypted = finish(world.command(Program::Bulla).args(encrypt), manifest.as_bytes()).ok();
    assert!(!encrypted.text().contains("hunter2"));
    for arguments in [vec!["decrypt", "-"], vec!["decrypt"]] {
        let plain = finish(world.command(Program::Bulla).args(&arguments), &encrypted.stdout).ok();
        assert_eq!(plain.text(), manifest);
    }
}

#[test]
fn a_reader_that_has_enough_ends_the_program_quietly() {
    let world = World::new();
    world.encrypted("big.txt", &"0123456789\n".repeat(100_000));
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let stdin = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    let output = world.command(Program::Bulla).args(["decrypt", "big.txt"]).stdout(stdin).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn output_may_be_a_pipe_or_a_device() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    assert_eq!(world.bulla(&["decrypt", "--output", "/dev/stdout", "a.json"]).ok().text(), "{\"a\": 1}\n");
}

#[test]
fn plaintext_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    world.bulla(&["decrypt", "--output", "plain.json", "a.json"]).ok();
    assert_eq!(world.path("plain.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
