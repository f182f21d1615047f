//! Shamir key groups.

use crate::exchange::exchange;
use crate::world::{SOPS, World, ok};

const PLAIN: &[u8] = b"user: web\npassword: s3cr3t\n";

/// Three groups of one key each, and the worlds that hold one key each.
fn groups(threshold: &str) -> (World, [World; 3]) {
    let worlds = [World::new(), World::new(), World::new()];
    let mut all = World::new();
    let keys: Vec<Vec<u8>> = worlds.iter().map(|world| world.read("age.txt")).collect();
    all.write("all.txt", [keys.concat(), all.read("age.txt")].concat());
    let path = all.path("all.txt");
    all.set("SOPS_AGE_KEY_FILE", path.to_str().unwrap());
    let groups: String = worlds.iter().map(|world| format!("        - age: [{}]\n", world.recipient)).collect();
    all.write(
        ".sops.yaml",
        format!("creation_rules:\n    - shamir_threshold: {threshold}\n      key_groups:\n{groups}"),
    );
    (all, worlds)
}

#[test]
fn groups_are_exchanged() {
    let (all, _worlds) = groups("2");
    exchange(&all, "groups.yaml", PLAIN, &[]);
}

#[test]
fn fewer_groups_than_the_threshold_open_nothing() {
    let (all, worlds) = groups("2");
    all.write("groups.yaml", PLAIN);
    let encrypted = ok(all.as_sops(&["encrypt", "groups.yaml"]));
    for world in &worlds {
        world.write("groups.yaml", &encrypted);
        let output = world.as_sops(&["decrypt", "groups.yaml"]);
        assert_eq!(output.status.code(), Some(128));
        assert!(output.stdout.is_empty());
    }
    let mut two = World::new();
    two.write("two.txt", [worlds[0].read("age.txt"), worlds[1].read("age.txt")].concat());
    let keys = two.path("two.txt");
    two.set("SOPS_AGE_KEY_FILE", keys.to_str().unwrap());
    two.write("groups.yaml", &encrypted);
    assert_eq!(ok(two.as_sops(&["decrypt", "groups.yaml"])), PLAIN);
    for version in SOPS {
        assert_eq!(ok(two.sops(version, &["decrypt", "groups.yaml"])), PLAIN);
    }
}
