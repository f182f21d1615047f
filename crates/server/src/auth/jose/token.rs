//! Tokens in the compact form: `header.payload.signature`, each in base64 of URLs without padding.

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TokenError;
use super::key::Kind;
use crate::json::{self, Object, Value};

/// How a token is signed: the asymmetric algorithms of RFC 7518 and RFC 8037. There are no others here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PKCS #1 v1.5, SHA-384.
    Rs384,
    /// RSA, PKCS #1 v1.5, SHA-512.
    Rs512,
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// ECDSA, P-521, SHA-512.
    Es512,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// RSA, PSS, SHA-384.
    Ps384,
    /// RSA, PSS, SHA-512.
    Ps512,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::EdDsa,
    ];

    /// Its name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The keys that it is verified with.
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::Es512 => Kind::P521,
            Self::EdDsa => Kind::Ed25519,
        }
    }

    pub(super) fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
            Self::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
            Self::EdDsa => &signature::ED25519,
        }
    }
}

/// A token that was read, and is not believed yet.
pub struct Jws<'t> {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// Which key it says that it is signed with.
    pub key_id: Option<String>,
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    claims: Object,
}

impl<'t> Jws<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// [`TokenError::Signature`] for what is no token, and for one that no public key could verify.
    pub fn parse(text: &'t str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.split('.').collect();
        let &[header, payload, signature] = parts.as_slice() else {
            return Err(TokenError::Signature("compact JWS format must have three parts"));
        };
        let decode = |part: &str| {
            URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Signature("a part of the token is not base64"))
        };
        // Of two entries with one name, two readers could take two: refused.
        let object = |bytes: &[u8]| {
            json::parse_strict(bytes).map_err(|_| TokenError::Signature("a part of the token is not a JSON object"))
        };
        let mut header = object(&decode(header)?)?;
        let named = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = named.ok_or(UNKNOWN)?;
        // Extensions that must be understood (RFC 7515, section 4.1.11): none is.
        if header.contains_key("crit") {
            return Err(UNKNOWN);
        }
        let key_id = match header.remove("kid") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(UNKNOWN),
        };
        let end = text.len() - signature.len() - 1;
        let signed = text.as_bytes().get(..end).unwrap_or_default();
        Ok(Self { algorithm, key_id, signed, signature: decode(signature)?, claims: object(&decode(payload)?)? })
    }

    /// What it says, which anybody may have written.
    pub fn danger_unverified(self) -> super::Claims {
        super::Claims::new(self.claims)
    }
}

/// What no key verifies.
pub(super) const UNKNOWN: TokenError = TokenError::Signature("no known key successfully validated the token signature");
