//! The exchange itself: one plaintext, both programs, every direction.

use std::path::Path;

use crate::world::{SOPS, World, ok};

/// Encrypts `plain` with each program, and proves that
/// - real sops reads the same in bulla's file as in its own,
/// - bulla reads in real sops' file what real sops reads,
/// - bulla gives back its own file's plaintext to the byte.
///
/// `name` decides the format; `flags` stand before the file in every `encrypt`.
#[track_caller]
pub(crate) fn exchange(world: &World, name: &str, plain: &[u8], flags: &[&str]) {
    for version in SOPS {
        exchange_with(world, version, name, plain, flags);
    }
}

/// [`exchange`] with one release of sops.
#[track_caller]
pub(crate) fn exchange_with(world: &World, version: &str, name: &str, plain: &[u8], flags: &[&str]) {
    world.write(name, plain);
    let encrypt: Vec<&str> = [&["encrypt"], flags, &[name]].concat();
    let (theirs, ours) = (format!("theirs/{name}"), format!("ours/{name}"));
    world.write(&theirs, ok(world.sops(version, &encrypt)));
    world.write(&ours, ok(world.as_sops(&encrypt)));
    let decrypt = |file: &str| ok(world.sops(version, &["decrypt", file]));

    let judged = decrypt(&theirs);
    same(version, name, "what sops reads in bulla's file", &decrypt(&ours), &judged);
    same(version, name, "what bulla gives back", &ok(world.as_sops(&["decrypt", &ours])), plain);

    let read = ok(world.as_sops(&["decrypt", &theirs]));
    same(version, name, "what bulla reads in sops' file", &canonical(world, version, name, &read), &judged);

    // A rewrite by real sops drops what only bulla knows; what is left is a file that both read.
    let rotate = ["rotate", "-i", ours.as_str()];
    ok(world.sops(version, &rotate));
    let read = ok(world.as_sops(&["decrypt", &ours]));
    same(version, name, "what bulla reads after sops' rotate", &canonical(world, version, name, &read), &judged);
    ok(world.as_sops(&["rotate", "-i", &theirs]));
    same(version, name, "what sops reads after bulla's rotate", &decrypt(&theirs), &judged);
}

/// `text` as real sops prints it.
fn canonical(world: &World, version: &str, name: &str, text: &[u8]) -> Vec<u8> {
    let plain = format!("canonical/{name}");
    world.write(&plain, text);
    let encrypted = ok(world.sops(version, &["encrypt", "--age", &world.recipient, &plain]));
    world.write(&plain, encrypted);
    ok(world.sops(version, &["decrypt", &plain]))
}

#[track_caller]
fn same(version: &str, name: &str, what: &str, found: &[u8], expected: &[u8]) {
    let show = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
    assert!(
        found == expected,
        "sops {version}, {}: {what} differs\n--- found\n{}\n--- expected\n{}",
        Path::new(name).display(),
        show(found),
        show(expected)
    );
}
