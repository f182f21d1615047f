//! `pkiCert`: a certificate with its key, as it is in the destination of its template, or issued anew once nine tenths of what is left of it have passed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulla_template::{Text, Value};
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::pem::parse_x509_pem;

use crate::api::{LONGEST, at};
use crate::renewal::chance;

/// What is in a text, as templates see it, and for how long it is good.
pub(super) struct Found {
    pub(super) value: Value,
    /// Nothing, if there is no certificate in it, or one that is nearly over.
    pub(super) keeps_for: Option<Duration>,
    /// Whether there is a certificate in it.
    pub(super) certificate: Certificate,
}

/// Whether there is one, and the key that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certificate {
    WithKey,
    Alone,
    Missing,
}

/// The texts of an answer, in which the certificate, its key and its authority are.
pub(super) fn texts(answer: &Value) -> Text {
    let mut all = Vec::new();
    if let Value::Map(data) = at(answer, &["data"]) {
        let entries = data.entries();
        let texts =
            || entries.values().filter_map(|value| if let Value::Text(text) = value { Some(text) } else { None });
        // With room for all, so that nothing is left behind as it grows.
        all.reserve_exact(texts().map(|text| text.len() + 1).sum());
        for text in texts() {
            all.extend_from_slice(text.expose());
            all.push(b'\n');
        }
    }
    Text::from(all)
}

/// Reads all blocks of PEM in a text, whatever is between them.
///
/// # Errors
/// A certificate that cannot be read.
pub(super) fn read(text: &[u8]) -> Result<Found, String> {
    let (mut key, mut own, mut authorities) = (None, None, Vec::<Text>::new());
    let mut life = None;
    for (label, block) in blocks(text) {
        if label.ends_with(b"PRIVATE KEY") {
            key = Some(block);
            continue;
        }
        if label != b"CERTIFICATE" {
            continue;
        }
        let malformed = "a certificate cannot be read";
        let (_, pem) = parse_x509_pem(block.expose()).map_err(|_| malformed)?;
        let certificate = pem.parse_x509().map_err(|_| malformed)?;
        if certificate.is_ca() {
            if !authorities.contains(&block) {
                authorities.push(block);
            }
        } else {
            let validity = certificate.validity();
            life = Some((validity.not_before.timestamp(), validity.not_after.timestamp()));
            own = Some(block);
        }
    }
    let text = |block: Option<Text>| Value::Text(block.unwrap_or_default());
    let parts = || {
        [
            ("Key".into(), text(key.clone())),
            ("Cert".into(), text(own.clone())),
            ("CA".into(), text(authorities.first().cloned())),
            ("CAChain".into(), Value::texts(authorities.clone())),
        ]
    };
    // As it is, and as with all other secrets, below Data.
    let value = Value::map(parts().into_iter().chain([("Data".into(), Value::map(parts()))]));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed();
    let certificate = match (&own, &key) {
        (Some(own), Some(key)) if is_pair(own, key) => Certificate::WithKey,
        (Some(_), _) => Certificate::Alone,
        (None, _) => Certificate::Missing,
    };
    Ok(Found { value, certificate, keeps_for: life.and_then(|(start, end)| keeps_for(start, end, now)) })
}

/// Whether a key is the one that a certificate is for.
fn is_pair(certificate: &Text, key: &Text) -> bool {
    let key = PrivateKeyDer::from_pem_slice(key.expose()).ok().and_then(|key| any_supported_type(&key).ok());
    let certificate = CertificateDer::from_pem_slice(certificate.expose()).ok();
    key.zip(certificate).is_some_and(|(key, own)| CertifiedKey::new(vec![own], key).keys_match().is_ok())
}

/// Nine tenths of what is left, a little more or less; nothing, if that is less than a tenth of the whole.
fn keeps_for(start: i64, end: i64, now: i64) -> Option<Duration> {
    let left = u64::try_from(end.saturating_sub(now)).ok().filter(|left| *left > 0)?.min(LONGEST);
    let whole = u64::try_from(end.saturating_sub(start)).ok()?;
    let good = left * 9 / 10;
    let part = if good > 100 { 0.97 + 0.06 * chance() } else { 1.0 };
    (good > whole / 10).then(|| Duration::from_secs(good).mul_f64(part))
}

/// The blocks with their labels, each with the end of its last line.
fn blocks(text: &[u8]) -> impl Iterator<Item = (&[u8], Text)> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const DASHES: &[u8] = b"-----";
    let find = |text: &[u8], what: &[u8]| text.windows(what.len()).position(|window| window == what);
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = find(rest, BEGIN)?;
        let block = &rest[start..];
        let label = &block[BEGIN.len()..][..find(&block[BEGIN.len()..], DASHES)?];
        let end = [b"-----END ".as_slice(), label, DASHES].concat();
        let len = find(block, &end)? + end.len();
        let mut bytes = Vec::with_capacity(len + 1);
        bytes.extend_from_slice(&block[..len]);
        bytes.push(b'\n');
        rest = &block[len..];
        Some((label, Text::from(bytes)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_certificate_is_good_for_nine_tenths_of_what_is_left() {
        assert_eq!(keeps_for(0, 100, 0), Some(Duration::from_secs(90)));
        assert_eq!(keeps_for(0, 100, 50), Some(Duration::from_secs(45)));
        assert_eq!(keeps_for(0, 100, 89), None);
        assert_eq!(keeps_for(0, 100, 101), None);
        assert_eq!(keeps_for(i64::MIN, i64::MAX, 0), None);
        let long = keeps_for(0, 100_000, 0).unwrap().as_secs();
        assert!((87_300..=92_700).contains(&long), "{long}");
    }

    #[test]
    fn blocks_are_found_between_anything_and_what_has_no_end_is_none() {
        let text = b"x-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY----- y -----BEGIN Z-----\nBB";
        let found: Vec<_> = blocks(text).map(|(label, block)| (label.to_vec(), block.expose().to_vec())).collect();
        let key = b"-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n".to_vec();
        assert_eq!(found, [(b"RSA PRIVATE KEY".to_vec(), key.clone())]);
        let found = read(text).unwrap();
        assert!(found.keeps_for.is_none() && found.certificate == Certificate::Missing);
        let Value::Text(shown) = at(&found.value, &["Data", "Key"]) else { panic!() };
        assert_eq!(shown.expose(), key);
        assert!(read(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----").is_err());
        for text in [b"".as_slice(), b"-----BEGIN ", b"-----BEGIN -----", b"-----BEGIN A-----\n-----END B-----"] {
            assert_eq!(blocks(text).count(), 0);
        }
    }
}
