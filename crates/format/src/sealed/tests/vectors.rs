//! Values that others made, and that an earlier version of ours made, open for ever.

use super::*;

#[test]
fn values_that_kubeseal_made_open_in_their_scope_alone() {
    let mut seen = 0;
    for line in include_str!("../vectors/rsa.txt").lines().filter(|line| !line.starts_with('#')) {
        let (sealed_for, value) = line.split_once(' ').unwrap();
        for scope in Scope::ALL {
            let opened = open_value(&rsa(), &shop(scope), value);
            if scope.name() == sealed_for {
                assert_eq!(opened.unwrap().expose(), b"hunter2");
                seen += 1;
            } else {
                assert_eq!(opened.unwrap_err(), OpenError::NoKey);
            }
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn hybrid_values_of_the_first_version_open() {
    let mut lines = include_str!("../vectors/hybrid.txt").lines().filter(|line| !line.starts_with('#'));
    let key = hybrid();
    assert_eq!(lines.next().unwrap(), format!("key {}", key.fingerprint()));
    for scope in Scope::ALL {
        let mut binding = shop(scope);
        binding.delivery.insert("bulla.dev/deliver", "csi");
        let value = lines.next().unwrap().strip_prefix(scope.name()).unwrap().trim();
        assert_eq!(open_value(&key, &binding, value).unwrap().expose(), b"hunter2");
        binding.delivery.clear();
        assert_eq!(open_value(&key, &binding, value).unwrap_err(), OpenError::NotBoundHere { key: *key.fingerprint() });
    }
}

#[test]
fn the_forms_of_a_value_are_those_of_the_description() {
    let value = seal_value(rsa().public_key(), &shop(Scope::Strict), b"x").unwrap();
    assert!(value.starts_with("AQ"), "2048 bits are 256 = 0x0100 bytes");
    let value = seal_value(hybrid().public_key(), &shop(Scope::Strict), b"x").unwrap();
    assert!(value.starts_with("/7EB"), "FF B1 01");
}
