//! `export/`: the keys themselves, of a key that allows it.

use zeroize::Zeroizing;

use super::asymmetric::{Curve, ed25519_pkcs8, ed25519_public_info, rsa_pkcs1};
use super::batch::text;
use super::encoding::{encode, pem};
use super::key::{Key, SOFT_DELETED};
use super::policy::{KeyType, Version};
use super::{Transit, name};
use crate::json::Object;
use crate::logical::{Call, Error, Response, Result};

/// Which part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Encryption,
    Signing,
    Hmac,
    Public,
    Certificates,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Usual,
    Raw,
    Der,
    Pem,
}

impl Transit {
    pub(super) async fn export(&self, call: &Call<'_>) -> Result<Response> {
        let bad = |text: &str| Error::bad_request(text);
        let asked = call.input.capture("type");
        let part = match asked {
            "encryption-key" => Part::Encryption,
            "signing-key" => Part::Signing,
            "hmac-key" => Part::Hmac,
            "public-key" => Part::Public,
            "certificate-chain" => Part::Certificates,
            other => return Err(Error::bad_request(format!("invalid export type: {other}"))),
        };
        let form = match text(call, "format")?.as_ref() {
            "" => Form::Usual,
            "raw" => Form::Raw,
            "der" => Form::Der,
            "pem" => Form::Pem,
            other => return Err(Error::bad_request(format!("invalid format: {other}"))),
        };
        let key = self.keys.find(call.storage, name(call)?).await?.ok_or_else(Error::not_found)?;
        let (policy, kind) = (&key.policy, key.policy.kind);
        if !policy.exportable && !matches!(part, Part::Public | Part::Certificates) {
            return Err(bad("private key material is not exportable"));
        }
        if policy.soft_deleted {
            return Err(Error::wrapped(500, SOFT_DELETED));
        }
        match part {
            Part::Encryption if !kind.encrypts() => return Err(bad("encryption not supported for the key")),
            Part::Signing if !kind.signs() => return Err(bad("signing not supported for the key")),
            Part::Certificates if !kind.signs() => {
                return Err(bad("certificate chain not supported for keys that do not support signing"));
            }
            // What it holds is the half of a key of HKDF.
            Part::Public if policy.derived && kind == KeyType::Ed25519 => {
                return Err(bad("a derived key has a public key for each context: read the key with one"));
            }
            _ => {}
        }
        let mut exported = Object::new();
        let wanted = call.input.capture("version");
        let mut add = |number: u64, version: &Version| {
            let text = exported_version(&key, number, version, part, form)
                .map_err(|text| Error::wrapped(500, &text.replace("{type}", kind.name()).replace("{part}", asked)))?;
            exported.insert(number.to_string(), text.into());
            Ok::<_, Error>(())
        };
        if wanted.is_empty() {
            for (number, version) in key.versions() {
                add(number, version)?;
            }
        } else {
            let number = match wanted {
                "latest" => policy.latest,
                digits => {
                    let number = digits.strip_prefix('v').unwrap_or(digits).parse::<i64>();
                    let number = number.map_err(|_| bad("invalid key version"))?;
                    u64::try_from(number).unwrap_or(0)
                }
            };
            if number < policy.min_decryption {
                return Err(bad("version for export is below minimum decryption version"));
            }
            let version = key.version(number).map_err(|_| bad("version does not exist or cannot be found"))?;
            add(number, version)?;
        }
        Ok(Response::data(object! { "name": policy.name.as_str(), "type": kind.name(), "keys": exported }))
    }
}

fn exported_version(
    key: &Key,
    number: u64,
    version: &Version,
    part: Part,
    form: Form,
) -> std::result::Result<String, &'static str> {
    const NO_RSA: &str = "unknown key format for rsa key; supported values are ``, `der`, or `pem`";
    const NO_EC: &str = "unknown key format for ec key; supported values are ``, `der`, or `pem`";
    const NO_BYTES: &str = "unknown format for HMAC key; supported values are `` or `raw`";
    let kind = key.policy.kind;
    let private = version.key.expose();
    let armour = |label: &str, der: &[u8]| match form {
        Form::Der => encode(der),
        _ => pem(label, der),
    };
    // Of these keys the peer cuts the last line end off.
    let trimmed = |label: &str, der: &[u8]| armour(label, der).trim_end().to_owned();
    let bytes = |bytes: &[u8]| if matches!(form, Form::Der | Form::Pem) { Err(NO_BYTES) } else { Ok(encode(bytes)) };
    match part {
        Part::Hmac if kind == KeyType::Hmac => bytes(private),
        Part::Hmac => bytes(version.hmac.expose()),
        Part::Encryption if kind.is_aead() => bytes(private),
        Part::Encryption | Part::Signing if kind.is_rsa() => match form {
            Form::Raw => Err(NO_RSA),
            _ if private.is_empty() => Ok(String::new()),
            Form::Usual => Ok(pem("RSA PRIVATE KEY", rsa_pkcs1(private).unwrap_or_default())),
            Form::Der | Form::Pem => Ok(armour("PRIVATE KEY", private)),
        },
        Part::Signing if kind.is_ecdsa() => match form {
            Form::Raw => Err(NO_EC),
            _ if private.is_empty() => Ok(String::new()),
            _ => {
                let (own, pkcs8) = key.ecdsa_ders(number).ok_or("the stored key cannot be read")?;
                Ok(match form {
                    Form::Usual => trimmed("EC PRIVATE KEY", &own),
                    _ => trimmed("PRIVATE KEY", &pkcs8),
                })
            }
        },
        Part::Signing if kind == KeyType::Ed25519 => Ok(match form {
            _ if private.is_empty() => String::new(),
            Form::Usual | Form::Raw => encode(private),
            Form::Der | Form::Pem => {
                let seed: Zeroizing<Vec<u8>> = Zeroizing::new(private.get(..32).unwrap_or_default().to_vec());
                trimmed("PRIVATE KEY", &ed25519_pkcs8(&seed))
            }
        }),
        Part::Public if kind.is_rsa() && form == Form::Raw => Err(NO_RSA),
        Part::Public if kind.is_rsa() => Ok(armour("PUBLIC KEY", version.public.expose())),
        Part::Public if kind.is_ecdsa() && form == Form::Raw => Err(NO_EC),
        Part::Public if kind == KeyType::Ed25519 => Ok(match form {
            Form::Usual | Form::Raw => encode(version.public.expose()),
            Form::Der | Form::Pem => trimmed("PUBLIC KEY", &ed25519_public_info(version.public.expose())),
        }),
        Part::Public => match Curve::of(kind) {
            Some(curve) => Ok(trimmed("PUBLIC KEY", &curve.public_info(version.public.expose()))),
            None => Err("unknown key type {type} for export type {part}"),
        },
        Part::Certificates => Err("selected key version does not have a certificate chain imported"),
        Part::Encryption | Part::Signing => Err("unknown key type {type} for export type {part}"),
    }
}
