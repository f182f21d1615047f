//! The hybrid algorithm: by name only, bound to item and template.

use crate::seal::{SECRET, Who, bulla, kubeseal, shape, world};
use crate::world::World;

const OPEN: &str = "seal --recovery-unseal --recovery-private-key hybrid.pem -o yaml";
const SEAL: &str = "seal --cert hybrid.pub --algorithm x25519-mlkem768";

/// A key whose seed is 0, 1, 2, … as openssl would write it, and its public key.
fn hybrid() -> World {
    let world = world();
    let private = "-----BEGIN PRIVATE KEY-----\nMDQCAQAwDQYLKwYBBAGD5i2ByHoEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ\nGhscHR4f\n-----END PRIVATE KEY-----\n";
    let key = bulla_format::sealed::PrivateKey::from_pem(private.as_bytes()).unwrap().remove(0);
    world.write("hybrid.pem", private);
    world.write("hybrid.pub", key.public_key().to_pem());
    world
}

#[test]
fn hybrid_values_open_again_and_the_peer_refuses_them() {
    let world = hybrid();
    let sealed = bulla(&world, SEAL, SECRET).ok();
    assert!(sealed.text().contains("password: /7EB"), "{}", sealed.text());
    let opened = bulla(&world, OPEN, sealed.text()).ok();
    assert_eq!(shape(opened.text())["data"]["password"], "aHVudGVyMg==");
    let theirs = kubeseal(&world, Who::Theirs, "--recovery-unseal --recovery-private-key key.pem", sealed.text());
    assert_eq!(theirs.code, 1);
}

#[test]
fn the_algorithm_is_asked_for_by_name_and_never_exchanged() {
    let world = hybrid();
    let run = bulla(&world, "seal --cert hybrid.pub", SECRET).fails(111);
    assert!(run.stderr.contains("--algorithm x25519-mlkem768"), "{}", run.stderr);
    let run = bulla(&world, "seal --cert cert.pem --algorithm x25519-mlkem768", SECRET).fails(111);
    assert!(run.stderr.contains("needs a hybrid public key"), "{}", run.stderr);
    bulla(&world, &format!("{SEAL} --raw --scope cluster-wide"), "x").fails(8);
}

#[test]
fn values_cannot_change_places_and_the_template_cannot_change() {
    let world = hybrid();
    let sealed = bulla(&world, SEAL, SECRET).ok();
    let swapped = sealed
        .text()
        .replacen("    password:", "    tmp:", 1)
        .replacen("    user:", "    password:", 1)
        .replacen("    tmp:", "    user:", 1);
    let run = bulla(&world, OPEN, &swapped).fails(25);
    assert!(run.stderr.contains(r#"as item "password""#) && run.stderr.contains(r#"as item "user""#), "{}", run.stderr);
    for (from, to) in
        [("type: Opaque", "type: other"), ("app: shop", "app: x"), ("immutable: true", "immutable: false")]
    {
        bulla(&world, OPEN, &sealed.text().replacen(from, to, 1)).fails(25);
    }
    // What means the same stays the same.
    bulla(&world, OPEN, &sealed.text().replacen("type: Opaque", "type: \"Opaque\"\n    data: {}", 1)).ok();
}

#[test]
fn a_merge_that_would_break_what_stays_is_refused() {
    let world = hybrid();
    let sealed = bulla(&world, SEAL, SECRET).ok();
    world.write("sealed.yaml", sealed.text());
    let new = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\nstringData:\n  added: v\n";
    let merge = format!("{SEAL} --merge-into sealed.yaml");
    bulla(&world, &merge, new).ok();
    let opened = bulla(&world, OPEN, &world.read("sealed.yaml")).ok();
    assert_eq!(shape(opened.text())["data"]["added"], "dg==");
    let before = world.read("sealed.yaml");
    let run = bulla(&world, &merge, &new.replace("name: x", "name: x\n  labels: {a: b}")).fails(8);
    assert!(run.stderr.contains("bound to the template"), "{}", run.stderr);
    assert_eq!(world.read("sealed.yaml"), before);
}
