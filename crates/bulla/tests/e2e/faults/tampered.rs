//! Files that were changed by someone without the key.

use super::{encrypted, refused};
use crate::world::{World, ok};

/// sops' exit code for a tree that does not decrypt.
const TREE: i32 = 25;
/// sops' exit code for a MAC that does not match.
const MAC: i32 = 51;

/// Applies `change` to the encrypted file and decrypts it.
fn decrypt_changed(world: &World, change: impl Fn(&str) -> String) -> std::process::Output {
    let text = String::from_utf8(world.read("file.yaml")).unwrap();
    let changed = change(&text);
    assert_ne!(changed, text, "the test changes something");
    world.write("changed.yaml", changed);
    world.bulla(&["decrypt", "changed.yaml"])
}

/// The line of a key, with its end.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    text.split_inclusive('\n').find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap()
}

#[test]
fn a_value_cut_short_is_refused() {
    let world = encrypted();
    let output = decrypt_changed(&world, |text| {
        let value = line(text, "password");
        text.replace(value, &format!("{}\n", &value[..value.len() / 2]))
    });
    refused(output, TREE, "password");
}

#[test]
fn a_damaged_value_is_refused_by_its_name() {
    let world = encrypted();
    let output = decrypt_changed(&world, |text| {
        let value = line(text, "password");
        let data = value.split("data:").nth(1).unwrap().split(',').next().unwrap();
        let other = if data.starts_with('A') { "B" } else { "A" };
        text.replace(data, &format!("{other}{}", &data[1..]))
    });
    refused(output, TREE, "password");
}

#[test]
fn values_that_changed_places_are_refused() {
    let world = encrypted();
    let output = decrypt_changed(&world, |text| {
        let (user, password) = (line(text, "user").to_owned(), line(text, "password").to_owned());
        let swapped_user = format!("user:{}", password.split_once(':').unwrap().1);
        let swapped_password = format!("password:{}", user.split_once(':').unwrap().1);
        text.replace(&user, "@user@")
            .replace(&password, "@password@")
            .replace("@user@", &swapped_user)
            .replace("@password@", &swapped_password)
    });
    refused(output, TREE, "user");
}

#[test]
fn items_of_a_list_that_changed_places_fail_the_mac() {
    // Associated data does not tell items of one list apart (sops' format): the MAC does.
    let world = encrypted();
    let output = decrypt_changed(&world, |text| {
        let items: Vec<&str> =
            text.split_inclusive('\n').filter(|line| line.trim_start().starts_with("- ENC")).collect();
        let [one, two] = items[..] else { panic!("two items") };
        text.replace(one, "@one@").replace(two, one).replace("@one@", two)
    });
    refused(output, MAC, "MAC");
}

#[test]
fn a_removed_value_fails_the_mac() {
    let world = encrypted();
    refused(decrypt_changed(&world, |text| text.replace(line(text, "port"), "")), MAC, "MAC");
}

#[test]
fn a_mac_of_another_file_is_refused() {
    let (world, other) = (encrypted(), encrypted());
    let foreign = String::from_utf8(other.read("file.yaml")).unwrap();
    let foreign = line(&foreign, "mac").to_owned();
    refused(decrypt_changed(&world, |text| text.replacen(line(text, "mac"), &foreign, 1)), MAC, "MAC");
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let world = encrypted();
    let text = world.read("file.yaml");
    // The last line is the version of the format, which nothing depends on: cut anywhere before it the file is not whole.
    let last = text.windows(12).rposition(|part| part == b"    version:").unwrap();
    for length in (0..last).step_by(37) {
        world.write("cut.yaml", &text[..length]);
        let output = world.bulla(&["decrypt", "cut.yaml"]);
        assert!(!output.status.success(), "{length} of {} bytes were accepted", text.len());
        assert!(output.stdout.is_empty());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}

#[test]
fn ignoring_the_mac_is_asked_for_by_name() {
    let world = encrypted();
    let text = String::from_utf8(world.read("file.yaml")).unwrap();
    world.write("changed.yaml", text.replace(line(&text, "port"), ""));
    let plain = ok(world.bulla(&["decrypt", "--ignore-mac", "changed.yaml"]));
    assert!(String::from_utf8(plain).unwrap().contains("s3cr3t-value"));
}

#[test]
fn what_slides_past_the_mac_of_sops_is_caught() {
    // Plain values `ab`, `c` become `a`, `bc`: the same bytes in a row, which is all that sops' MAC sees.
    let world = World::new();
    world.write("plain.yaml", "x_unencrypted: ab\ny_unencrypted: c\nsecret: s3cr3t-value\n");
    world.write("file.yaml", ok(world.bulla(&["encrypt", "--age", &world.recipient, "plain.yaml"])));
    let text = String::from_utf8(world.read("file.yaml")).unwrap();
    for changed in [
        text.replace("x_unencrypted: ab", "x_unencrypted: a").replace("y_unencrypted: c", "y_unencrypted: bc"),
        text.replace("x_unencrypted", "z_unencrypted"),
        text.replace("y_unencrypted: c", "y_unencrypted: c\nadded: null"),
    ] {
        world.write("changed.yaml", &changed);
        ok(world.sops("3.13.3", &["decrypt", "changed.yaml"]));
        refused(world.bulla(&["decrypt", "changed.yaml"]), MAC, "MAC");
    }
}

#[test]
fn a_recipient_added_by_hand_is_caught() {
    let (world, thief) = (encrypted(), World::new());
    let text = String::from_utf8(world.read("file.yaml")).unwrap();
    let entry_start = text.find("        - recipient:").or_else(|| text.find("        - enc:")).unwrap();
    let entry_end = text[entry_start..].find("-----END AGE ENCRYPTED FILE-----\n").unwrap() + entry_start;
    let entry_end = text[entry_end..].find("\n    ").map_or(text.len(), |end| entry_end + end + 1);
    // Up to the next field of `sops`, so that the entry is whole whichever way its fields are ordered.
    let mut end = entry_end;
    for line in text[entry_end..].split_inclusive('\n') {
        if line.starts_with("    ") && !line.starts_with("        ") {
            break;
        }
        end += line.len();
    }
    let entry = text[entry_start..end].replace(&world.recipient, &thief.recipient);
    world.write("changed.yaml", format!("{}{entry}{}", &text[..end], &text[end..]));
    refused(world.bulla(&["rotate", "-i", "changed.yaml"]), MAC, "MAC");
}

#[test]
fn strict_demands_the_second_mac() {
    let world = encrypted();
    ok(world.bulla(&["decrypt", "--strict", "file.yaml"]));
    world.write("theirs.yaml", ok(world.sops("3.11.0", &["encrypt", "--age", &world.recipient, "plain.yaml"])));
    ok(world.bulla(&["decrypt", "theirs.yaml"]));
    refused(world.bulla(&["decrypt", "--strict", "theirs.yaml"]), MAC, "MAC");
}

#[test]
fn the_same_key_twice_is_refused() {
    let world = World::new();
    for (name, text) in [
        ("twice.yaml", "a: 1\na: 2\n"),
        ("second.yaml", "a: 1\n---\nb: 1\nb: 2\n"),
        ("twice.json", "{\"a\": 1, \"a\": 2}"),
        ("deep.yaml", "m:\n    x: 1\n    x: 2\n"),
    ] {
        world.write(name, text);
        let output = world.bulla(&["encrypt", "--age", &world.recipient, name]);
        assert!(!output.status.success(), "{name}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains("duplicate key"), "{name}: {stderr}");
        assert!(
            stderr.contains("line 2") || stderr.contains("line 3") || stderr.contains("line 4") || name == "twice.json",
            "{stderr}"
        );
    }
}
