//! What the wrapped form promises, and what is refused.

#![allow(clippy::disallowed_methods, reason = "tests make their key files by the shortest way")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

fn service(path: &Path) -> Local {
    Local { id: KeyId::Local { path: path.to_owned() } }
}

/// A key file of these bytes.
fn key_file(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("key");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn what_is_wrapped_is_unwrapped_also_after_the_file_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    create(&path).unwrap();
    for len in [32, 33] {
        let secret = SecretBytes::random(len).unwrap();
        let wrapped = service(&path).wrap(&secret).await.unwrap();
        let again = service(&path).wrap(&secret).await.unwrap();
        assert_ne!(wrapped, again, "each has its own nonce");
        assert_eq!(STANDARD.decode(wrapped.as_str()).unwrap().len(), len + gcm::OVERHEAD);
        assert_eq!(service(&path).unwrap(&wrapped).await.unwrap(), secret);
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(service(&moved).unwrap(&wrapped).await.unwrap(), secret);
        fs::rename(&moved, &path).unwrap();
    }
}

/// Made with Python's `cryptography` 50: `AESGCM(bytes(range(32))).encrypt(b"nonce" * 2 + b"12", bytes(range(100, 132)), b"bulla local key 1")`.
#[tokio::test]
async fn the_form_is_what_the_page_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), &(0..32).collect::<Vec<u8>>());
    let wrapped = WrappedKey::new("bm9uY2Vub25jZTEyhY3FR1VPuQeYz2JLvyVwPQXaIECQiIcem0qUg8npObnzHphR6cFu0IvDZAAMXHep");
    assert!(service(&path).unwrap(&wrapped).await.unwrap().expose().iter().copied().eq(100..132));
}

#[tokio::test]
async fn a_changed_wrapped_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    create(&path).unwrap();
    let service = service(&path);
    let wrapped = service.wrap(&SecretBytes::zeroed(32)).await.unwrap();
    let bytes = STANDARD.decode(wrapped.as_str()).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let error = service.unwrap(&WrappedKey::new(STANDARD.encode(&changed))).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "byte {at}");
        let error = service.unwrap(&WrappedKey::new(STANDARD.encode(&bytes[..at]))).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "{at} bytes");
    }
    let error = service.unwrap(&WrappedKey::new("no base64")).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::BadCiphertext);
}

#[tokio::test]
async fn another_key_does_not_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    create(&one).unwrap();
    create(&other).unwrap();
    let wrapped = service(&one).wrap(&SecretBytes::zeroed(32)).await.unwrap();
    let error = service(&other).unwrap(&wrapped).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::BadCiphertext);
    assert!(error.to_string().contains("other"), "{error}");
}

#[tokio::test]
async fn a_bad_key_file_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = key_file(folder.path(), &[7; 32]);
    let wrapped = service(&path).wrap(&SecretBytes::zeroed(32)).await.unwrap();
    let fails = async |path: &Path| service(path).unwrap(&wrapped).await.unwrap_err();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = fails(&path).await;
    assert_eq!(error.kind(), KeyErrorKind::BadKeyFile);
    assert!(error.to_string().contains("chmod 600"), "{error}");

    for bytes in [&[7; 31][..], &[7; 33], &[]] {
        let error = fails(&key_file(folder.path(), bytes)).await;
        assert_eq!(error.kind(), KeyErrorKind::BadKeyFile, "{error}");
    }
    assert_eq!(fails(&folder.path().join("none")).await.kind(), KeyErrorKind::NotFound);
    // Metadata that names something that never ends, or never answers.
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [Path::new("/dev/zero"), folder.path(), &fifo] {
        assert_eq!(fails(path).await.kind(), KeyErrorKind::BadKeyFile);
    }
}

#[test]
fn a_new_key_file_is_private_random_and_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    create(&one).unwrap();
    create(&other).unwrap();
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o7777, 0o600);
    let bytes = fs::read(&one).unwrap();
    assert_eq!(bytes.len(), 32);
    assert_ne!(bytes, fs::read(&other).unwrap());
    let error = create(&one).unwrap_err().to_string();
    assert!(error.starts_with("cannot create "), "{error}");
    assert_eq!(fs::read(&one).unwrap(), bytes);
    assert!(create(&folder.path().join("no/folder")).is_err());
}
