//! Metadata that only some releases write, and keys that this version cannot use.

use crate::world::{SOPS, World, ok};

/// Adds a key of a service that cannot be reached to an encrypted file, as a newer release would have written it.
fn with_foreign_keys(encrypted: &str) -> String {
    let foreign = "    gcp_kms:\n        - resource_id: projects/p/locations/l/keyRings/r/cryptoKeys/k\n          created_at: \"2026-01-02T03:04:05Z\"\n          enc: CiQAcloud\n    azure_kv:\n        - vault_url: https://v.vault.azure.net\n          name: n\n          version: \"1\"\n          created_at: \"2026-01-02T03:04:05Z\"\n          enc: YXp1cmU\n    hckms:\n        - key_id: tr-west-1:abc\n          created_at: \"2026-01-02T03:04:05Z\"\n          enc: aHVhd2Vp\n";
    let (head, tail) = encrypted.split_once("sops:\n").unwrap();
    format!("{head}sops:\n{foreign}{tail}")
}

#[test]
fn keys_of_clouds_are_kept_and_the_file_opens_by_its_other_key() {
    let world = World::new();
    world.write("plain.yaml", "a: secret\n");
    for version in SOPS {
        let encrypted = ok(world.sops(version, &["encrypt", "--age", &world.recipient, "plain.yaml"]));
        let encrypted = with_foreign_keys(std::str::from_utf8(&encrypted).unwrap());
        world.write("file.yaml", &encrypted);
        assert_eq!(ok(world.as_sops(&["decrypt", "file.yaml"])), b"a: secret\n");
        ok(world.as_sops(&["set", "file.yaml", "[\"a\"]", "\"changed\""]));
        let changed = String::from_utf8(world.read("file.yaml")).unwrap();
        for kept in ["CiQAcloud", "YXp1cmU", "aHVhd2Vp", "tr-west-1:abc"] {
            assert!(changed.contains(kept), "{kept} is lost in\n{changed}");
        }
        assert_eq!(ok(world.sops("3.13.3", &["decrypt", "file.yaml"])), b"a: changed\n");
        // What needs the foreign key names it, and leaves the file alone.
        let output = world.as_sops(&["rotate", "-i", "file.yaml"]);
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("cryptoKeys/k"), "{message}");
        assert_eq!(String::from_utf8(world.read("file.yaml")).unwrap(), changed);
    }
}

#[test]
fn set_changes_one_value_the_macs_and_the_date_and_nothing_else() {
    let world = World::new();
    let plain = "# head\na: one # beside\nlist:\n  - x\n  - \"y\"\nb: 'two'\nnumber: 0x1F\n";
    world.write("file.yaml", plain);
    let before = String::from_utf8(ok(world.as_sops(&["encrypt", "--age", &world.recipient, "file.yaml"]))).unwrap();
    world.write("file.yaml", &before);
    // The date counts seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    ok(world.as_sops(&["set", "file.yaml", "[\"b\"]", "\"three\""]));
    let after = String::from_utf8(world.read("file.yaml")).unwrap();
    let changed: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, _)| before.split(':').next().unwrap().trim())
        .collect();
    assert_eq!(before.lines().count(), after.lines().count());
    let mut names = changed.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names, ["b", "lastmodified", "mac"], "{changed:?}");
    assert_eq!(ok(world.as_sops(&["decrypt", "file.yaml"])), plain.replace("two", "three").as_bytes());
    for version in SOPS {
        ok(world.sops(version, &["decrypt", "file.yaml"]));
    }
}
