//! No text opens that was not made, and what was made and changed does not.

use proptest::prelude::*;

use super::super::asymmetric::{ed25519_generate, rsa_generate};
use super::super::rsa::Salt;
use super::*;

/// A key of a type, with one version.
fn key(kind: KeyType) -> Key {
    let made = match kind {
        KeyType::Ed25519 => ed25519_generate().unwrap(),
        kind if kind.is_rsa() => rsa_generate(kind).unwrap(),
        kind => match Curve::of(kind) {
            Some(curve) => Ecdsa::generate(curve).unwrap(),
            None => Version { key: Secret::random(kind.key_len()).unwrap(), ..Version::default() },
        },
    };
    let mut policy = Policy::new("k", kind);
    policy.add(Version { hmac: Secret::random(32).unwrap(), ..made });
    Key::new(policy)
}

fn keys() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        use KeyType::{Aes128, Aes256, ChaCha, Ed25519, Hmac, P256, P384, P521, Rsa2048, XChaCha};
        [Aes256, Aes128, ChaCha, XChaCha, Ed25519, P256, P384, P521, Rsa2048, Hmac].into_iter().map(key).collect()
    })
}

const WAYS: [Signing; 4] = [
    Signing { hash: Some(Hash::Sha256), prehashed: false, jws: false, padding: Padding::Pss(Salt::Any) },
    Signing { hash: Some(Hash::Sha3x512), prehashed: true, jws: true, padding: Padding::Pss(Salt::Bytes(7)) },
    Signing { hash: Some(Hash::Sha1), prehashed: false, jws: false, padding: Padding::Pkcs1 },
    Signing { hash: None, prehashed: true, jws: false, padding: Padding::Pkcs1 },
];

proptest! {
    #[test]
    fn what_nobody_made_opens_and_verifies_nowhere(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,40}") {
        for key in keys() {
            for sealed in [text.clone(), format!("vault:{text}"), format!("vault:v1:{}", encode(&bytes)), format!("vault:v1:{}", encode_url(&bytes))] {
                prop_assert!(key.decrypt(&bytes, &sealed, "").is_err());
                prop_assert!(!key.verify_hmac(Hash::Sha256, &bytes, &sealed).unwrap_or(false));
                for how in WAYS {
                    prop_assert!(!key.verify(&bytes, &bytes, &sealed, how).unwrap_or(false));
                }
            }
        }
    }

    #[test]
    fn what_was_encrypted_and_changed_does_not_open(plain in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..1000, bit in 0_u32..8) {
        for key in keys().iter().filter(|key| key.policy.kind.encrypts()) {
            let text = encode(&plain);
            let (sealed, _) = key.encrypt(0, &[], &text, "").unwrap();
            let opened = key.decrypt(&[], &sealed, "").unwrap();
            prop_assert_eq!(opened.as_str(), text.as_str());
            let mut bytes = decode(&sealed["vault:v1:".len()..]).unwrap();
            let at = at % bytes.expose().len();
            bytes.expose_mut()[at] ^= 1 << bit;
            let changed = format!("vault:v1:{}", encode(bytes.expose()));
            prop_assert!(key.decrypt(&[], &changed, "").is_err());
        }
    }
}

#[test]
fn the_verification_of_ours_takes_what_the_library_signs_and_nothing_else() {
    let rsa = keys().iter().find(|key| key.policy.kind.is_rsa()).unwrap();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        for padding in
            [Padding::Pkcs1, Padding::Pss(Salt::Any), Padding::Pss(Salt::Hash), Padding::Pss(Salt::Bytes(hash.len()))]
        {
            let how = Signing { hash: Some(hash), prehashed: false, jws: false, padding };
            let signed = rsa.sign(0, &[], b"message", how).unwrap().signature;
            assert!(rsa.verify(&[], b"message", &signed, how).unwrap());
            assert!(!rsa.verify(&[], b"messagf", &signed, how).unwrap());
            let other = Signing { padding: Padding::Pss(Salt::Bytes(7)), ..how };
            assert!(!rsa.verify(&[], b"message", &signed, other).unwrap());
            if padding == Padding::Pkcs1 {
                // The hash with what stands before it, as it is.
                let whole = [hash.info(), &hash.of(b"message")].concat();
                let how = Signing { hash: None, prehashed: true, ..how };
                assert!(rsa.verify(&[], &whole, &signed, how).unwrap());
                assert!(!rsa.verify(&[], &whole[1..], &signed, how).unwrap());
            }
        }
    }
}
