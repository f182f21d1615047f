//! Keys that are missing, wrong, or held by a service that does not answer.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::{encrypted, refused};
use crate::world::World;

/// sops' exit code for a data key that no key unwraps.
const NO_KEY: i32 = 128;

#[test]
fn the_wrong_key_is_named_with_what_was_tried() {
    let (world, stranger) = (encrypted(), World::new());
    stranger.write("file.yaml", world.read("file.yaml"));
    let output = stranger.bulla(&["decrypt", "file.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("age.txt"), "where was looked is not in:\n{stderr}");
    refused(output, NO_KEY, &world.recipient);
}

#[test]
fn no_key_at_all_says_where_keys_are_looked_for() {
    let mut world = encrypted();
    world.env.retain(|(name, _)| name != "SOPS_AGE_KEY_FILE");
    let output = world.bulla(&["decrypt", "file.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("SOPS_AGE_KEY_FILE"), "what to set is not in:\n{stderr}");
    refused(output, NO_KEY, &world.recipient);
}

#[test]
fn a_file_that_is_not_encrypted_says_so() {
    let world = World::new();
    world.write("plain.yaml", "a: s3cr3t-value\n");
    let output = world.bulla(&["decrypt", "plain.yaml"]);
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("metadata not found"), "{stderr}");
    assert!(!stderr.contains("s3cr3t-value"));
}

#[test]
fn an_encrypted_file_is_not_encrypted_again() {
    let world = encrypted();
    let before = world.read("file.yaml");
    let output = world.bulla(&["encrypt", "--age", &world.recipient, "-i", "file.yaml"]);
    assert_eq!(output.status.code(), Some(203));
    assert_eq!(world.read("file.yaml"), before);
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let world = World::new();
    refused(world.bulla(&["decrypt", "missing.yaml"]), 100, "missing.yaml");
}

#[test]
fn a_key_service_that_is_down_is_named() {
    let mut world = World::new();
    world.set("VAULT_TOKEN", "none");
    world.write("plain.yaml", "a: s3cr3t-value\n");
    let closed = bulla_test_support::unused_address();
    let uri = format!("http://{closed}/v1/transit/keys/app");
    let output = world.bulla(&["encrypt", "--hc-vault-transit", &uri, "plain.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(stderr.contains(&closed.to_string()), "{stderr}");
}

#[test]
fn a_key_service_that_never_answers_is_given_up_and_named() {
    let mut world = World::new();
    // Accepts, reads nothing, answers nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    world.set("VAULT_TOKEN", "none");
    world.set("BULLA_KEY_TIMEOUT", "2s");
    world.write("plain.yaml", "a: s3cr3t-value\n");
    let started = Instant::now();
    let output =
        world.bulla(&["encrypt", "--hc-vault-transit", &format!("http://{address}/v1/transit/keys/app"), "plain.yaml"]);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && output.stdout.is_empty());
    assert!(stderr.contains(&address.to_string()), "{stderr}");
    drop(silent);
}

#[test]
fn one_service_that_is_down_does_not_keep_the_others_from_opening_the_file() {
    let mut world = World::new();
    world.set("VAULT_TOKEN", "none");
    world.set("BULLA_KEY_TIMEOUT", "2s");
    world.write("plain.yaml", "a: s3cr3t-value\n");
    let encrypted = crate::world::ok(world.bulla(&["encrypt", "--age", &world.recipient, "plain.yaml"]));
    let text = String::from_utf8(encrypted).unwrap();
    let closed = bulla_test_support::unused_address();
    let foreign = format!(
        "sops:\n    hc_vault:\n        - vault_address: http://{closed}\n          engine_path: transit\n          key_name: app\n          created_at: \"2026-01-02T03:04:05Z\"\n          enc: vault:v1:AAAA\n"
    );
    // Without the second MAC, which would (rightly) refuse a key that was added by hand.
    world.write("file.yaml", text.replacen("sops:\n", &foreign, 1));
    assert_eq!(crate::world::ok(world.sops("3.13.3", &["decrypt", "file.yaml"])), b"a: s3cr3t-value\n");
    assert_eq!(crate::world::ok(world.bulla(&["decrypt", "--ignore-mac", "file.yaml"])), b"a: s3cr3t-value\n");
}
