//! What goes wrong: nothing on standard output, the file as it was, a status that says what it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::world::{Program, World, finish};

fn world() -> World {
    let world = World::new();
    world.encrypted("a.json", "{\n\t\"a\": \"x\",\n\t\"b_unencrypted\": \"plain\"\n}\n");
    world
}

#[test]
fn without_the_right_key_nothing_is_printed_and_the_keys_are_named() {
    let world = world();
    let run = finish(
        world.command(Program::Bulla).args(["decrypt", "a.json"]).env("SOPS_AGE_KEY_FILE", world.path("bob.key")),
        b"",
    );
    let run = run.fails(128);
    assert!(run.stderr.contains("age1"), "{}", run.stderr);
    let run = finish(world.command(Program::Bulla).args(["decrypt", "a.json"]).env_remove("SOPS_AGE_KEY_FILE"), b"");
    assert!(run.fails(128).stderr.contains("hint:"));
}

#[test]
fn a_key_file_that_others_may_read_is_warned_about_without_being_asked() {
    let world = world();
    let key = world.path("alice.key");
    for (mode, warned) in [(0o600, false), (0o644, true)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        for program in [Program::Bulla, Program::Link] {
            let run = world.run(program, &["decrypt", "a.json"]).ok();
            let warning = format!(
                "warning: {0} holds a private key and others may read it (mode 0644); run: chmod 600 {0}\n",
                key.display()
            );
            assert_eq!(run.stderr, if warned { warning.as_str() } else { "" });
        }
    }
}

#[test]
fn a_changed_plain_value_breaks_the_mac() {
    let world = world();
    world.write("a.json", world.read("a.json").replace("plain", "changed"));
    for program in [Program::Bulla, Program::Link] {
        let run = world.run(program, &["decrypt", "a.json"]).fails(51);
        assert!(run.stderr.contains("MAC mismatch"), "{}", run.stderr);
    }
    let before = world.read("a.json");
    world.bulla(&["set", "a.json", "[\"a\"]", "1"]).fails(51);
    world.bulla(&["rotate", "-i", "a.json"]).fails(51);
    assert_eq!(world.read("a.json"), before);
    assert!(world.bulla(&["decrypt", "--ignore-mac", "a.json"]).ok().text().contains("changed"));
}

#[test]
fn damaged_ciphertext_is_refused() {
    let world = world();
    let text = world.read("a.json");
    let at = text.find("data:").unwrap() + 5;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    world.write("a.json", format!("{}{other}{}", &text[..at], &text[at + 1..]));
    world.bulla(&["decrypt", "a.json"]).fails(25);
    world.write("a.json", &text[..text.len() / 2]);
    world.bulla(&["decrypt", "a.json"]).fails(1);
}

#[test]
fn a_read_only_file_stays() {
    let world = world();
    let before = world.read("a.json");
    fs::set_permissions(world.path("a.json"), fs::Permissions::from_mode(0o444)).unwrap();
    world.bulla(&["rotate", "-i", "a.json"]).fails(3);
    world.bulla(&["decrypt", "-i", "a.json"]).fails(3);
    assert_eq!(world.read("a.json"), before);
}

#[test]
fn a_link_stays_a_link_and_its_file_is_replaced() {
    let world = world();
    fs::create_dir(world.path("links")).unwrap();
    symlink("../a.json", world.path("links/l.json")).unwrap();
    world.bulla(&["set", "links/l.json", "[\"a\"]", "\"y\""]).ok();
    assert!(world.path("links/l.json").is_symlink());
    assert_eq!(world.bulla(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), "y");
}

#[test]
fn mode_survives_and_no_temporary_file_stays() {
    let world = world();
    fs::set_permissions(world.path("a.json"), fs::Permissions::from_mode(0o640)).unwrap();
    world.bulla(&["rotate", "-i", "a.json"]).ok();
    assert_eq!(world.path("a.json").metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let left: Vec<_> = fs::read_dir(world.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".bulla")), "{left:?}");
}

#[test]
fn many_processes_set_values_of_one_file_and_none_is_lost() {
    let world = world();
    let children: Vec<_> = (0..8)
        .map(|index| {
            let path = format!("[\"k{index}\"]");
            world.command(Program::Bulla).args(["set", "a.json", &path, "1"]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let text = world.bulla(&["decrypt", "a.json"]).ok();
    for index in 0..8 {
        assert!(text.text().contains(&format!("\"k{index}\"")), "{}", text.text());
    }
}

#[test]
fn publishing_says_that_it_comes_later() {
    let world = world();
    for program in [Program::Bulla, Program::Link] {
        let run = world.run(program, &["publish", "a.json"]).fails(1);
        assert!(run.stderr.contains("later version"), "{}", run.stderr);
    }
}
