//! `keys/`, `config/keys` and `cache-config`: making keys, and what they may do.

use super::asymmetric::Curve;
use super::batch::text;
use super::crypt::context;
use super::encoding::{encode, pem};
use super::key::{Key, SOFT_DELETED};
use super::keys::{self, Keys, generate};
use super::policy::{HMAC_KEY, KeyType, Policy, Version};
use super::{Transit, name};
use crate::core::time_text;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result};

const ROTATION: &str = "auto rotate period must be 0 to disable or at least an hour";

/// The period of rotation that a request asks for, in seconds.
pub fn rotation(call: &Call<'_>) -> Result<Option<i64>> {
    let period = call.input.seconds("auto_rotate_period")?;
    if period.is_some_and(|period| period != 0 && period < 3600) {
        return Err(Error::bad_request(ROTATION));
    }
    Ok(period)
}

impl Transit {
    pub(super) async fn list_keys(&self, call: &Call<'_>) -> Result<Response> {
        let (after, limit) = call.input.page()?;
        Response::list(call.storage.list(keys::FOLDER, &after, limit).await?)
    }

    pub(super) async fn create_key(&self, call: &Call<'_>) -> Result<Response> {
        let name = name(call)?;
        let flag = |field| Ok::<_, Error>(call.input.bool(field)?.unwrap_or(false));
        let (derived, convergent) = (flag("derived")?, flag("convergent_encryption")?);
        let auto_rotate = rotation(call)?.unwrap_or(0);
        if convergent && !derived {
            return Err(Error::bad_request("convergent encryption requires derivation to be enabled"));
        }
        let asked = text(call, "type")?;
        let asked = if call.input.has("type") { &asked } else { KeyType::Aes256.name() };
        let kind = KeyType::parse(asked).ok_or_else(|| Error::bad_request(format!("unknown key type {asked}")))?;
        let size = call.input.int("key_size")?.unwrap_or(0);
        let key_size = usize::try_from(size).ok().filter(|size| *size == 0 || HMAC_KEY.contains(size));
        if size != 0 && kind != KeyType::Hmac {
            return Err(Error::bad_request(format!("key_size is not valid for algorithm {asked}")));
        }
        let key_size = key_size.ok_or_else(|| Error::bad_request(format!("invalid key_size {size}")))?;
        if let Some(key) = self.keys.find(call.storage, name).await? {
            return Ok(Response::data(shown(&key, &[])?));
        }
        let refused = match (derived && !kind.derives(), convergent && !kind.is_aead()) {
            (true, _) => "key derivation and convergent encryption",
            (false, true) => "convergent encryption",
            (false, false) => "",
        };
        if !refused.is_empty() {
            return Err(Error::wrapped(500, &format!("{refused} not supported for keys of type {asked}")));
        }
        let mut policy = Policy {
            key_size,
            derived,
            convergent,
            auto_rotate,
            exportable: flag("exportable")?,
            allow_backup: flag("allow_plaintext_backup")?,
            ..Policy::new(name, kind)
        };
        // Made before the lock is taken: RSA takes seconds.
        let _making = self.keys.making(kind).await;
        policy.add(generate(kind, key_size).await?);
        let change = self.keys.change(call.storage, name).await?;
        let key = match change.key.clone() {
            Some(key) => key,
            None => change.store(policy).await?,
        };
        Ok(Response::data(shown(&key, &[])?))
    }

    pub(super) async fn read_key(&self, call: &Call<'_>) -> Result<Response> {
        let key = self.keys.find(call.storage, name(call)?).await?.ok_or_else(Error::not_found)?;
        Ok(Response::data(shown(&key, context(call)?.expose())?))
    }

    pub(super) async fn delete_key(&self, call: &Call<'_>) -> Result<Response> {
        let name = name(call)?;
        let change = self.keys.change(call.storage, name).await?;
        let refused = match &change.key {
            None => Some("could not delete key; not found"),
            Some(key) if !key.policy.deletable => Some("deletion is not allowed for this key"),
            Some(_) => None,
        };
        if let Some(reason) = refused {
            return Err(Error::bad_request(format!("error deleting policy {name}: {reason}")));
        }
        change.delete().await?;
        Ok(Response::empty())
    }

    pub(super) async fn soft_delete(&self, call: &Call<'_>, gone: bool) -> Result<Response> {
        let change = self.keys.change(call.storage, name(call)?).await?;
        let Some(key) = &change.key else { return Ok(Response::empty()) };
        let done = key.policy.soft_deleted == gone;
        let policy = Policy { soft_deleted: gone, ..key.policy.clone() };
        let key = change.store(policy).await?;
        let response = Response::data(shown(&key, &[])?);
        Ok(match (done, gone) {
            (false, _) => response,
            (true, true) => response.warn("key was already marked as soft deleted"),
            (true, false) => response.warn("key was already restored"),
        })
    }

    pub(super) async fn rotate_key(&self, call: &Call<'_>) -> Result<Response> {
        let usable = |key: &Key| {
            if key.policy.soft_deleted { Err(Error::wrapped(500, SOFT_DELETED)) } else { Ok(true) }
        };
        let key = self.keys.rotate(call.storage, name(call)?, usable).await?;
        Ok(Response::data(shown(&*key.ok_or_else(|| Error::bad_request("key not found"))?, &[])?))
    }

    pub(super) async fn configure_key(&self, call: &Call<'_>) -> Result<Response> {
        let (name, input) = (name(call)?, &call.input);
        let change = self.keys.change(call.storage, name).await?;
        let Some(key) = &change.key else {
            return Err(Error::bad_request(format!("no existing key named {name} could be found")));
        };
        let (mut policy, mut warning) = (key.policy.clone(), None);
        let mut changed = false;
        let mut set = |changes: bool| changed |= changes;
        if let Some(asked) = input.int("min_decryption_version")? {
            let mut version = version(asked, policy.latest, "decryption")?;
            if version == 0 {
                version = 1;
                warning = Some(
                    "since Vault 0.3 (prior to the OpenBao fork), transit key numbering starts at 1; forcing minimum to 1",
                );
            }
            set(version != policy.min_decryption);
            policy.min_decryption = version;
        }
        if let Some(asked) = input.int("min_encryption_version")? {
            let version = version(asked, policy.latest, "encryption")?;
            set(version != policy.min_encryption);
            policy.min_encryption = version;
        }
        if policy.min_encryption > 0 && policy.min_encryption < policy.min_decryption {
            return Err(Error::bad_request(format!(
                "cannot set min encryption/decryption values; min encryption version of {} must be greater than or equal to min decryption version of {}",
                policy.min_encryption, policy.min_decryption
            )));
        }
        if let Some(deletable) = input.bool("deletion_allowed")? {
            set(deletable != policy.deletable);
            policy.deletable = deletable;
        }
        // What was once allowed stays so: keys may be out already.
        if input.bool("exportable")? == Some(true) {
            set(!policy.exportable);
            policy.exportable = true;
        }
        if input.bool("allow_plaintext_backup")? == Some(true) {
            set(!policy.allow_backup);
            policy.allow_backup = true;
        }
        if let Some(period) = rotation(call)? {
            set(period != policy.auto_rotate);
            policy.auto_rotate = period;
        }
        let key = if changed {
            if policy.min_available > policy.min_encryption {
                return Err(Error::bad_request("min encryption version should not be less than min available version"));
            }
            if policy.min_available > policy.min_decryption {
                return Err(Error::bad_request("min decryption version should not be less then min available version"));
            }
            change.store(policy).await?
        } else {
            std::sync::Arc::clone(key)
        };
        let response = Response::data(shown(&key, &[])?);
        Ok(match warning {
            Some(warning) => response.warn(warning),
            None => response,
        })
    }

    pub(super) async fn trim_key(&self, call: &Call<'_>) -> Result<Response> {
        let change = self.keys.change(call.storage, name(call)?).await?;
        let Some(key) = &change.key else { return Err(Error::bad_request("invalid key name")) };
        let mut policy = key.policy.clone();
        let asked = call.input.int("min_available_version")?;
        let asked = asked.ok_or_else(|| Error::bad_request("missing min_available_version"))?;
        let fail = |what: &str| Err(Error::bad_request(format!("minimum available version {what}")));
        let version = match u64::try_from(asked) {
            Ok(version) if version >= policy.min_available => version,
            _ => return fail("cannot be decremented"),
        };
        if policy.min_encryption == 0 {
            return fail("cannot be set when minimum encryption version is not set");
        }
        if version > policy.min_encryption {
            return fail("cannot be greater than minmum encryption version");
        }
        if version > policy.min_decryption {
            return fail("cannot be greater than minimum decryption version");
        }
        if version == 0 {
            return fail("should be positive");
        }
        policy.min_available = version;
        policy.versions.retain(|number, _| *number >= version);
        let key = change.store(policy).await?;
        Ok(Response::data(shown(&key, &[])?))
    }

    pub(super) async fn read_keys_config(&self, call: &Call<'_>) -> Result<Response> {
        let config = Keys::config(call.storage).await?;
        Ok(Response::data(object! { "disable_upsert": config.no_upsert }))
    }

    pub(super) async fn write_keys_config(&self, call: &Call<'_>) -> Result<Response> {
        let no_upsert = call.input.bool("disable_upsert")?.unwrap_or(false);
        let config = self.keys.configure(call.storage, |config| config.no_upsert = no_upsert).await?;
        Ok(Response::data(object! { "disable_upsert": config.no_upsert }))
    }

    pub(super) async fn read_cache_config(&self, call: &Call<'_>) -> Result<Response> {
        Ok(Response::data(object! { "size": Keys::config(call.storage).await?.cache_size }))
    }

    pub(super) async fn write_cache_config(&self, call: &Call<'_>) -> Result<Response> {
        let size = usize::try_from(call.input.int("size")?.unwrap_or(0)).ok().filter(|size| *size == 0 || *size >= 10);
        let size = size.ok_or_else(|| Error::bad_request("size must be 0 or a value greater or equal to 10"))?;
        let config = self.keys.configure(call.storage, |config| config.cache_size = size).await?;
        Ok(Response::data(object! { "size": config.cache_size }))
    }
}

fn version(asked: i64, latest: u64, what: &str) -> Result<u64> {
    let version =
        u64::try_from(asked).map_err(|_| Error::bad_request(format!("min {what} version cannot be negative")))?;
    if version > latest {
        return Err(Error::bad_request(format!(
            "cannot set min {what} version of {version}, latest key version is {latest}"
        )));
    }
    Ok(version)
}

/// What is said of a key. `context` is for the public keys that are derived.
fn shown(key: &Key, context: &[u8]) -> Result<Object> {
    let policy = &key.policy;
    let kind = policy.kind;
    let mut data = object! {
        "name": policy.name.as_str(),
        "type": kind.name(),
        "derived": policy.derived,
        "deletion_allowed": policy.deletable,
        "min_available_version": policy.min_available,
        "min_decryption_version": policy.min_decryption,
        "min_encryption_version": policy.min_encryption,
        "latest_version": policy.latest,
        "exportable": policy.exportable,
        "allow_plaintext_backup": policy.allow_backup,
        "supports_encryption": kind.encrypts(),
        "supports_decryption": kind.encrypts(),
        "supports_signing": kind.signs(),
        "supports_derivation": kind.derives(),
        "auto_rotate_period": policy.auto_rotate,
        "imported_key": policy.imported,
        "soft_deleted": policy.soft_deleted,
    };
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    if policy.key_size != 0 {
        put("key_size", policy.key_size.into());
    }
    if policy.imported {
        put("imported_key_allow_rotation", policy.allow_rotation.into());
    }
    for (name, event) in [("backup_info", policy.backed_up), ("restore_info", policy.restored)] {
        if let Some((time, version)) = event {
            put(name, object! { "time": time_text(time), "version": version }.into());
        }
    }
    if policy.derived {
        put("kdf", "hkdf_sha256".into());
        put("convergent_encryption", policy.convergent.into());
        if policy.convergent {
            // Each version says its own, and that is the third.
            put("convergent_encryption_version", (-1).into());
        }
    }
    if kind != KeyType::Hmac {
        let versions = key
            .versions()
            .map(|(number, version)| Ok((number.to_string(), shown_version(key, number, version, context)?)))
            .collect::<Result<Object>>()?;
        put("keys", versions.into());
    }
    Ok(data)
}

fn shown_version(key: &Key, number: u64, version: &Version, context: &[u8]) -> Result<Value> {
    let kind = key.policy.kind;
    if kind.is_aead() {
        return Ok((version.created / 1_000_000_000).into());
    }
    let public = version.public.expose();
    let (name, public) = match Curve::of(kind) {
        Some(curve) => (curve.name, pem("PUBLIC KEY", &curve.public_info(public))),
        None if kind == KeyType::Ed25519 && !key.policy.derived => ("ed25519", encode(public)),
        None if kind == KeyType::Ed25519 && context.is_empty() => ("ed25519", String::new()),
        None if kind == KeyType::Ed25519 => {
            let public = key.derived_public(number, context);
            ("ed25519", public.map_err(|failure| Error::wrapped(500, failure.text()))?)
        }
        None => (kind.name(), pem("PUBLIC KEY", public)),
    };
    Ok(object! {
        "certificate_chain": "",
        "creation_time": time_text(version.created),
        "name": name,
        "public_key": public,
    }
    .into())
}
