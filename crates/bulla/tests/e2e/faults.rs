//! Whatever goes wrong, there is a clear error, nothing is printed that should not be, and nothing is lost.

mod hostile;
mod keys;
mod tampered;
mod writes;

use std::process::Output;

use crate::world::{World, ok};

const PLAIN: &str =
    "# settings\nuser: web\npassword: s3cr3t-value\nport: 5432\nlist:\n    - one-secret\n    - two-secret\n";

/// A world with `file.yaml`, [`PLAIN`] encrypted.
fn encrypted() -> World {
    let world = World::new();
    world.write("plain.yaml", PLAIN);
    let encrypted = ok(world.bulla(&["encrypt", "--age", &world.recipient, "plain.yaml"]));
    world.write("file.yaml", encrypted);
    world
}

/// It failed with `code`, said `message` on stderr, and printed nothing of the file anywhere.
#[track_caller]
fn refused(output: Output, code: i32, message: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(message), "{message:?} is not in:\n{stderr}");
    assert!(output.stdout.is_empty(), "printed: {}", String::from_utf8_lossy(&output.stdout));
    for secret in ["s3cr3t-value", "one-secret", "two-secret"] {
        assert!(!stderr.contains(secret), "the error has a secret in it:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}
