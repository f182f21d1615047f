//! Private keys: made, read from PEM and written as sprig writes them (PKCS #1 for RSA, SEC 1 for EC, PKCS #8 for Ed25519).

use std::time::Instant;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::{Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::Text;

/// Steps of RSA keys, by the time they take, which chance decides: 85 ms and 400 ms on average.
pub(super) const RSA_2048: u64 = 1_000_000;
const RSA_4096: u64 = 5_000_000;

pub(super) fn add(all: &mut Vec<Function>) {
    all.push(Function::new("genPrivateKey", &[Param::Text], |meter, args| {
        let key = match args.text(0) {
            b"" | b"rsa" => {
                meter.steps(RSA_4096)?;
                PrivateKey::rsa(KeySize::Rsa4096)?
            }
            b"ecdsa" => {
                meter.steps(10_000)?;
                let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| NOT_MADE)?;
                let der = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&key.private_key()).map_err(|_| NOT_MADE)?;
                PrivateKey { kind: Kind::Ec, der: Zeroizing::new(der.as_ref().to_vec()) }
            }
            b"ed25519" => {
                meter.steps(10_000)?;
                let key = Ed25519KeyPair::generate().map_err(|_| NOT_MADE)?;
                let der = key.to_pkcs8v1().map_err(|_| NOT_MADE)?;
                PrivateKey { kind: Kind::Pkcs8, der: Zeroizing::new(der.as_ref().to_vec()) }
            }
            b"dsa" => return Err("DSA keys are not made: they are obsolete; use rsa, ecdsa or ed25519".into()),
            _ => return Err("unknown type of key; there are rsa, ecdsa and ed25519".into()),
        };
        meter.memory(key.der.len() * 2)?;
        Ok(key.to_pem().into())
    }));
}

const NOT_MADE: &str = "the key could not be made";

/// How a key is encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pkcs1,
    Ec,
    Pkcs8,
}

/// A private key.
pub(super) struct PrivateKey {
    kind: Kind,
    der: Zeroizing<Vec<u8>>,
}

impl PrivateKey {
    /// A new RSA key.
    pub fn rsa(size: KeySize) -> Result<Self, Failure> {
        let key = RsaKeyPair::generate(size).map_err(|_| NOT_MADE)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(|_| NOT_MADE)?;
        let inner = inside_pkcs8(der.as_ref()).ok_or(NOT_MADE)?;
        Ok(Self { kind: Kind::Pkcs1, der: Zeroizing::new(inner.to_vec()) })
    }

    /// The first block of a PEM text.
    pub fn from_pem(text: &[u8]) -> Result<Self, Failure> {
        let block = pem_block(text).ok_or("no PEM data in input")?;
        let kind = match block.label {
            "PRIVATE KEY" => Kind::Pkcs8,
            "RSA PRIVATE KEY" => Kind::Pkcs1,
            "EC PRIVATE KEY" => Kind::Ec,
            _ => return Err("the PEM block is no private key of RSA, EC or PKCS #8".into()),
        };
        Ok(Self { kind, der: block.der })
    }

    /// The key to sign with.
    pub fn key_pair(&self, meter: &mut Meter) -> Result<KeyPair, Failure> {
        let bad = |_| Failure::from("the private key cannot be read, or is of a kind that cannot sign");
        let start = Instant::now();
        let pair = match self.kind {
            Kind::Pkcs8 => KeyPair::from_pem(&self.labelled("PRIVATE KEY")),
            Kind::Pkcs1 => KeyPair::from_pem(&self.labelled("RSA PRIVATE KEY")),
            Kind::Ec => KeyPair::from_pem(&self.labelled("EC PRIVATE KEY")),
        };
        // Keys have many sizes.
        meter.took(start)?;
        pair.map_err(bad)
    }

    /// As sprig writes it: RSA and EC keys never as PKCS #8.
    pub fn to_pem(&self) -> Text {
        let label = match self.kind {
            Kind::Pkcs1 => "RSA PRIVATE KEY",
            Kind::Ec => "EC PRIVATE KEY",
            Kind::Pkcs8 => {
                let rsa = inside_pkcs8(&self.der).filter(|_| RsaKeyPair::from_pkcs8(&self.der).is_ok());
                if let Some(inner) = rsa {
                    let key = Self { kind: Kind::Pkcs1, der: Zeroizing::new(inner.to_vec()) };
                    return key.to_pem();
                }
                let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.der).ok();
                let der = ec.and_then(|key| {
                    let der = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&key.private_key()).ok()?;
                    Some(Zeroizing::new(der.as_ref().to_vec()))
                });
                if let Some(der) = der {
                    return Self { kind: Kind::Ec, der }.to_pem();
                }
                "PRIVATE KEY"
            }
        };
        Text::from(self.labelled(label).as_str())
    }

    fn labelled(&self, label: &str) -> Zeroizing<String> {
        pem(label, &self.der)
    }
}

/// A block of PEM.
pub(super) struct Block<'a> {
    pub label: &'a str,
    pub der: Zeroizing<Vec<u8>>,
}

/// The first block in a text.
pub(super) fn pem_block(text: &[u8]) -> Option<Block<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let start = text.find("-----BEGIN ")? + "-----BEGIN ".len();
    let (label, rest) = text[start..].split_once("-----")?;
    let end = rest.find(&format!("-----END {label}-----"))?;
    // Room for all at once: growing would leave a copy behind.
    let mut body = Zeroizing::new(String::with_capacity(end));
    // Headers, which a blank line ends, are not part of it.
    body.extend(rest[..end].lines().filter(|line| !line.contains(':')).flat_map(str::split_whitespace));
    Some(Block { label, der: Zeroizing::new(STANDARD.decode(body.as_bytes()).ok()?) })
}

/// Writes a block: lines of 64 characters.
pub(super) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut out = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 2 * label.len() + 40));
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    for at in (0..body.len()).step_by(64) {
        out.push_str(&body[at..body.len().min(at + 64)]);
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// The octets in a PKCS #8 structure: SEQUENCE { INTEGER, SEQUENCE, OCTET STRING } (RFC 5208).
fn inside_pkcs8(der: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(der, 0x30)?;
    let (_, rest) = element(outer, 0x02)?;
    let (_, rest) = element(rest, 0x30)?;
    element(rest, 0x04).map(|(octets, _)| octets)
}

/// The contents of a DER element, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}
