//! Any bytes as keys and certificates, in PEM and DER. What is read is written and read again.
#![no_main]

use bulla_format::sealed::{Certificate, PrivateKey, PublicKey};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for certificate in Certificate::from_pem(data).into_iter().flatten().chain(Certificate::from_der(data)) {
        let again = Certificate::from_pem(certificate.to_pem().as_bytes());
        assert_eq!(again.as_deref().ok(), Some(&[certificate][..]));
    }
    for key in PrivateKey::from_pem(data).into_iter().flatten().chain(PrivateKey::from_pkcs8(data)) {
        let again = key.to_pem().ok().and_then(|pem| PrivateKey::from_pem(pem.expose()).ok()).unwrap_or_default();
        assert_eq!(again.first().map(PrivateKey::fingerprint), Some(key.fingerprint()));
    }
    for key in PublicKey::from_pem(data).into_iter().chain(PublicKey::from_spki(data)) {
        let _ = (key.ssh_fingerprint(), key.to_pem());
    }
});
