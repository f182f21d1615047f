//! Standard input and output: files pass through, nothing else stands on standard output.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
fn a_stream_of_files_is_decrypted_each_with_its_own_key_or_not_at_all() {
    let world = World::new();
    world.encrypted("a.yaml", "a: s3cret\n");
    world.encrypted("b.yaml", "# two in one\nb: 1\n---\nc: 2\n");
    let (a, b) = (world.read("a.yaml"), world.read("b.yaml"));
    let decrypt = |arguments: &[&str], stream: &str| {
        finish(world.command(Program::Bulla).arg("decrypt").args(arguments), stream.as_bytes())
    };
    // As `kustomize build` puts them together.
    let stream = format!("kind: ConfigMap\n---\n{a}---\n{b}");
    let plain = "kind: ConfigMap\n---\na: s3cret\n---\n# two in one\nb: 1\n---\nc: 2\n";
    assert_eq!(decrypt(&["-"], &stream).ok().text(), plain);
    assert_eq!(
        decrypt(&["-", "--strict"], &format!("{a}---\n{b}")).ok().text(),
        &plain["kind: ConfigMap\n---\n".len()..]
    );
    decrypt(&["-", "--strict"], &stream).fails(51);
    // One that was changed keeps all from being printed.
    let (first, _) = b.split_once("\n---\n").unwrap();
    decrypt(&["-"], &format!("{a}---\n{first}\n")).fails(51);
    decrypt(&["-"], &format!("{b}---\n{}", a.replace("data:", "data:A"))).fails(25);
    // A file is one: what was put into it is no part of it.
    world.write("more.yaml", format!("{a}---\nkind: ConfigMap\n"));
    world.bulla(&["decrypt", "more.yaml"]).fails(25);
}

#[test]
fn a_reader_that_has_enough_ends_the_program_quietly() {
    let world = World::new();
    world.encrypted("big.txt", &"0123456789\n".repeat(100_000));
    for arguments in [
        &["decrypt", "big.txt"][..],
        &["filestatus", "big.txt"],
        &["completion", "bash"],
        &["encrypt", "--dry-run", "--age", ALICE.recipient, "alice.key"],
    ] {
        let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let stdin = reader.stdin.take().unwrap();
        reader.wait().unwrap();
        let output = world.command(Program::Bulla).args(arguments).stdout(stdin).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn output_may_be_a_pipe_or_a_device() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    assert_eq!(world.bulla(&["decrypt", "--output", "/dev/stdout", "a.json"]).ok().text(), "{\"a\": 1}\n");
}

#[test]
fn waiting_for_the_reader_of_a_pipe_ends_with_a_signal() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    assert!(Command::new("mkfifo").arg(world.path("pipe")).status().unwrap().success());
    let mut child = world.command(Program::Bulla).args(["decrypt", "--output", "pipe", "a.json"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.signal().or(status.code()), Some(15), "{status}");
}

#[test]
fn plaintext_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    world.bulla(&["decrypt", "--output", "plain.json", "a.json"]).ok();
    assert_eq!(world.path("plain.json").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // What a script of sops makes, another user may have to read.
    let mode = |program, name: &str| {
        world.run(program, &["decrypt", "--output", name, "a.json"]).ok();
        world.path(name).metadata().unwrap().permissions().mode()
    };
    assert_eq!(mode(Program::Link, "ours.json"), mode(Program::Sops("3.13.3"), "theirs.json"));
}
