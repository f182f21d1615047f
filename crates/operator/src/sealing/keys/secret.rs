//! Plain key Secrets, as sealed-secrets has them: read from an old installation, and written only where `plain-secret` is asked for.
//!
//! Type `kubernetes.io/tls`; `tls.key` is PKCS#1 PEM, `tls.crt` its certificate. The label
//! `sealedsecrets.bitnami.com/sealed-secrets-key` says `active`; any other value blacklists the key. A Secret that is named exactly
//! as the key prefix and has no label is a key, too (from before labels).
//! Source: <https://github.com/bitnami-labs/sealed-secrets/blob/main/pkg/controller/keys.go>.

use std::collections::BTreeMap;

use bulla_format::sealed::PrivateKey;
use bulla_kube::api::sealing_key::KeyState;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use zeroize::Zeroize;

use super::object::{KeyPair, certificate, created};

/// The label of sealing keys.
pub const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The label of plain Secrets that somebody asked for, by which `bulla audit` finds them.
pub const PLAIN_LABEL: &str = "bulla.dev/plain";
/// Its value on a plain key.
pub const PLAIN_KEY: &str = "sealing-key";

const TYPE: &str = "kubernetes.io/tls";
const PRIVATE: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";
/// The most bytes of a private key's PEM, with room for text beside it: one of 8192 bits has some 6500.
const LONGEST_KEY: usize = 16 << 10;
/// The most bytes of a certificate's, which may have a chain behind it.
const LONGEST_CERTIFICATE: usize = 64 << 10;

/// Whether a Secret is a sealing key.
pub fn is_key(secret: &Secret, prefix: &str) -> bool {
    secret.labels().contains_key(KEY_LABEL) || secret.metadata.name.as_deref() == Some(prefix)
}

/// What the label says. sealed-secrets loads keys labelled `active` and no others.
pub fn state_of(secret: &Secret) -> KeyState {
    match secret.labels().get(KEY_LABEL).map(String::as_str) {
        None | Some("active") => KeyState::Active,
        Some("retired") => KeyState::Retired,
        Some(_) => KeyState::Compromised,
    }
}

/// Reads a key Secret.
///
/// # Errors
/// What is missing or malformed, in words; nothing of the key.
pub fn read(secret: &Secret) -> Result<KeyPair, String> {
    let field = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice());
    // Checking keys takes time, and a Secret has room for hundreds.
    for (name, longest) in [(PRIVATE, LONGEST_KEY), (CERTIFICATE, LONGEST_CERTIFICATE)] {
        if field(name).is_some_and(|text| text.len() > longest) {
            return Err(format!("{name} has more than {longest} bytes"));
        }
    }
    let key = field(PRIVATE).ok_or(format!("it has no {PRIVATE}"))?;
    let mut keys = PrivateKey::from_pem(key).map_err(|error| format!("{PRIVATE}: {error}"))?;
    let private = if keys.len() == 1 { keys.pop() } else { None };
    let private = private.ok_or(format!("{PRIVATE} has several keys in it"))?;
    let certificate = match field(CERTIFICATE) {
        Some(pem) => Some(certificate(pem).map_err(|error| format!("{CERTIFICATE}: {error}"))?),
        None => None,
    };
    if certificate.as_ref().is_some_and(|certificate| certificate.fingerprint() != *private.fingerprint()) {
        return Err(format!("{CERTIFICATE} is not the certificate of {PRIVATE}"));
    }
    let certificate = certificate.ok_or(format!("it has no {CERTIFICATE}"))?;
    let not_before = certificate.not_before();
    Ok(KeyPair { private, certificate: Some(certificate), not_before, state: state_of(secret) })
}

/// Writes a key Secret without a name.
///
/// # Errors
/// A key that is not RSA has no such form.
pub fn write(pair: &KeyPair) -> Result<Secret, String> {
    let certificate = pair.certificate.as_ref().ok_or("only RSA keys can stand in a plain Secret")?;
    let key = pair.private.to_pem().map_err(|error| error.to_string())?;
    let label = match pair.state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
        KeyState::Compromised => "compromised",
    };
    let labels = [(KEY_LABEL, label), (PLAIN_LABEL, PLAIN_KEY)];
    Ok(Secret {
        metadata: ObjectMeta {
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(BTreeMap::from([
            (PRIVATE.to_owned(), ByteString(key.expose().to_vec())),
            (CERTIFICATE.to_owned(), ByteString(certificate.to_pem().into_bytes())),
        ])),
        ..Secret::default()
    })
}

/// Overwrites the private key of a Secret that is not needed any more.
pub fn wipe(secret: &mut Secret) {
    for value in secret.data.iter_mut().flat_map(BTreeMap::values_mut) {
        value.0.zeroize();
    }
}

/// The first day of a key Secret's certificate, or when the Secret was made. Its private key is not looked at.
pub fn not_before(secret: &Secret) -> Option<jiff::Timestamp> {
    let pem = secret.data.as_ref()?.get(CERTIFICATE).filter(|pem| pem.0.len() <= LONGEST_CERTIFICATE)?;
    Some(certificate(&pem.0).map_or_else(|_| created(secret), |certificate| certificate.not_before()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_secret_with_many_keys_in_it_is_refused_before_they_are_checked() {
        let secret = |key: Vec<u8>, certificate: Vec<u8>| Secret {
            data: Some(
                [(PRIVATE.to_owned(), ByteString(key)), (CERTIFICATE.to_owned(), ByteString(certificate))].into(),
            ),
            ..Secret::default()
        };
        let said = |secret: &Secret| read(secret).unwrap_err();
        assert!(said(&secret(vec![b'x'; LONGEST_KEY + 1], Vec::new())).contains("tls.key has more than"));
        let large = secret(b"x".to_vec(), vec![b'x'; LONGEST_CERTIFICATE + 1]);
        assert!(said(&large).contains("tls.crt has more than"));
        assert_eq!(not_before(&large), None);
        assert!(said(&secret(b"x".to_vec(), Vec::new())).contains("private key"));
    }
}
