//! What our own command line does beyond sops': bytes stay, only what is asked for moves.

use crate::world::{ALICE, Program, World, finish};

const TEXT: &str = "# who: ops\ndb:   {user: app, password: 'hunter2'} # flow\nlist:\n  - 1\n  - two   # spaced\n";

#[test]
fn a_file_comes_back_byte_for_byte() {
    let world = World::new();
    for (name, text) in [
        ("a.yaml", TEXT),
        ("a.json", "{ \"a\" : 1,\n  \"b\":[ 1,2 ] }\n"),
        (".env.prod", "# c\nexport A=1\nB=\"two words\"\n"),
        ("a.ini", "; c\n[s]\na=1\n"),
        ("a.toml", "# c\n[s]\na = 1 # d\n"),
        ("a.bin", "\u{0}\u{1}\n\n"),
    ] {
        world.encrypted(name, text);
        assert!(!world.read(name).contains("hunter2"));
        assert_eq!(world.bulla(&["decrypt", name]).ok().text(), text, "{name}");
        assert_eq!(world.bulla(&["decrypt", "--strict", name]).ok().text(), text, "{name}");
        world.bulla(&["decrypt", "-i", name]).ok();
        assert_eq!(world.read(name), text, "{name}");
    }
}

#[test]
fn setting_one_value_moves_only_its_line_and_the_mac() {
    let world = World::new();
    world.encrypted("a.yaml", TEXT);
    let before = world.read("a.yaml");
    world.bulla(&["set", "a.yaml", "[\"list\"][1]", "\"three\""]).ok();
    let after = world.read("a.yaml");
    let moved: Vec<&str> = before.lines().zip(after.lines()).filter(|(a, b)| a != b).map(|(a, _)| a.trim()).collect();
    assert_eq!(before.lines().count(), after.lines().count());
    for line in &moved {
        let allowed = ["- ENC[", "lastmodified:", "mac:", "layout:", "bulla:"];
        assert!(allowed.iter().any(|start| line.starts_with(start)), "{line}");
    }
    assert_eq!(moved.iter().filter(|line| line.starts_with("- ENC[")).count(), 1);
    assert_eq!(world.bulla(&["decrypt", "a.yaml"]).ok().text(), TEXT.replace("two ", "three "));
}

#[test]
fn a_negative_number_is_a_value_and_no_flag() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    for number in ["-5", "-1.5"] {
        world.bulla(&["set", "a.json", "[\"a\"]", number]).ok();
        assert_eq!(world.bulla(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), number);
    }
    world.bulla(&["set", "a.json", "[\"a\"]", "--bogus"]).fails(1);
}

#[test]
fn setting_an_equal_value_leaves_the_file_alone() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": \"x\"}\n");
    let before = world.read("a.json");
    world.bulla(&["set", "a.json", "[\"a\"]", "\"x\""]).ok();
    assert_eq!(world.read("a.json"), before);
}

#[test]
fn encrypting_from_an_old_version_keeps_the_ciphertext_of_what_is_unchanged() {
    let world = World::new();
    world.encrypted("old.yaml", "a: 1\nb: 2\nc: 3\n");
    world.write("new.yaml", "a: 1\nb: changed\nc: 3\n");
    world.bulla(&["encrypt", "-i", "--from", "old.yaml", "new.yaml"]).ok();
    let (old, new) = (world.read("old.yaml"), world.read("new.yaml"));
    let line = |text: &str, start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert_eq!(line(&new, "a:"), line(&old, "a:"));
    assert_eq!(line(&new, "c:"), line(&old, "c:"));
    assert_ne!(line(&new, "b:"), line(&old, "b:"));
    assert_eq!(world.real(&["decrypt", "new.yaml"]).ok().text(), "a: 1\nb: changed\nc: 3\n");
    world.write("third.yaml", "a: 1\n");
    world.bulla(&["encrypt", "--from", "old.yaml", "--age", ALICE.recipient, "third.yaml"]).fails(8);
}

#[test]
fn the_configuration_is_found_from_the_file() {
    let world = World::new();
    world
        .write("deploy/.sops.yaml", format!("creation_rules:\n  - path_regex: ^prod/\n    age: {}\n", ALICE.recipient));
    world.write("deploy/prod/a.yaml", "a: 1\n");
    world.write("deploy/test/a.yaml", "a: 1\n");
    world.bulla(&["encrypt", "-i", "deploy/prod/a.yaml"]).ok();
    assert_eq!(world.real(&["decrypt", "deploy/prod/a.yaml"]).ok().text(), "a: 1\n");
    world.bulla(&["encrypt", "deploy/test/a.yaml"]).fails(1);
    world.write(".sops.yml", "creation_rules: []\n");
    world.write("p.yaml", "a: 1\n");
    let run = world.bulla(&["encrypt", "--age", ALICE.recipient, "deploy/../p.yaml"]).ok();
    assert!(run.stderr.contains("must be called .sops.yaml"), "{}", run.stderr);
}

#[test]
fn variables_that_are_set_to_nothing_count_as_not_set() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    for program in [Program::Bulla, Program::Link] {
        let mut command = world.command(program);
        for variable in [
            "SOPS_CONFIG",
            "SOPS_KEYSERVICE",
            "SOPS_DECRYPTION_ORDER",
            "SOPS_AGE_RECIPIENTS",
            "BULLA_KEY_TIMEOUT",
            "BULLA_LOG",
            "BULLA_LOG_FORMAT",
        ] {
            command.env(variable, "");
        }
        assert_eq!(finish(command.args(["decrypt", "a.json"]), b"").ok().text(), "{\"a\": 1}\n");
    }
}
