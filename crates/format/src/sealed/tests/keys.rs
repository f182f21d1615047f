//! Keys and certificates: read, written, found.

use jiff::{SignedDuration, Timestamp};

use super::*;

#[test]
fn the_same_key_is_read_from_pkcs1_and_pkcs8_and_written_as_it_was() {
    let key = rsa();
    let from_pkcs8 = PrivateKey::from_pem(include_bytes!("../vectors/rsa-2048.p8")).unwrap().remove(0);
    assert_eq!(from_pkcs8.fingerprint(), key.fingerprint());
    assert_eq!(key.to_pem().unwrap().expose(), KEY);
    assert_eq!(from_pkcs8.to_pem().unwrap().expose(), KEY);
    let again = PrivateKey::from_pkcs8(key.to_pkcs8().unwrap().expose()).unwrap();
    assert_eq!(again.fingerprint(), key.fingerprint());
}

#[test]
fn a_hybrid_key_goes_through_pem() {
    let key = hybrid();
    let pem = key.to_pem().unwrap();
    // As in the appendix of draft-connolly-cfrg-xwing-kem.
    let expected = "-----BEGIN PRIVATE KEY-----\nMDQCAQAwDQYLKwYBBAGD5i2ByHoEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ\nGhscHR4f\n-----END PRIVATE KEY-----\n";
    assert_eq!(pem.expose(), expected.as_bytes());
    assert_eq!(PrivateKey::from_pem(pem.expose()).unwrap()[0].fingerprint(), key.fingerprint());
    let public = key.public_key();
    assert_eq!(&PublicKey::from_pem(public.to_pem().as_bytes()).unwrap(), public);
    assert_eq!(public.ssh_fingerprint(), None);
}

#[test]
fn a_hybrid_public_key_has_one_spelling() {
    let key = hybrid().public_key().clone();
    let spki = key.spki().to_vec();
    assert_eq!(PublicKey::from_spki(&spki).unwrap().fingerprint(), key.fingerprint());
    // With parameters, which are null: SEQUENCE { SEQUENCE { OID, NULL }, BIT STRING }.
    let at = spki.windows(2).position(|two| two == [0x06, 0x0b]).unwrap();
    let mut other = spki.clone();
    other[3] += 2;
    other[at - 1] += 2;
    other.splice(at + 13..at + 13, [0x05, 0x00]);
    assert_eq!(PublicKey::from_spki(&other).unwrap_err(), KeyError::Hybrid);
    for cut in [spki.len() - 1, spki.len() / 2, 1, 0] {
        assert!(PublicKey::from_spki(&spki[..cut]).is_err());
    }
    // A point that no secret can be shared with.
    let mut useless = spki;
    let end = useless.len();
    useless[end - 32..].fill(0);
    let useless = PublicKey::from_spki(&useless).unwrap();
    assert_eq!(seal_value(&useless, &Binding::default(), b"x"), Err(SealError::Failed));
}

#[test]
fn several_keys_in_one_file_are_all_read() {
    let text = [KEY, b"between\n", hybrid().to_pem().unwrap().expose(), CERTIFICATE].concat();
    let keys = PrivateKey::from_pem(&text).unwrap();
    assert_eq!(keys.iter().map(PrivateKey::algorithm).collect::<Vec<_>>(), [Algorithm::Rsa, Algorithm::Hybrid]);
}

#[test]
fn what_is_no_private_key_says_what_it_is() {
    assert_eq!(PrivateKey::from_pem(CERTIFICATE).unwrap_err(), KeyError::Missing("private key"));
    let encrypted =
        String::from_utf8(KEY.to_vec()).unwrap().replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1);
    assert_eq!(PrivateKey::from_pem(encrypted.as_bytes()).unwrap_err(), KeyError::Encrypted);
    let curve = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";
    assert!(matches!(PrivateKey::from_pem(curve.as_bytes()).unwrap_err(), KeyError::Kind(_)));
    let truncated = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n";
    assert_eq!(PrivateKey::from_pem(truncated.as_bytes()).unwrap_err(), KeyError::Rsa);
}

#[test]
fn an_rsa_key_that_was_changed_is_refused() {
    let pkcs8 = rsa().to_pkcs8().unwrap();
    // In the modulus, the private exponent, a prime.
    for at in [60, 400, 700] {
        let mut bytes = pkcs8.expose().to_vec();
        bytes[at] ^= 1;
        assert_eq!(PrivateKey::from_pkcs8(&bytes).unwrap_err(), KeyError::Rsa, "{at}");
    }
}

#[test]
fn fingerprints_are_those_that_other_programs_print() {
    // ssh-keygen -lf; openssl pkey -pubout -outform DER | sha256sum.
    assert_eq!(rsa().public_key().ssh_fingerprint().unwrap(), include_str!("../vectors/rsa-2048.ssh").trim());
    assert_eq!(rsa().fingerprint().to_string(), include_str!("../vectors/rsa-2048.sha256").trim());
    let fingerprint = *rsa().fingerprint();
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    assert!("é".repeat(32).parse::<Fingerprint>().is_err());
    assert!("0".repeat(63).parse::<Fingerprint>().is_err());
}

#[test]
fn nothing_of_a_private_key_is_in_its_debug_form() {
    let key = hybrid();
    assert_eq!(format!("{key:?}"), format!("PrivateKey(x25519-mlkem768 {})", key.fingerprint()));
    assert_eq!(format!("{:?}", rsa()), format!("PrivateKey(rsa-4096 {})", rsa().fingerprint()));
}

#[test]
fn a_certificate_that_openssl_made_is_read() {
    let certificates = Certificate::from_pem(CERTIFICATE).unwrap();
    assert_eq!(certificates.len(), 1);
    assert_eq!(certificates[0].public_key(), rsa().public_key());
    assert_eq!(certificates[0].to_pem().as_bytes(), CERTIFICATE);
    assert_eq!(certificates[0].check_validity(Timestamp::now()), Ok(()));
}

#[test]
fn a_certificate_of_ours_has_what_was_asked_for() {
    let start = "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap();
    let end = start + SignedDuration::from_hours(87_600);
    let made = self_signed(&rsa(), "sealing", start, end).unwrap();
    assert_eq!((made.not_before(), made.not_after(), made.common_name()), (start, end, "sealing"));
    assert_eq!(made.public_key(), rsa().public_key());
    assert_eq!(made.check_validity(end), Ok(()));
    assert_eq!(made.check_validity(end + SignedDuration::from_secs(1)), Err(KeyError::Expired(end)));

    let (_, parsed) = x509_parser::parse_x509_certificate(made.der()).unwrap();
    assert!(parsed.is_ca());
    assert!(parsed.key_usage().unwrap().unwrap().value.encipher_only());
    assert_eq!(parsed.issuer(), parsed.subject());
    let again = self_signed(&rsa(), "", start, end).unwrap();
    assert_eq!(again.common_name(), "");
    assert_ne!(again.der(), made.der());
    assert!(matches!(self_signed(&hybrid(), "", start, end), Err(KeyError::Kind(_))));
}

#[test]
fn a_bare_public_key_is_no_certificate() {
    let bare = rsa().public_key().to_pem();
    assert_eq!(Certificate::from_pem(bare.as_bytes()).unwrap_err(), KeyError::NotACertificate);
    assert_eq!(PublicKey::from_pem(bare.as_bytes()).unwrap_err(), KeyError::NotACertificate);
    assert_eq!(Certificate::from_pem(b"nothing").unwrap_err(), KeyError::Missing("certificate"));
    assert_eq!(PublicKey::from_pem(CERTIFICATE).unwrap_err(), KeyError::Missing("public key"));
}

#[test]
fn the_hinted_key_is_tried_first_and_the_newest_after_it() {
    let keys: Vec<PrivateKey> = (0..3).map(|_| PrivateKey::generate_rsa(RsaSize::Bits2048).unwrap()).collect();
    let ring = ring(&keys.iter().collect::<Vec<_>>());
    let value = SealedValue::parse(&seal_value(keys[0].public_key(), &shop(Scope::Strict), b"x").unwrap()).unwrap();
    let hinted = ring.open(&value, &shop(Scope::Strict), Some(keys[0].fingerprint())).unwrap();
    assert_eq!((hinted.tries, hinted.key, hinted.plaintext.expose()), (1, *keys[0].fingerprint(), b"x".as_slice()));

    // Keys whose modulus is too small as a number are not tried: up to three tries, and none twice.
    let fits = keys.iter().filter(|key| value.may_be_for(key).is_ok()).count();
    assert_eq!(ring.open(&value, &shop(Scope::Strict), None).unwrap().tries, fits);
    let wrong = ring.open(&value, &shop(Scope::Strict), Some(keys[2].fingerprint())).unwrap();
    assert_eq!((wrong.tries, wrong.key), (fits, *keys[0].fingerprint()));

    let newest = SealedValue::parse(&seal_value(keys[2].public_key(), &shop(Scope::Strict), b"x").unwrap()).unwrap();
    assert_eq!(ring.open(&newest, &shop(Scope::Strict), None).unwrap().tries, 1);
    assert_eq!(ring.newest(Algorithm::Rsa).unwrap().key.fingerprint(), keys[2].fingerprint());
    assert!(ring.newest(Algorithm::Hybrid).is_none());
}

#[test]
fn a_hybrid_value_is_tried_with_its_own_key_alone() {
    let other = PrivateKey::generate(Algorithm::Hybrid).unwrap();
    let (key, rsa) = (hybrid(), rsa());
    let ring = ring(&[&key, &other, &rsa]);
    let value = SealedValue::parse(&seal_value(key.public_key(), &shop(Scope::Strict), b"x").unwrap()).unwrap();
    let opened = ring.open(&value, &shop(Scope::Strict), Some(rsa.fingerprint())).unwrap();
    assert_eq!((opened.tries, opened.key), (1, *key.fingerprint()));
}

#[test]
fn keys_of_other_sizes_are_skipped() {
    let large = PrivateKey::generate_rsa(RsaSize::Bits3072).unwrap();
    let small = rsa();
    let ring = ring(&[&small, &large]);
    let value = seal_value(small.public_key(), &shop(Scope::Strict), b"x").unwrap();
    assert_eq!(ring.open(&SealedValue::parse(&value).unwrap(), &shop(Scope::Strict), None).unwrap().tries, 1);
    assert_eq!(open_value(&large, &shop(Scope::Strict), &value).unwrap_err(), OpenError::NoKey);
}
