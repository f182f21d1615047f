//! Every selection rule.

use crate::exchange::exchange;
use crate::world::World;

const PLAIN: &str = "# encrypt this\nkind: Secret\nmetadata:\n    name: web\n    note_unencrypted: shown\n# keep this\ndata:\n    password: a\n    key_enc: b\n    nested:\n        token: c\n# sops:enc\nmarked: d\n# sops:dec\nunmarked: e\n";

#[track_caller]
fn exchange_with_rule(flags: &[&str]) {
    let world = World::new();
    let recipient = world.recipient.clone();
    exchange(&world, "rules.yaml", PLAIN.as_bytes(), &[&["--age", &recipient], flags].concat());
}

#[test]
fn the_default_suffix() {
    exchange_with_rule(&[]);
}

#[test]
fn encrypted_suffix() {
    exchange_with_rule(&["--encrypted-suffix", "_enc"]);
}

#[test]
fn unencrypted_suffix() {
    exchange_with_rule(&["--unencrypted-suffix", "name"]);
}

#[test]
fn encrypted_regex() {
    exchange_with_rule(&["--encrypted-regex", "^(data|stringData)$"]);
}

#[test]
fn unencrypted_regex() {
    exchange_with_rule(&["--unencrypted-regex", "^(kind|metadata)$"]);
}

/// 3.11 drops these flags when a subcommand is named (fixed in 3.12.2), so they are given by configuration.
#[track_caller]
fn exchange_with_configuration(rule: &str) {
    let world = World::new();
    world.write(".sops.yaml", format!("creation_rules:\n    - age: {}\n      {rule}\n", world.recipient));
    exchange(&world, "rules.yaml", PLAIN.as_bytes(), &[]);
}

#[test]
fn encrypted_comment_regex() {
    exchange_with_configuration("encrypted_comment_regex: sops:enc");
}

#[test]
fn unencrypted_comment_regex() {
    exchange_with_configuration("unencrypted_comment_regex: sops:dec");
}

#[test]
fn a_mac_over_encrypted_values_only() {
    exchange_with_configuration("encrypted_regex: ^data$\n      mac_only_encrypted: true");
}
