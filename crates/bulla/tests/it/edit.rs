//! Editing, with programs for editors.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{ALICE, BOB, Program, Run, World, finish};

const TEXT: &str = "{\n\t\"a\": \"x\"\n}\n";

fn world() -> World {
    let world = World::new();
    world.encrypted("a.json", TEXT);
    world
}

/// Edits with a shell script, in which `$1` is the file and `$W` the test's folder.
fn edit(world: &World, program: Program, script: &str, arguments: &[&str], answers: &str) -> Run {
    let mut command = editing(world, program, script);
    finish(command.args(arguments), answers.as_bytes())
}

fn editing(world: &World, program: Program, script: &str) -> Command {
    world.write("editor.sh", script);
    let mut command = world.command(program);
    command.arg("edit").env("EDITOR", format!("sh {}", world.path("editor.sh").display())).env("W", world.folder());
    command
}

fn leftovers() -> Vec<PathBuf> {
    fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_saved_is_encrypted_and_unchanged_values_keep_their_ciphertext() {
    let world = World::new();
    world.encrypted("a.json", "{\n\t\"a\": \"x\",\n\t\"b\": \"y\"\n}\n");
    let line = |world: &World| world.read("a.json").lines().find(|line| line.contains("\"b\"")).unwrap().to_owned();
    let before = line(&world);
    edit(&world, Program::Bulla, "sed -i 's/\"x\"/\"z\"/' $1", &["a.json"], "").ok();
    assert_eq!(line(&world), before);
    assert_eq!(world.real(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), "z");
}

#[test]
fn the_plaintext_is_in_memory_private_and_gone_afterwards() {
    let world = world();
    let script = "echo $1 > $W/where; stat -c %a $1 $(dirname $1) > $W/modes; stat -f -c %T $1 > $W/type; touch $1~";
    edit(&world, Program::Bulla, script, &["a.json"], "").fails(200);
    let path = PathBuf::from(world.read("where").trim());
    assert_eq!(world.read("modes"), "600\n700\n");
    assert_eq!(world.read("type"), "tmpfs\n");
    assert_eq!(path.file_name().unwrap(), "a.json");
    assert!(!path.parent().unwrap().exists());
}

#[test]
fn rubbish_is_offered_again_and_nothing_is_lost() {
    let world = world();
    let script =
        "if [ -e $W/again ]; then sed -i 's/,,/,/' $1; else touch $W/again; echo '{\"a\": 1,, \"b\": 2}' > $1; fi";
    let run = edit(&world, Program::Bulla, script, &["a.json"], "\n").ok();
    assert!(run.stderr.contains("line 1"), "{}", run.stderr);
    assert_eq!(world.real(&["decrypt", "--extract", "[\"b\"]", "a.json"]).ok().text(), "2");
}

#[test]
fn rubbish_that_is_given_up_is_kept_encrypted() {
    for answers in ["", "q\n"] {
        let world = world();
        let before = world.read("a.json");
        let run = edit(&world, Program::Bulla, "echo '{\"hunter2\": ' > $1", &["a.json"], answers).fails(2);
        assert_eq!(world.read("a.json"), before);
        assert!(run.stderr.contains("a.json.bulla-kept"), "{}", run.stderr);
        assert!(!world.read("a.json.bulla-kept").contains("hunter2"));
        let kept = world.bulla(&["decrypt", "--input-type", "binary", "a.json.bulla-kept"]).ok();
        assert_eq!(kept.text(), "{\"hunter2\": \n");
    }
}

#[test]
fn an_editor_that_fails_loses_nothing() {
    let world = world();
    let before = world.read("a.json");
    edit(&world, Program::Bulla, "exit 3", &["a.json"], "").fails(201);
    assert!(!world.path("a.json.bulla-kept").exists());
    let run = edit(&world, Program::Bulla, "echo '{\"a\": 2}' > $1; exit 3", &["a.json"], "").fails(201);
    assert!(run.stderr.contains("exit status 3"), "{}", run.stderr);
    assert_eq!(world.read("a.json"), before);
    assert!(world.path("a.json.bulla-kept").exists());
    let script = "if [ -e $W/again ]; then exit 0; fi; touch $W/again; echo '{\"a\": 2}' > $1; exit 3";
    edit(&world, Program::Bulla, script, &["a.json"], "\n").ok();
    assert_eq!(world.bulla(&["decrypt", "a.json"]).ok().text(), "{\"a\": 2}\n");
}

#[test]
fn a_file_that_was_changed_meanwhile_is_not_overwritten_unasked() {
    let theirs = "{\n\t\"a\": \"theirs\"\n}\n";
    let script = "cp $W/theirs.json $W/a.json; echo '{\"a\": \"mine\"}' > $1";
    for (answers, code, left) in [("", 3, "theirs"), ("q\n", 3, "theirs"), ("o\n", 0, "mine")] {
        let world = world();
        world.encrypted("theirs.json", theirs);
        let run = edit(&world, Program::Bulla, script, &["a.json"], answers);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("changed by another process"), "{}", run.stderr);
        assert_eq!(world.bulla(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), left);
        assert_eq!(world.path("a.json.bulla-kept").exists(), code != 0);
    }
    let world = world();
    world.encrypted("theirs.json", theirs);
    let script = "if [ -e $W/again ]; then cp $1 $W/both; echo '{\"a\": \"merged\"}' > $1; exit; fi
        touch $W/again; cp $W/theirs.json $W/a.json; echo '{\"a\": \"mine\"}' > $1";
    edit(&world, Program::Bulla, script, &["a.json"], "e\n").ok();
    assert!(world.read("both").contains("mine") && world.read("both").contains("theirs"), "{}", world.read("both"));
    assert_eq!(world.bulla(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), "merged");
}

#[test]
fn changes_that_do_not_touch_each_other_are_merged() {
    let world = World::new();
    world.encrypted("a.json", "{\n\t\"a\": 1,\n\t\"b\": 2,\n\t\"c\": 3\n}\n");
    let script = "$SOPS set $W/a.json '[\"c\"]' 30; sed -i 's/\"a\": 1/\"a\": 10/' $1";
    let mut command = editing(&world, Program::Bulla, script);
    let run = finish(command.arg("a.json").env("SOPS", env!("CARGO_BIN_EXE_bulla")), b"").ok();
    assert!(run.stderr.contains("merged"), "{}", run.stderr);
    let text = world.bulla(&["decrypt", "a.json"]).ok();
    assert_eq!(text.text(), "{\n\t\"a\": 10,\n\t\"b\": 2,\n\t\"c\": 30\n}\n");
}

#[test]
fn what_was_merged_and_cannot_be_saved_is_kept() {
    let world = world();
    let script = "$SOPS set $W/a.json '[\"c\"]' 30; chmod 444 $W/a.json; sed -i 's/\"x\"/\"mine\"/' $1";
    let mut command = editing(&world, Program::Bulla, script);
    finish(command.arg("a.json").env("SOPS", env!("CARGO_BIN_EXE_bulla")), b"").fails(3);
    let kept = world.bulla(&["decrypt", "--input-type", "binary", "a.json.bulla-kept"]).ok();
    assert_eq!(kept.text(), "{\n\t\"a\": \"mine\",\n\t\"c\": 30\n}\n");
}

#[test]
fn an_editor_that_is_gone_the_second_time_loses_nothing() {
    let world = world();
    world.write("own-editor", "#!/bin/sh\necho '{\"a\": ' > $1; rm $0\n");
    fs::set_permissions(world.path("own-editor"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = world.command(Program::Bulla);
    finish(command.args(["edit", "a.json"]).env("EDITOR", world.path("own-editor")), b"\n").fails(201);
    let kept = world.bulla(&["decrypt", "--input-type", "binary", "a.json.bulla-kept"]).ok();
    assert_eq!(kept.text(), "{\"a\": \n");
}

#[test]
fn keys_are_shown_and_may_be_changed() {
    let world = world();
    let script = format!("cp $1 $W/shown; sed -i 's/\"x\"/\"z\"/; s/{}/{}/' $1", ALICE.recipient, BOB.recipient);
    edit(&world, Program::Bulla, &script, &["-s", "a.json"], "").ok();
    assert!(world.read("shown").contains("\"sops\""));
    assert!(world.read("shown").contains(ALICE.recipient));
    world.bulla(&["decrypt", "a.json"]).fails(128);
    let mut command = world.command(Program::Sops("3.13.3"));
    let run = finish(
        command.args(["decrypt", "--extract", "[\"a\"]", "a.json"]).env("SOPS_AGE_KEY_FILE", world.path("bob.key")),
        b"",
    );
    assert_eq!(run.ok().text(), "z");
}

#[test]
fn a_new_file_starts_with_an_example() {
    let world = World::new();
    for name in ["n.yaml", "n.json", "n.env", "n.ini", "n.toml", "n.txt"] {
        edit(&world, Program::Bulla, "cp $1 $W/example", &["--age", ALICE.recipient, name], "").fails(200);
        assert!(!world.path(name).exists());
        assert!(!world.read("example").is_empty());
        edit(&world, Program::Bulla, "sed -i 's/app/root/;s/Replace/Read/' $1", &["--age", ALICE.recipient, name], "")
            .ok();
        assert_eq!(world.bulla(&["decrypt", name]).ok().text().contains("change-me"), name != "n.txt");
    }
    edit(&world, Program::Bulla, "true", &["nokey.yaml"], "").fails(1);
}

#[test]
fn a_signal_wipes_the_plaintext_and_keeps_what_was_typed_encrypted() {
    for (signal, status) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129)] {
        let world = world();
        let script = "echo '{\"a\": 5}' > $1; echo $1 > $W/where.new; mv $W/where.new $W/where; exec sleep 60";
        let mut command = editing(&world, Program::Bulla, script);
        let mut child = command.arg("a.json").stderr(Stdio::null()).spawn().unwrap();
        let started = Instant::now();
        while !world.path("where").exists() {
            assert!(started.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(status));
        let path = PathBuf::from(world.read("where").trim());
        assert!(!path.parent().unwrap().exists(), "{:?}", leftovers());
        assert_eq!(world.bulla(&["decrypt", "a.json"]).ok().text(), TEXT);
        let kept = world.bulla(&["decrypt", "--input-type", "binary", "a.json.bulla-kept"]).ok();
        assert_eq!(kept.text(), "{\"a\": 5}\n");
    }
}
