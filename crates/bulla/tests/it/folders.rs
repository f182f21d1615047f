//! Many files at once.

use crate::world::{ALICE, BOB, World};

fn tree(world: &World) {
    world.write(".sops.yaml", format!("creation_rules:\n  - path_regex: ^secrets/\n    age: {}\n", ALICE.recipient));
    for index in 0..20 {
        world.write(&format!("secrets/{index:02}/a.json"), format!("{{\"a\": {index}}}\n"));
    }
    world.write("secrets/readme.txt", "not secret, but a rule meets it\n");
    world.write("docs/a.json", "{\"a\": \"plain\"}\n");
}

#[test]
fn a_folder_is_encrypted_and_decrypted_in_place() {
    let world = World::new();
    tree(&world);
    let run = world.bulla(&["encrypt", "-i", "-r", "."]).ok();
    assert_eq!(run.text(), "");
    assert!(run.stderr.contains("21 encrypted"), "{}", run.stderr);
    assert_eq!(world.read("docs/a.json"), "{\"a\": \"plain\"}\n");
    assert_eq!(world.real(&["decrypt", "--extract", "[\"a\"]", "secrets/07/a.json"]).ok().text(), "7");
    let run = world.bulla(&["encrypt", "-i", "-r", "."]).ok();
    assert!(!run.stderr.contains("encrypted,"), "{}", run.stderr);
    world.bulla(&["decrypt", "-i", "-r", "."]).ok();
    assert_eq!(world.read("secrets/19/a.json"), "{\"a\": 19}\n");
    assert_eq!(world.read("secrets/readme.txt"), "not secret, but a rule meets it\n");
}

#[test]
fn results_may_go_to_another_folder() {
    let world = World::new();
    tree(&world);
    world.bulla(&["encrypt", "-r", "--output-dir", "out", "secrets"]).ok();
    assert_eq!(world.read("secrets/03/a.json"), "{\"a\": 3}\n");
    assert_eq!(world.real(&["decrypt", "--extract", "[\"a\"]", "out/03/a.json"]).ok().text(), "3");
    world.bulla(&["decrypt", "--output-dir", "plain", "out/*/a.json"]).ok();
    assert_eq!(world.read("plain/03/a.json"), "{\"a\": 3}\n");
}

#[test]
fn two_results_never_end_up_in_one_file() {
    let world = World::new();
    tree(&world);
    let run = world.bulla(&["encrypt", "--output-dir", "out", "secrets/03/a.json", "secrets/04/a.json"]).fails(8);
    assert!(run.stderr.contains("out/a.json"), "{}", run.stderr);
    assert!(!world.path("out").exists());
    world.bulla(&["encrypt", "--output-dir", "out", "secrets/03/a.json", "secrets/03/a.json"]).ok();
}

#[test]
fn many_results_need_a_place() {
    let world = World::new();
    tree(&world);
    world.bulla(&["encrypt", "-r", "secrets"]).fails(8);
    world.bulla(&["encrypt", "secrets"]).fails(2);
    world.bulla(&["encrypt", "-i", "nothing/*.json"]).fails(100);
}

#[test]
fn one_bad_file_does_not_stop_the_others_and_is_named() {
    let world = World::new();
    tree(&world);
    world.write("secrets/05/a.json", "{\"a\": ");
    let run = world.bulla(&["encrypt", "-i", "-r", "--report", "json", "secrets"]);
    assert_eq!(run.code, 1);
    let entries = run.text().matches("\"file\"").count();
    assert_eq!(entries, 21);
    assert_eq!(run.text().matches("\"result\": \"encrypted\"").count(), 20);
    assert!(run.text().contains("\"status\": 2"), "{}", run.text());
    assert!(run.stderr.contains("1 of 21 files failed"), "{}", run.stderr);
    assert_eq!(world.read("secrets/05/a.json"), "{\"a\": ");
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = World::new();
    tree(&world);
    let run = world.bulla(&["encrypt", "-i", "-r", "--dry-run", "--report", "text", "."]).ok();
    assert!(run.text().contains("would be encrypted  ./secrets/00/a.json"), "{}", run.text());
    assert!(run.text().contains("(no rule meets it)"), "{}", run.text());
    assert_eq!(world.read("secrets/00/a.json"), "{\"a\": 0}\n");
    world.bulla(&["encrypt", "-r", "--dry-run", "--output-dir", "out", "secrets"]).ok();
    assert!(!world.path("out").exists());
}

#[test]
fn keys_of_a_folder_are_updated_and_rotated() {
    let world = World::new();
    tree(&world);
    world.bulla(&["encrypt", "-i", "-r", "secrets"]).ok();
    let both = format!("creation_rules:\n  - path_regex: ^secrets/\n    age: {},{}\n", ALICE.recipient, BOB.recipient);
    world.write(".sops.yaml", both);
    let run = world.bulla(&["updatekeys", "-y", "-r", "."]).ok();
    assert!(run.stderr.contains("21 updated"), "{}", run.stderr);
    assert!(world.read("secrets/11/a.json").contains(BOB.recipient));
    let before = world.read("secrets/11/a.json");
    let run = world.bulla(&["rotate", "-i", "-r", "."]).ok();
    assert!(run.stderr.contains("21 rotated"), "{}", run.stderr);
    assert_ne!(world.read("secrets/11/a.json"), before);
}
