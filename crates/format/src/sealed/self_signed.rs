//! The certificate that a controller makes for its own key.
//!
//! As sealed-secrets': self-signed with SHA-256, a certificate authority by its constraints, key usage `EncipherOnly`, a 128-bit
//! random serial number, and a common name only if one is configured.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, PKCS_RSA_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use x509_parser::time::ASN1Time;

use super::key::Private;
use super::{Certificate, KeyError, PrivateKey};

/// Makes a certificate for `key`, valid from `not_before` to `not_after` to the second. `common_name` may be empty.
///
/// # Errors
/// [`KeyError::Kind`] for a hybrid key, which needs none; [`KeyError::Make`].
pub fn self_signed(
    key: &PrivateKey,
    common_name: &str,
    not_before: Timestamp,
    not_after: Timestamp,
) -> Result<Certificate, KeyError> {
    let Private::Rsa(rsa) = &key.inner else {
        return Err(KeyError::Kind("the hybrid algorithm, which takes no certificate".to_owned()));
    };
    let signer = Signer(rsa.signing()?);
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| KeyError::Make)?;

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::EncipherOnly];
    let time = |time: Timestamp| ASN1Time::from_timestamp(time.as_second()).map_err(|_| KeyError::Make);
    params.not_before = time(not_before)?.to_datetime();
    params.not_after = time(not_after)?.to_datetime();
    let made = params.self_signed(&signer).map_err(|_| KeyError::Make)?;
    Certificate::from_der(made.der())
}

/// Our key as `rcgen` wants it: its own key type keeps copies that it does not wipe.
struct Signer(KeyPair);

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature)
    }
}
