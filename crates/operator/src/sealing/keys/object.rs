//! `SealingKey` objects: a key pair becomes one, and one becomes a key pair again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_format::sealed::{self, Certificate, Fingerprint, PrivateKey, PublicKey};
use bulla_kms::groups::Services;
use bulla_kube::api::sealing_key::{Algorithm, KeyState, WrappedPrivateKey};
use bulla_kube::api::{SealingKey, SealingKeySpec};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::envelope::{self, Bound, OpenError, SealError, Trusted};
use super::recipients::Recipients;

/// A key pair with what an object says of it.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The private key.
    pub private: PrivateKey,
    /// Its certificate, for RSA.
    pub certificate: Option<Certificate>,
    /// From when values are sealed to it.
    pub not_before: Timestamp,
    /// What it may be used for.
    pub state: KeyState,
}

/// Why an object cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// Its public part is malformed, or contradicts itself.
    #[error("its public part is malformed: {0}")]
    Public(String),
    /// The private key was not unwrapped.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The private key was not wrapped.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The key itself.
    #[error(transparent)]
    Key(#[from] sealed::KeyError),
    /// An RSA key of a size that no object can name.
    #[error("RSA keys of {0} bits are not supported: 2048, 3072, 4096 and 8192 are")]
    Size(usize),
}

/// The most characters of a certificate or a public key, as the resource's definition has it.
const LONGEST_PUBLIC: usize = 64 << 10;

/// What an object says in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPart {
    /// Which key.
    pub fingerprint: Fingerprint,
    /// The certificate of an RSA key.
    pub certificate: Option<Certificate>,
}

impl KeyPair {
    /// Wraps the private key into an object without a name.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn wrap(&self, services: &Services, recipients: &Recipients) -> Result<SealingKey, ObjectError> {
        let algorithm = algorithm_of(self.private.public_key())?;
        let public_key = self.certificate.is_none().then(|| STANDARD.encode(self.private.public_key().spki()));
        let mut spec = SealingKeySpec {
            algorithm,
            fingerprint: self.private.fingerprint().to_string(),
            certificate: self.certificate.as_ref().map(Certificate::to_pem),
            public_key,
            not_before: time(self.not_before),
            wrapped: WrappedPrivateKey { key_groups: Vec::new(), threshold: None, ciphertext: String::new() },
            state: self.state,
        };
        spec.wrapped = envelope::seal(services, recipients, bound(&spec), &self.private.to_pkcs8()?).await?;
        Ok(SealingKey { metadata: ObjectMeta::default(), spec, status: None })
    }
}

/// The public part of an object, checked against itself.
///
/// # Errors
/// [`ObjectError::Public`].
pub fn public_part(spec: &SealingKeySpec) -> Result<PublicPart, ObjectError> {
    let malformed = |what: &str| ObjectError::Public(what.to_owned());
    let fingerprint: Fingerprint = spec.fingerprint.parse().map_err(malformed)?;
    let lengths = [&spec.certificate, &spec.public_key].map(|text| text.as_ref().map_or(0, String::len));
    if lengths.iter().any(|length| *length > LONGEST_PUBLIC) {
        return Err(malformed("its certificate or public key is longer than any"));
    }
    let certificate = spec.certificate.as_ref().map(|pem| certificate(pem.as_bytes())).transpose();
    let certificate = certificate.map_err(|error| malformed(&error.to_string()))?;
    let public = match (&certificate, &spec.public_key) {
        (Some(certificate), _) => certificate.public_key().clone(),
        (None, Some(text)) => {
            let der = STANDARD.decode(text).map_err(|_| malformed("the public key is not base64"))?;
            PublicKey::from_spki(&der).map_err(|error| malformed(&error.to_string()))?
        }
        (None, None) => return Err(malformed("it has neither a certificate nor a public key")),
    };
    if public.fingerprint() != fingerprint {
        return Err(malformed("the fingerprint is another key's"));
    }
    if algorithm_of(&public)? != spec.algorithm {
        return Err(malformed("the algorithm is not that of the key"));
    }
    Ok(PublicPart { fingerprint, certificate })
}

/// Unwraps an object's private key, and proves that it is the one whose public half the object shows.
///
/// # Errors
/// [`ObjectError`].
pub async fn unwrap(services: &Services, object: &SealingKey, trusted: Trusted<'_>) -> Result<KeyPair, ObjectError> {
    let spec = &object.spec;
    let public = public_part(spec)?;
    let der = envelope::open(services, &spec.wrapped, bound(spec), trusted).await?;
    let private = PrivateKey::from_pkcs8(der.expose())?;
    if *private.fingerprint() != public.fingerprint {
        return Err(OpenError::NotTheKey(private.fingerprint().to_string()).into());
    }
    Ok(KeyPair { private, certificate: public.certificate, not_before: at(&spec.not_before), state: spec.state })
}

/// What an object's ciphertext is bound to.
pub fn bound(spec: &SealingKeySpec) -> Bound<'_> {
    Bound {
        algorithm: algorithm_name(spec.algorithm),
        fingerprint: &spec.fingerprint,
        not_before: at(&spec.not_before).as_second(),
        certificate: spec.certificate.as_deref().unwrap_or_default(),
    }
}

/// The first certificate of PEM text.
///
/// # Errors
/// As [`Certificate::from_pem`].
pub fn certificate(pem: &[u8]) -> Result<Certificate, sealed::KeyError> {
    Certificate::from_pem(pem)?.into_iter().next().ok_or(sealed::KeyError::Missing("certificate"))
}

/// When an object was made, or the epoch.
pub(super) fn created<K: ResourceExt>(object: &K) -> Timestamp {
    object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| at(&time))
}

/// A time to the second, which is what objects have.
pub(super) fn time(at: Timestamp) -> Time {
    // Both have the same range.
    Time(k8s_openapi::jiff::Timestamp::from_second(at.as_second()).unwrap_or_default())
}

/// The time of an object. (Kubernetes' types have another version of the time library.)
pub fn at(time: &Time) -> Timestamp {
    Timestamp::from_second(time.0.as_second()).unwrap_or_default()
}

fn algorithm_of(key: &PublicKey) -> Result<Algorithm, ObjectError> {
    match key.rsa_bits() {
        None => Ok(Algorithm::X25519MlKem768),
        Some(2048) => Ok(Algorithm::Rsa2048),
        Some(3072) => Ok(Algorithm::Rsa3072),
        Some(4096) => Ok(Algorithm::Rsa4096),
        Some(8192) => Ok(Algorithm::Rsa8192),
        Some(bits) => Err(ObjectError::Size(bits)),
    }
}

/// As in the object.
const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Rsa2048 => "rsa-2048",
        Algorithm::Rsa3072 => "rsa-3072",
        Algorithm::Rsa4096 => "rsa-4096",
        Algorithm::Rsa8192 => "rsa-8192",
        Algorithm::X25519MlKem768 => "x25519-mlkem768",
    }
}
