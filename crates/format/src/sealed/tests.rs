#![allow(clippy::unwrap_used)]

mod faults;
mod keys;
mod vectors;

use std::sync::LazyLock;

use super::*;

const KEY: &[u8] = include_bytes!("vectors/rsa-2048.key");
const CERTIFICATE: &[u8] = include_bytes!("vectors/rsa-2048.crt");

/// The RSA key of the vectors.
fn rsa() -> PrivateKey {
    static READ: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(KEY).unwrap().remove(0));
    READ.clone()
}

/// A hybrid key: its seed is 0, 1, 2, …
fn hybrid() -> PrivateKey {
    let mut pkcs8 =
        b"\x30\x34\x02\x01\x00\x30\x0d\x06\x0b\x2b\x06\x01\x04\x01\x83\xe6\x2d\x81\xc8\x7a\x04\x20".to_vec();
    pkcs8.extend(0..32);
    PrivateKey::from_pkcs8(&pkcs8).unwrap()
}

/// The keys of one ring, oldest first.
fn ring(keys: &[&PrivateKey]) -> KeyRing {
    let since = |n: usize| jiff::Timestamp::from_second(i64::try_from(n).unwrap()).unwrap();
    KeyRing::new(keys.iter().enumerate().map(|(n, key)| RingKey { key: (*key).clone(), since: since(n) }))
}

fn shop(scope: Scope) -> Binding<'static> {
    Binding::new(scope, "shop", "db", "password")
}
