//! Plain key Secrets, as sealed-secrets has them: read from an old installation, and written only where `plain-secret` is asked for.
//!
//! Type `kubernetes.io/tls`; `tls.key` is PKCS#1 PEM, `tls.crt` its certificate. The label
//! `sealedsecrets.bitnami.com/sealed-secrets-key` says `active`; any other value blacklists the key. A Secret that is named exactly
//! as the key prefix and has no label is a key, too (from before labels).
//! Source: <https://github.com/bitnami-labs/sealed-secrets/blob/main/pkg/controller/keys.go>.

use std::collections::BTreeMap;

use bulla_format::sealed::PrivateKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use zeroize::Zeroize;

use super::object::{KeyPair, certificate, created};
use crate::api::sealing_key::KeyState;

/// The label of sealing keys.
pub const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The label of plain Secrets that somebody asked for, by which `bulla audit` finds them.
pub const PLAIN_LABEL: &str = "bulla.dev/plain";
/// Its value on a plain key.
pub const PLAIN_KEY: &str = "sealing-key";

const TYPE: &str = "kubernetes.io/tls";
const PRIVATE: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";

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
    let state = state_of(secret);
    // A Secret without a date has not been to an API server.
    let not_before = if not_before.as_second() == 0 { created(secret) } else { not_before };
    Ok(KeyPair { private, certificate: Some(certificate), not_before, state })
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
    let pem = secret.data.as_ref()?.get(CERTIFICATE)?;
    Some(certificate(&pem.0).map_or_else(|_| created(secret), |certificate| certificate.not_before()))
}
