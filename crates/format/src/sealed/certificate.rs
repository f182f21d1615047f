//! A sealing key's certificate: the public key, and until when it may be used.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Algorithm, Fingerprint, KeyError, PublicKey, pem};

/// A parsed X.509 certificate with an RSA key. Nobody vouches for it: that it is the cluster's is up to whoever fetched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    public_key: PublicKey,
    not_before: Timestamp,
    not_after: Timestamp,
    common_name: String,
}

impl Certificate {
    /// The certificates in PEM text, in order. The first is the one to seal to. Other blocks are skipped, as are certificates behind
    /// the first that are for another kind of key (a chain may have them).
    ///
    /// # Errors
    /// [`KeyError::Missing`]; [`KeyError::NotACertificate`] when there is a bare public key in its place; what is wrong with one.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut found = Vec::new();
        let mut bare = false;
        for block in pem::blocks(text) {
            bare |= matches!(block.label, "PUBLIC KEY" | "RSA PUBLIC KEY");
            if block.label != "CERTIFICATE" || block.has_headers {
                continue;
            }
            match Self::from_der(block.bytes.expose()) {
                Ok(certificate) => found.push(certificate),
                Err(KeyError::Kind(_)) if !found.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
        match found.is_empty() {
            false => Ok(found),
            true if bare => Err(KeyError::NotACertificate),
            true => Err(KeyError::Missing("certificate")),
        }
    }

    /// Reads one in DER.
    ///
    /// # Errors
    /// [`KeyError::Certificate`], [`KeyError::Kind`], [`KeyError::Rsa`].
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| KeyError::Certificate)?;
        if !rest.is_empty() {
            return Err(KeyError::Certificate);
        }
        let public_key = PublicKey::from_spki(parsed.public_key().raw)?;
        if public_key.algorithm() != Algorithm::Rsa {
            return Err(KeyError::Kind("the hybrid algorithm, which takes no certificate".to_owned()));
        }
        let time = |seconds| Timestamp::from_second(seconds).map_err(|_| KeyError::Certificate);
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            public_key,
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
            common_name: common_name.unwrap_or_default().to_owned(),
            der: der.to_vec(),
        })
    }

    /// PEM, `CERTIFICATE`.
    pub fn to_pem(&self) -> String {
        String::from_utf8_lossy(pem::encode("CERTIFICATE", &self.der).expose()).into_owned()
    }

    /// That it can be used at `now`.
    ///
    /// # Errors
    /// [`KeyError::Expired`].
    pub fn check_validity(&self, now: Timestamp) -> Result<(), KeyError> {
        // Its first day is not looked at, as the peer does not: a clock that is slow must not keep anyone from sealing.
        if now > self.not_after { Err(KeyError::Expired(self.not_after)) } else { Ok(()) }
    }

    /// DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key in it.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Which key it is.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public_key.fingerprint()
    }

    /// From when it may be used.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Until when.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The subject's common name; empty if it has none.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }
}
