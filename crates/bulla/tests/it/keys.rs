//! Who can open a file: rotate, updatekeys, groups.

use crate::world::{ALICE, BOB, Program, World, finish};

fn config(world: &World, recipients: &str) {
    world.write(".sops.yaml", format!("creation_rules:\n  - age: {recipients}\n"));
}

/// The ciphertext of a value in a JSON file.
fn value(world: &World, file: &str) -> String {
    world.read(file).lines().find(|line| line.contains("\"a\"")).unwrap().to_owned()
}

/// Whether Bob can decrypt a file, asked of the real sops.
fn bob_reads(world: &World, file: &str) -> bool {
    let mut command = world.command(Program::Sops("3.13.3"));
    finish(command.args(["decrypt", file]).env("SOPS_AGE_KEY_FILE", world.path("bob.key")), b"").code == 0
}

fn world() -> World {
    let world = World::new();
    world.encrypted("a.json", "{\n\t\"a\": \"x\"\n}\n");
    world
}

#[test]
fn adding_a_recipient_keeps_the_ciphertext_and_removing_one_does_not() {
    for program in [Program::Bulla, Program::Link] {
        let world = world();
        let before = value(&world, "a.json");
        config(&world, &format!("{},{}", ALICE.recipient, BOB.recipient));
        world.run(program, &["updatekeys", "-y", "a.json"]).ok();
        assert!(bob_reads(&world, "a.json"));
        assert_eq!(value(&world, "a.json"), before);
        config(&world, ALICE.recipient);
        let run = world.run(program, &["updatekeys", "-y", "a.json"]).ok();
        assert!(run.stderr.contains("new data key"), "{}", run.stderr);
        assert!(!bob_reads(&world, "a.json"));
        assert_ne!(value(&world, "a.json"), before);
        assert_eq!(world.real(&["decrypt", "a.json"]).ok().text(), "{\n\t\"a\": \"x\"\n}\n");
    }
}

#[test]
fn updatekeys_asks_first_and_shows_the_change() {
    let world = world();
    let before = world.read("a.json");
    config(&world, &format!("{},{}", ALICE.recipient, BOB.recipient));
    let ask = |answer: &str| finish(world.command(Program::Bulla).args(["updatekeys", "a.json"]), answer.as_bytes());
    let run = ask("n\n").ok();
    assert!(run.stderr.contains(&format!("+++ {}", BOB.recipient)), "{}", run.stderr);
    assert_eq!(world.read("a.json"), before);
    ask("").fails(1);
    assert_eq!(world.read("a.json"), before);
    let run = world.bulla(&["updatekeys", "--dry-run", "a.json"]).ok();
    assert!(run.text().contains("would be updated"), "{}", run.text());
    assert_eq!(world.read("a.json"), before);
    ask("maybe\ny\n").ok();
    assert!(bob_reads(&world, "a.json"));
}

#[test]
fn updatekeys_prints_what_sops_prints() {
    let worlds = [(world(), Program::Sops("3.13.3")), (world(), Program::Link)];
    let [theirs, ours] = worlds.map(|(world, program)| {
        config(&world, BOB.recipient);
        let run = world.run(program, &["updatekeys", "-y", "a.json"]).ok();
        assert!(bob_reads(&world, "a.json"));
        let again = world.run(program, &["updatekeys", "-y", "a.json"]);
        (run.stdout, again.code, again.stdout)
    });
    assert_eq!(ours, theirs);
}

#[test]
fn a_changed_threshold_is_applied() {
    let world = World::new();
    let groups = |threshold: usize| {
        let group = |person: &str| format!("      - age: [{person}]\n");
        format!(
            "creation_rules:\n  - shamir_threshold: {threshold}\n    key_groups:\n{}{}{}",
            group(ALICE.recipient),
            group(BOB.recipient),
            group(ALICE.recipient)
        )
    };
    world.write(".sops.yaml", groups(3));
    world.write("a.json", "{\"a\": 1}\n");
    world.bulla(&["encrypt", "-i", "a.json"]).ok();
    world.bulla(&["decrypt", "a.json"]).fails(128);
    let both = format!("{}\n{}", world.read("alice.key"), world.read("bob.key"));
    world.write(".sops.yaml", groups(2));
    let mut command = world.command(Program::Bulla);
    finish(command.args(["updatekeys", "-y", "a.json"]).env("SOPS_AGE_KEY", &both), b"").ok();
    assert_eq!(world.bulla(&["decrypt", "a.json"]).ok().text(), "{\"a\": 1}\n");
    assert_eq!(world.real(&["decrypt", "--extract", "[\"a\"]", "a.json"]).ok().text(), "1");
}

#[test]
fn rotating_adds_and_removes_recipients() {
    let world = world();
    let before = value(&world, "a.json");
    world.bulla(&["rotate", "-i", "--add-age", BOB.recipient, "a.json"]).ok();
    assert!(bob_reads(&world, "a.json"));
    assert_ne!(value(&world, "a.json"), before);
    world.bulla(&["rotate", "-i", "--rm-age", BOB.recipient, "a.json"]).ok();
    assert!(!bob_reads(&world, "a.json"));
    let run = world.bulla(&["rotate", "-i", "--rm-age", BOB.recipient, "a.json"]).ok();
    assert!(run.stderr.contains("is not one of its keys"), "{}", run.stderr);
    // sops panics here.
    let before = world.read("a.json");
    world.bulla(&["rotate", "-i", "--rm-age", ALICE.recipient, "a.json"]).fails(111);
    assert_eq!(world.read("a.json"), before);
}

#[test]
fn groups_are_added_and_deleted() {
    for program in [Program::Bulla, Program::Link] {
        let world = world();
        let add =
            ["groups", "add", "-i", "-f", "a.json", "--age", BOB.recipient, "--shamir-secret-sharing-threshold", "2"];
        world.run(program, &add).ok();
        world.real(&["decrypt", "a.json"]).fails(128);
        let both = format!("{}\n{}", world.read("alice.key"), world.read("bob.key"));
        let mut command = world.command(Program::Sops("3.13.3"));
        finish(command.args(["decrypt", "a.json"]).env("SOPS_AGE_KEY", &both), b"").ok();
        let delete = |extra: &[&str]| {
            let mut command = world.command(program);
            command.args(["groups", "delete", "-i", "-f", "a.json"]).args(extra).env("SOPS_AGE_KEY", &both);
            finish(&mut command, b"")
        };
        delete(&["7"]).fails(1);
        delete(&["1"]).fails(1);
        delete(&["--shamir-secret-sharing-threshold", "1", "1"]).ok();
        assert_eq!(world.real(&["decrypt", "a.json"]).ok().text(), "{\n\t\"a\": \"x\"\n}\n");
        assert!(!bob_reads(&world, "a.json"));
    }
}

#[test]
fn a_key_that_cannot_be_used_here_is_kept_while_another_opens_the_file() {
    let world = World::new();
    world.encrypted("a.json", "{\"a\": 1}\n");
    let gcp = "\"gcp_kms\": [{\"resource_id\": \"projects/p/locations/l/keyRings/r/cryptoKeys/k\", \"created_at\": \"2020-01-01T00:00:00Z\", \"enc\": \"eA==\"}],";
    let text = world.read("a.json").replacen("\"sops\": {", &format!("\"sops\": {{ {gcp}"), 1);
    world.write("a.json", &text);
    let ignore = ["set", "--ignore-mac", "a.json", "[\"a\"]", "2"];
    world.bulla(&ignore).ok();
    assert!(world.read("a.json").contains("cryptoKeys/k"));
    let run = world.bulla(&["rotate", "--ignore-mac", "-i", "a.json"]).fails(1);
    assert!(run.stderr.contains("gcp_kms"), "{}", run.stderr);
}
