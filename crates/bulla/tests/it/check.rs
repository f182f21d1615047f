//! `check`: the configuration, and the files beside it.

use crate::world::{ALICE, BOB, World};

fn config(recipient: &str) -> String {
    format!(
        "creation_rules:\n  - path_regex: ^secrets/\n    age: {recipient}\n  - path_regex: \\.env$\n    age: {recipient}\n"
    )
}

#[test]
fn the_rule_and_the_keys_of_a_path_are_told_whether_it_is_there_or_not() {
    let world = World::new();
    world.write(".sops.yaml", config(ALICE.recipient));
    let run = world.bulla(&["check", "secrets/new.yaml", "prod.env", "other.yaml"]).ok();
    let said = run.text();
    assert!(said.contains("secrets/new.yaml: meets rule 1 of .sops.yaml (line 2); there is no such file"), "{said}");
    assert!(said.contains("prod.env: meets rule 2 of .sops.yaml (line 4)"), "{said}");
    assert!(said.contains("other.yaml: meets no rule"), "{said}");
    assert_eq!(said.matches(ALICE.recipient).count(), 2, "{said}");
}

#[test]
fn plain_files_that_a_rule_meets_and_drift_are_errors() {
    let world = World::new();
    world.write(".sops.yaml", config(ALICE.recipient));
    world.encrypted("secrets/good.yaml", "a: 1\n");
    world.bulla(&["check"]).ok();
    world.write("secrets/plain.yaml", "a: 1\n");
    world.write("secrets/bob.yaml", "a: 1\n");
    world.bulla(&["encrypt", "-i", "--age", BOB.recipient, "secrets/bob.yaml"]).ok();
    let run = world.bulla(&["check"]);
    assert_eq!(run.code, 1);
    let said = run.text();
    assert!(said.contains("secrets/plain.yaml: error: meets rule 1"), "{said}");
    assert!(
        said.contains(&format!("cannot be opened by {}; can be opened by {}", ALICE.recipient, BOB.recipient)),
        "{said}"
    );
    assert!(!said.contains("good.yaml"), "{said}");
    let run = world.bulla(&["check", "--output", "json", "secrets"]);
    assert_eq!(run.code, 1);
    let report: serde_json::Value = serde_json::from_str(run.text()).unwrap();
    let states: Vec<_> =
        report["files"].as_array().unwrap().iter().map(|file| file["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["drift", "encrypted", "should-be-encrypted"]);
    assert_eq!(report["ok"], false);
}

#[test]
fn what_is_wrong_in_a_configuration_is_told_with_its_line() {
    let world = World::new();
    let never_reached = format!("creation_rules:\n  - age: {0}\n  - path_regex: x\n    age: {0}\n", ALICE.recipient);
    for (text, code, part) in [
        ("creation_rules:\n  - path_regex: '('\n    age: x\n", 1, "error"),
        ("creation_rules: 5\n", 1, "error"),
        (&config("age1nonsense"), 1, "line 2: rule 1: age age1nonsense"),
        (&never_reached, 0, "line 3: rule 2 is never reached"),
        ("creation_rules:\n  - path_regex: x\n", 0, "line 2: rule 1 names no key"),
        ("creation_rules:\n  - path_regx: x\n", 0, "path_regx is not known"),
    ] {
        world.write(".sops.yaml", text);
        let run = world.bulla(&["check", ".sops.yaml"]);
        assert_eq!(run.code, code, "{text}: {}", run.text());
        assert!(run.text().contains(part), "{text}: {}", run.text());
    }
}

#[test]
fn the_configuration_s_wrong_name_is_noticed() {
    let world = World::new();
    world.write("sub/.sops.yml", config(ALICE.recipient));
    assert!(world.bulla(&["check", "sub/a.env"]).ok().text().contains("must be called .sops.yaml"));
}
