//! Bad values, moved values, damaged values: each its own error, and never a panic.

use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> Result<SealedValue, OpenError> {
    use base64::Engine;
    SealedValue::parse(&base64::prelude::BASE64_STANDARD.encode(bytes))
}

fn sealed(key: &PrivateKey, scope: Scope) -> SealedValue {
    SealedValue::parse(&seal_value(key.public_key(), &shop(scope), b"hunter2").unwrap()).unwrap()
}

#[test]
fn malformed_texts_say_how() {
    for (text, error) in [
        ("*", Malformed::Base64),
        ("AQ", Malformed::Base64),
        ("AQ= =", Malformed::Base64),
        ("", Malformed::TooShort(0)),
        ("AQ==", Malformed::TooShort(1)),
        ("AQA=", Malformed::TooShort(2)),
        ("AAAA", Malformed::RsaLength(0)),
        ("/////w==", Malformed::RsaLength(65535)),
        ("BAEA", Malformed::RsaLength(1025)),
        ("/7E=", Malformed::TooShort(2)),
        ("/7EB", Malformed::TooShort(3)),
    ] {
        assert_eq!(SealedValue::parse(text), Err(OpenError::Malformed(error)), "{text}");
    }
    assert_eq!(SealedValue::parse("/7EC"), Err(OpenError::UnknownVersion(2)));
    let long = "A".repeat(2 << 20);
    assert_eq!(SealedValue::parse(&long), Err(OpenError::Malformed(Malformed::TooLong(2 << 20))));
}

#[test]
fn line_breaks_in_a_value_are_skipped_as_the_peer_does() {
    let value = seal_value(rsa().public_key(), &shop(Scope::Strict), b"hunter2").unwrap();
    let folded: String =
        value.as_bytes().chunks(60).map(|line| format!("{}\r\n", str::from_utf8(line).unwrap())).collect();
    assert_eq!(open_value(&rsa(), &shop(Scope::Strict), &folded).unwrap().expose(), b"hunter2");
}

#[test]
fn the_longest_value_goes_through_and_a_longer_one_is_refused() {
    let long = vec![b'x'; MAX_PLAINTEXT + 1];
    for key in [rsa(), hybrid()] {
        assert_eq!(seal_value(key.public_key(), &shop(Scope::Strict), &long), Err(SealError::TooLong(long.len())));
        let value = seal_value(key.public_key(), &shop(Scope::Strict), &long[1..]).unwrap();
        assert_eq!(open_value(&key, &shop(Scope::Strict), &value).unwrap().len(), MAX_PLAINTEXT);
    }
}

#[test]
fn a_damaged_body_is_told_apart_from_another_key() {
    let key = rsa();
    let value = seal_value(key.public_key(), &shop(Scope::Strict), b"hunter2").unwrap();
    let flip = |from_end: usize| {
        use base64::Engine;
        let mut bytes = base64::prelude::BASE64_STANDARD.decode(&value).unwrap();
        let at = bytes.len() - from_end;
        bytes[at] ^= 1;
        parse(&bytes).unwrap().open(&key, &shop(Scope::Strict)).unwrap_err()
    };
    let corrupt = OpenError::Corrupt { key: *key.fingerprint() };
    assert_eq!(flip(1), corrupt);
    assert_eq!(flip(20), corrupt);
    assert_eq!(flip(40), OpenError::NoKey, "in the RSA part");
}

#[test]
fn hybrid_values_are_bound_to_their_item_and_template() {
    let key = hybrid();
    let value = sealed(&key, Scope::ClusterWide);
    let elsewhere = OpenError::NotBoundHere { key: *key.fingerprint() };
    assert!(value.open(&key, &shop(Scope::ClusterWide)).is_ok());
    assert_eq!(value.open(&key, &shop(Scope::ClusterWide).with_item("username")).unwrap_err(), elsewhere);
    let template = Template { immutable: Some(true), ..Template::default() }.hash();
    assert_eq!(value.open(&key, &Binding { template, ..shop(Scope::ClusterWide) }).unwrap_err(), elsewhere);
    let other = PrivateKey::generate(Algorithm::Hybrid).unwrap();
    let unknown = value.open(&other, &shop(Scope::ClusterWide)).unwrap_err();
    assert_eq!(unknown, OpenError::UnknownKey { key_id: key.fingerprint().to_string()[..32].to_owned() });
}

#[test]
fn a_diagnosis_finds_the_scope_and_the_place() {
    for key in [rsa(), hybrid()] {
        let ring = ring(&[&key]);
        let fingerprint = *key.fingerprint();
        let wide = sealed(&key, Scope::NamespaceWide);
        let nothing = Candidates::default();
        assert_eq!(diagnose(&ring, &wide, &shop(Scope::NamespaceWide), &nothing), Diagnosis::Opens(fingerprint));
        let Diagnosis::SealedFor(found) = diagnose(&ring, &wide, &shop(Scope::Strict), &nothing) else { panic!() };
        assert_eq!(found.to_string(), r#"it was sealed for namespace-wide scope in namespace "shop""#);

        let strict = sealed(&key, Scope::Strict);
        let asked = Binding::new(Scope::Strict, "copy", "db", "password");
        assert!(matches!(diagnose(&ring, &strict, &asked, &nothing), Diagnosis::Unknown(_)));
        let places = Candidates { places: &[("other", "db"), ("shop", "db")], ..nothing };
        let Diagnosis::SealedFor(found) = diagnose(&ring, &strict, &asked, &places) else { panic!() };
        assert_eq!(found.to_string(), r#"it was sealed for strict scope in namespace "shop" under the name "db""#);
        assert_eq!(found.key, fingerprint);
        let none = Candidates { tries: 0, ..places };
        assert!(matches!(diagnose(&ring, &strict, &asked, &none), Diagnosis::Unknown(_)));
    }
}

#[test]
fn a_diagnosis_finds_values_that_changed_places() {
    let key = hybrid();
    let candidates = Candidates { items: &["username", "password"], ..Candidates::default() };
    let asked = shop(Scope::Strict).with_item("username");
    let found = diagnose(&ring(&[&key]), &sealed(&key, Scope::Strict), &asked, &candidates);
    let Diagnosis::SealedFor(found) = found else { panic!("{found:?}") };
    assert_eq!(found.item.as_deref(), Some("password"));
}

#[test]
fn a_diagnosis_without_the_key_says_so() {
    let other = PrivateKey::generate_rsa(RsaSize::Bits2048).unwrap();
    let found =
        diagnose(&ring(&[&other]), &sealed(&rsa(), Scope::Strict), &shop(Scope::Strict), &Candidates::default());
    assert_eq!(found, Diagnosis::Unknown(OpenError::NoKey));
    let found =
        diagnose(&ring(&[&other]), &sealed(&hybrid(), Scope::Strict), &shop(Scope::Strict), &Candidates::default());
    assert!(matches!(found, Diagnosis::Unknown(OpenError::UnknownKey { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), mark in 0..4) {
        let mut bytes = bytes;
        let prefix: &[u8] = [&[][..], &[0xff, 0xb1, 1], &[1, 0], &[2, 0]][usize::try_from(mark).unwrap()];
        bytes.splice(0..0, prefix.iter().copied());
        if let Ok(value) = parse(&bytes) {
            for key in [rsa(), hybrid()] {
                prop_assert!(value.open(&key, &shop(Scope::Strict)).is_err());
            }
        }
        prop_assert!(Certificate::from_pem(&bytes).is_err());
        prop_assert!(Certificate::from_der(&bytes).is_err());
        prop_assert!(PublicKey::from_spki(&bytes).is_err());
        prop_assert!(PrivateKey::from_pkcs8(&bytes).is_err());
    }

    #[test]
    fn what_is_sealed_opens(plain in prop::collection::vec(any::<u8>(), 0..300), item in "[a-z.]{1,20}") {
        for key in [rsa(), hybrid()] {
            for scope in Scope::ALL {
                let binding = Binding::new(scope, "shop", "db", &item);
                let value = seal_value(key.public_key(), &binding, &plain).unwrap();
                let opened = open_value(&key, &binding, &value).unwrap();
                prop_assert_eq!(opened.expose(), plain.as_slice());
            }
        }
    }
}
