//! `wrapping_key`, `keys/NAME/import` and `import_version`: keys from outside.
//!
//! A key comes as AES-256 key under RSA-OAEP of the wrapping key, and after it the key itself under that (AES-KWP, RFC 5649).

use aws_lc_rs::aead::{AES_256_GCM, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512,
    OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::asymmetric::{Curve, Ecdsa, ed25519_from_pkcs8, rsa_from_pkcs8, rsa_from_public_info, rsa_generate};
use super::batch::text;
use super::encoding::{decode, der_read, from_pem, pem};
use super::manage::rotation;
use super::policy::{HMAC_KEY, KeyType, Policy, Secret, Version};
use super::{Transit, name};
use crate::core::now_nanos;
use crate::logical::{Call, Error, Response, Result};

const WRAPPING: &str = "wrapping";
/// Bytes of what is encrypted with the wrapping key.
const WRAPPED: usize = 512;

fn refused(text: &str) -> Error {
    Error::wrapped(500, text)
}

impl Transit {
    pub(super) async fn wrapping_key(&self, call: &Call<'_>) -> Result<Response> {
        let show = |key: &Version| object! { "public_key": pem("PUBLIC KEY", key.public.expose()) };
        if let Some(key) = call.storage.read::<Version>(WRAPPING).await? {
            return Ok(Response::data(show(&key)));
        }
        let _making = self.keys.making(KeyType::Rsa4096).await;
        if let Some(key) = call.storage.read::<Version>(WRAPPING).await? {
            return Ok(Response::data(show(&key)));
        }
        let made = tokio::task::spawn_blocking(|| rsa_generate(KeyType::Rsa4096)).await;
        let made = made.map_err(|error| Error::internal(&error))?;
        let made = made.ok_or_else(|| Error::internal(&"a key could not be made"))?;
        let mut attempt = 0;
        loop {
            // Who is first makes it.
            let mut transaction = call.storage.begin();
            if let Some(key) = transaction.read::<Version>(call.storage, WRAPPING).await? {
                return Ok(Response::data(show(&key)));
            }
            transaction.write(call.storage, WRAPPING, &made)?;
            if transaction.try_commit(&mut attempt).await? {
                return Ok(Response::data(show(&made)));
            }
        }
    }

    pub(super) async fn import(&self, call: &Call<'_>) -> Result<Response> {
        let flag = |field| Ok::<_, Error>(call.input.bool(field)?.unwrap_or(false));
        if call.input.has("convergent_encryption") {
            return Err(refused("import cannot be used on keys with convergent encryption enabled"));
        }
        let (allow_rotation, auto_rotate) = (flag("allow_rotation")?, rotation(call)?.unwrap_or(0));
        if auto_rotate > 0 && !allow_rotation {
            return Err(refused("allow_rotation must be set to true if auto-rotation is enabled"));
        }
        let asked = text(call, "type")?.to_lowercase();
        let asked = if call.input.has("type") { &asked } else { KeyType::Aes256.name() };
        let kind = KeyType::parse(asked).ok_or_else(|| Error::bad_request(format!("unknown key type: {asked}")))?;
        let derived = flag("derived")?;
        let change = self.keys.change(call.storage, name(call)?).await?;
        if change.key.is_some() {
            return Err(refused(
                "the import path cannot be used with an existing key; use import-version to rotate an existing imported key",
            ));
        }
        if derived && !kind.derives() {
            return Err(refused(&format!("key derivation not supported for keys of type {asked}")));
        }
        let version = brought_in(call, kind, derived).await?;
        let mut policy = Policy {
            derived,
            exportable: flag("exportable")?,
            allow_backup: flag("allow_plaintext_backup")?,
            imported: true,
            allow_rotation,
            auto_rotate,
            key_size: if kind == KeyType::Hmac { version.key.expose().len() } else { 0 },
            ..Policy::new(name(call)?, kind)
        };
        policy.add(version);
        change.store(policy).await?;
        Ok(Response::empty())
    }

    pub(super) async fn import_version(&self, call: &Call<'_>) -> Result<Response> {
        let name = name(call)?;
        let change = self.keys.change(call.storage, name).await?;
        let Some(key) = &change.key else {
            return Err(refused(&format!(
                "no key found with name {name}; to import a new key, use the import/ endpoint"
            )));
        };
        if !key.policy.imported {
            return Err(refused("the import_version endpoint can only be used with an imported key"));
        }
        let mut policy = key.policy.clone();
        let version = brought_in(call, policy.kind, policy.derived).await?;
        let latest = policy.latest;
        match policy.versions.get_mut(&latest) {
            // The private key to a public one that is here already.
            Some(newest) if newest.key.is_empty() && newest.public.expose() == version.public.expose() => {
                newest.key = version.key;
            }
            _ => policy.add(version),
        }
        change.store(policy).await?;
        Ok(Response::empty())
    }
}

/// The key of a request.
async fn brought_in(call: &Call<'_>, kind: KeyType, derived: bool) -> Result<Version> {
    const BROKEN: &str = "error importing key: error parsing asymmetric key: it is not one of this type";
    let made = if call.input.has("ciphertext") {
        let key = unwrapped(call).await?;
        let (key, len) = (key.expose(), key.expose().len());
        let size =
            || refused(&format!("error importing key: invalid key size {len} bytes for key type {}", kind.name()));
        match kind {
            KeyType::Hmac if HMAC_KEY.contains(&len) => Version { key: Secret::from(key), ..Version::default() },
            kind if kind.is_aead() && len == kind.key_len() => Version { key: Secret::from(key), ..Version::default() },
            KeyType::Hmac => return Err(size()),
            kind if kind.is_aead() => return Err(size()),
            KeyType::Ed25519 => ed25519_from_pkcs8(key).ok_or_else(|| refused(BROKEN))?,
            kind => match Curve::of(kind) {
                Some(curve) => Ecdsa::from_pkcs8(curve, key),
                None => rsa_from_pkcs8(kind, key),
            }
            .ok_or_else(|| refused(BROKEN))?,
        }
    } else {
        if !kind.signs() {
            return Err(refused("provided type does not support public_key import"));
        }
        if derived {
            return Err(refused(
                "error importing key: unable to import only public key for derived Ed25519 key: imported key should not be an Ed25519 key pair but is instead an HKDF key",
            ));
        }
        let info = from_pem("PUBLIC KEY", &text(call, "public_key")?);
        let info = info.ok_or_else(|| refused("error importing key: error parsing public key: not in PEM format"))?;
        let info = info.expose();
        let made = match (Curve::of(kind), kind) {
            (Some(curve), _) => Ecdsa::from_public_info(curve, info),
            (None, KeyType::Ed25519) => ed25519_public(info),
            (None, kind) => rsa_from_public_info(kind, info),
        };
        made.ok_or_else(|| refused("error importing key: error parsing public key: it is not one of this type"))?
    };
    let hmac = if kind == KeyType::Hmac { made.key.clone() } else { Secret::random(32)? };
    Ok(Version { hmac, created: now_nanos(), ..made })
}

fn ed25519_public(info: &[u8]) -> Option<Version> {
    let (inner, _) = der_read(0x30, info)?;
    let (algorithm, rest) = der_read(0x30, inner)?;
    let public = der_read(0x03, rest)?.0.get(1..)?;
    let good = algorithm == [0x06, 0x03, 0x2b, 0x65, 0x70] && public.len() == 32;
    good.then(|| Version { public: Secret::from(public), ..Version::default() })
}

async fn unwrapped(call: &Call<'_>) -> Result<Secret> {
    let oaep = match text(call, "hash_function")?.to_uppercase().as_str() {
        "" | "SHA256" => &OAEP_SHA256_MGF1SHA256,
        "SHA1" => &OAEP_SHA1_MGF1SHA1,
        "SHA384" => &OAEP_SHA384_MGF1SHA384,
        "SHA512" => &OAEP_SHA512_MGF1SHA512,
        other => return Err(Error::bad_request(format!("unknown hash function: {other}"))),
    };
    let ciphertext = decode(&text(call, "ciphertext")?).map_err(|error| refused(&error))?;
    let (wrapped_key, wrapped) = ciphertext
        .expose()
        .split_at_checked(WRAPPED)
        .filter(|(_, rest)| !rest.is_empty())
        .ok_or_else(|| refused("provided ciphertext is too short"))?;
    let wrapping = call.storage.read::<Version>(WRAPPING).await?;
    let wrapping = wrapping.ok_or_else(|| refused("there is no wrapping key yet: read wrapping_key first"))?;
    // One text for all that can be wrong: what was decrypted says nothing.
    let open = || {
        let key = PrivateDecryptingKey::from_pkcs8(wrapping.key.expose()).ok()?;
        let key = OaepPrivateDecryptingKey::new(key).ok()?;
        let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
        let outer = key.decrypt(oaep, wrapped_key, &mut buffer, None).ok()?;
        // Only keys of 32 bytes.
        UnboundKey::new(&AES_256_GCM, outer).ok()?;
        let mut out = Zeroizing::new(vec![0; wrapped.len() + 8]);
        let len = AesKek::new(&AES_256, outer).ok()?.unwrap_with_padding(wrapped, &mut out).ok()?.len();
        out.truncate(len);
        Some(Secret::from(out))
    };
    open().ok_or_else(|| {
        refused("the key cannot be unwrapped: it was not wrapped for this wrapping key, or not in this way")
    })
}
