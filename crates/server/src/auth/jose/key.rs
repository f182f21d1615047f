//! Public keys: from PEM, and from JSON Web Keys (RFC 7517).

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::signature::{RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo, X509Certificate};

use super::token::UNKNOWN;
use super::{Algorithm, Claims, Jws, TokenError};
use crate::json::{self, Object, Value};

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    id: Option<String>,
    /// What it says that it is for.
    algorithm: Option<Algorithm>,
    kind: Kind,
    /// RSA: DER; ECDSA: the point, uncompressed; Ed25519: its 32 bytes.
    bytes: Vec<u8>,
}

/// What is said of PEM that has no key. The peer's text.
const NO_KEY: &str = "data does not contain any valid public keys";

impl Key {
    /// From a PEM text of a public key, or of a certificate.
    ///
    /// # Errors
    /// That there is none, or none of a kind that is known.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        let (kind, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(text.as_bytes()).map_err(|_| NO_KEY)?;
        let key = match kind {
            SectionKind::PublicKey => {
                let (rest, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| NO_KEY)?;
                if rest.is_empty() { Self::from_info(&info) } else { None }
            }
            SectionKind::Certificate => {
                let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| NO_KEY)?;
                Self::from_info(certificate.public_key())
            }
            _ => None,
        };
        key.ok_or(NO_KEY)
    }

    fn from_info(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let curve = || info.algorithm.parameters.as_ref()?.as_oid().ok();
        let kind = match info.algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.1" => Kind::Rsa,
            "1.2.840.10045.2.1" => match curve()?.to_id_string().as_str() {
                "1.2.840.10045.3.1.7" => Kind::P256,
                "1.3.132.0.34" => Kind::P384,
                "1.3.132.0.35" => Kind::P521,
                _ => return None,
            },
            "1.3.101.112" => Kind::Ed25519,
            _ => return None,
        };
        let bytes = info.subject_public_key.data.to_vec();
        Some(Self { id: None, algorithm: None, kind, bytes })
    }

    /// From a JSON Web Key. `None` for one that is not for signatures, or of a kind that is not known: a set can have any.
    pub fn from_jwk(key: &Object) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        if let Some(Value::Array(operations)) = key.get("key_ops")
            && !operations.iter().any(|one| one.as_str() == Some("verify"))
        {
            return None;
        }
        let number = |name: &str| -> Option<Vec<u8>> {
            let mut bytes = URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes.drain(..zeros);
            Some(bytes)
        };
        let (kind, bytes) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let components = RsaPublicKeyComponents { n: number("n")?, e: number("e")? };
                let der: PublicKeyX509Der<'_> = components.as_der().ok()?;
                (Kind::Rsa, der.as_ref().to_vec())
            }
            ("EC", Some(curve)) => {
                let (kind, len): (Kind, usize) = match curve {
                    "P-256" => (Kind::P256, 32),
                    "P-384" => (Kind::P384, 48),
                    "P-521" => (Kind::P521, 66),
                    _ => return None,
                };
                let mut point = vec![4];
                for name in ["x", "y"] {
                    let number = number(name)?;
                    point.resize(point.len() + len.checked_sub(number.len())?, 0);
                    point.extend_from_slice(&number);
                }
                (kind, point)
            }
            ("OKP", Some("Ed25519")) => (Kind::Ed25519, URL_SAFE_NO_PAD.decode(text("x")?).ok()?),
            _ => return None,
        };
        // A key that names an algorithm is for that one alone; one that is unknown here, for none.
        let algorithm = match text("alg") {
            Some(name) => Some(Algorithm::parse(name).filter(|algorithm| algorithm.kind() == kind)?),
            None => None,
        };
        Some(Self { id: text("kid").map(str::to_owned), algorithm, kind, bytes })
    }

    fn verifies(&self, token: &Jws<'_>) -> bool {
        let named = token.key_id.as_ref().zip(self.id.as_ref()).is_none_or(|(wanted, id)| wanted == id);
        named
            && self.kind == token.algorithm.kind()
            && self.algorithm.is_none_or(|algorithm| algorithm == token.algorithm)
            && UnparsedPublicKey::new(token.algorithm.verification(), &self.bytes)
                .verify(token.signed, &token.signature)
                .is_ok()
    }
}

/// Keys, one of which a token is signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

/// How many keys a set has at most: each may have to be tried.
const MOST: usize = 64;

impl Keys {
    /// From PEM texts.
    ///
    /// # Errors
    /// As [`Key::from_pem`].
    pub fn from_pem(texts: &[String]) -> Result<Self, &'static str> {
        if texts.len() > MOST {
            return Err("more than 64 public keys");
        }
        texts.iter().map(|text| Key::from_pem(text)).collect::<Result<_, _>>().map(Self)
    }

    /// From a JSON Web Key Set.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_jwks(text: &[u8]) -> Result<Self, &'static str> {
        let set = json::parse_strict(text).map_err(|_| "it is not a JSON object")?;
        let Some(Value::Array(keys)) = set.get("keys") else { return Err("it has no list of keys") };
        if keys.len() > MOST {
            return Err("it has more than 64 keys");
        }
        Ok(Self(keys.iter().filter_map(|key| Key::from_jwk(key.as_object()?)).collect()))
    }

    /// What a token says, if one of the keys signed it.
    ///
    /// # Errors
    /// The token, if none did.
    pub fn verify<'t>(&self, token: Jws<'t>) -> Result<Claims, Jws<'t>> {
        if self.0.iter().any(|key| key.verifies(&token)) { Ok(token.danger_unverified()) } else { Err(token) }
    }

    /// The same, for whom no other keys are to be had.
    ///
    /// # Errors
    /// [`TokenError::Signature`].
    pub fn verify_at_last(&self, token: Jws<'_>) -> Result<Claims, TokenError> {
        self.verify(token).map_err(|_| UNKNOWN)
    }
}
