//! `backup/` and `restore/`: all of a key in the peer's form, so that keys move between the two.
//!
//! The form is base64 of JSON: the policy with the versions that may be used, and beside it all versions in the order of their numbers.

use zeroize::Zeroizing;

use super::asymmetric::{Curve, Ecdsa, ed25519_from_seed, rsa_from_numbers, rsa_from_public_info, rsa_numbers};
use super::batch::text;
use super::encoding::{decode, der_integer, der_write, encode, from_decimal, pem, to_decimal};
use super::key::{Key, SOFT_DELETED};
use super::policy::{HMAC_KEY, KeyType, Policy, Secret, Version};
use super::{Transit, name};
use crate::core::{now_nanos, time_text};
use crate::json::{self, Object, Value};
use crate::logical::{Call, Error, Response, Result};

/// The way of convergent encryption that both have.
const CONVERGENT: i64 = 3;
/// The number of HKDF with SHA-256.
const HKDF: i64 = 1;
/// The longest number of an RSA key, in bytes.
const RSA_BYTES: usize = 513;
/// The longest text of a backup. An entry has 1 MiB, and a backup has each version twice.
const MOST_BYTES: usize = 4 << 20;
/// As many versions as a stored entry has room for, and more.
const MOST_VERSIONS: u64 = 1 << 16;

impl Transit {
    pub(super) async fn backup(&self, call: &Call<'_>) -> Result<Response> {
        let fail = |text: &str| Err(Error::wrapped(500, text));
        let name = name(call)?;
        let change = self.keys.change(call.storage, name).await?;
        let Some(key) = &change.key else { return fail(&format!("key {name:?} not found")) };
        if key.policy.soft_deleted {
            return fail(SOFT_DELETED);
        }
        if !key.policy.exportable {
            return fail("exporting is disallowed on the policy");
        }
        if !key.policy.allow_backup {
            return fail("plaintext backup is disallowed on the policy");
        }
        let policy = Policy { backed_up: Some((now_nanos(), key.policy.latest)), ..key.policy.clone() };
        let key = change.store(policy).await?;
        let written = written(&key).ok_or_else(|| Error::internal(&"a key cannot be backed up"))?;
        let text = Zeroizing::new(json::object_to_vec(&written));
        Ok(Response::data(object! { "backup": encode(&text) }))
    }

    pub(super) async fn restore(&self, call: &Call<'_>) -> Result<Response> {
        let fail = |text: &str| Error::wrapped(500, text);
        let backup = text(call, "backup")?;
        if backup.is_empty() {
            return Err(Error::bad_request("'backup' must be supplied"));
        }
        if backup.len() > MOST_BYTES {
            return Err(fail("the backup is longer than that of any key that can be stored"));
        }
        let backup = decode(&backup).map_err(|error| fail(&error))?;
        // Of RSA keys each takes its time to be checked.
        let read = tokio::task::spawn_blocking(move || {
            let value =
                json::parse_request(backup.expose()).map_err(|error| format!("the backup is no JSON: {error}"))?;
            read(&value).map_err(|error| format!("the backup cannot be restored: {error}"))
        });
        let mut policy = read.await.map_err(|error| Error::internal(&error))?.map_err(|error| fail(&error))?;
        if call.input.captures.iter().any(|(one, _)| *one == "name") {
            name(call)?.clone_into(&mut policy.name);
        } else if !text(call, "name")?.is_empty() {
            policy.name = text(call, "name")?.into_owned();
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        let named = policy.name.chars();
        if !named.clone().all(good) || !edge(named.clone().next()) || !edge(named.last()) {
            return Err(Error::bad_request("the name in the backup is no name of a key; give one in the path"));
        }
        let force = call.input.bool("force")?.unwrap_or(false);
        let change = self.keys.change(call.storage, &policy.name).await?;
        if change.key.is_some() && !force {
            return Err(fail(&format!("key {:?} already exists", policy.name)));
        }
        policy.restored = Some((now_nanos(), policy.latest));
        change.store(policy).await?;
        Ok(Response::empty())
    }
}

fn number(digits: &str) -> Value {
    Value::Number(digits.into())
}

fn bytes(secret: &Secret) -> Value {
    if secret.is_empty() { Value::Null } else { encode(secret.expose()).into() }
}

/// A key as the peer writes it.
fn written(key: &Key) -> Option<Object> {
    let policy = &key.policy;
    let used: Option<Object> = key
        .versions()
        .map(|(number, version)| Some((number.to_string(), written_version(policy, version)?.into())))
        .collect();
    let mut all = Vec::new();
    for number in policy.min_available..=policy.latest {
        // There is none with the number 0, but a place for it.
        let version = policy.versions.get(&number).cloned().unwrap_or_default();
        let mut entry = written_version(policy, &version)?;
        if version.key.is_empty() && version.public.is_empty() {
            entry.insert("time".to_owned(), "0001-01-01T00:00:00Z".into());
        }
        all.push(entry);
    }
    let event = |event: Option<(i64, u64)>| match event {
        Some((time, version)) => object! { "time": time_text(time), "version": version }.into(),
        None => Value::Null,
    };
    let mut written = object! {
        "name": policy.name.as_str(),
        "keys": used?,
        "derived": policy.derived,
        "kdf": if policy.derived { HKDF } else { 0 },
        "convergent_encryption": policy.convergent,
        "exportable": policy.exportable,
        "min_decryption_version": policy.min_decryption,
        "min_encryption_version": policy.min_encryption,
        "latest_version": policy.latest,
        "archive_version": policy.latest,
        "archive_min_version": policy.min_available,
        "min_available_version": policy.min_available,
        "deletion_allowed": policy.deletable,
        "convergent_version": if policy.convergent { -1 } else { 0 },
        "type": policy.kind.number(),
        "backup_info": event(policy.backed_up),
        "restore_info": event(policy.restored),
        "allow_plaintext_backup": policy.allow_backup,
        "version_template": "",
        "storage_prefix": "",
        "auto_rotate_period": policy.auto_rotate.saturating_mul(1_000_000_000),
        "Imported": policy.imported,
        "AllowImportedKeyRotation": policy.allow_rotation,
        "soft_deleted": policy.soft_deleted,
    };
    if policy.key_size != 0 {
        written.insert("key_size".to_owned(), policy.key_size.into());
    }
    Some(object! { "policy": written, "archived_keys": object! { "keys": all } })
}

fn written_version(policy: &Policy, version: &Version) -> Option<Object> {
    let kind = policy.kind;
    let (private, public) = (version.key.expose(), version.public.expose());
    let mut entry = object! {
        "key": Value::Null,
        "hmac_key": bytes(&version.hmac),
        "time": time_text(version.created),
        "ec_x": Value::Null,
        "ec_y": Value::Null,
        "ec_d": Value::Null,
        "rsa_key": Value::Null,
        "rsa_public_key": Value::Null,
        "public_key": "",
        "convergent_version": if policy.convergent && !private.is_empty() { CONVERGENT } else { 0 },
        "creation_time": version.created / 1_000_000_000,
        "certificate_chain": Value::Null,
        "external_key_ref": "",
    };
    let mut put = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
    if let Some(curve) = Curve::of(kind)
        && !public.is_empty()
    {
        let (x, y) = public.get(1..)?.split_at_checked(curve.len)?;
        put("ec_x", number(&to_decimal(x)));
        put("ec_y", number(&to_decimal(y)));
        put("public_key", pem("PUBLIC KEY", &curve.public_info(public)).into());
        if !private.is_empty() {
            put("ec_d", number(&to_decimal(private)));
        }
    } else if kind.is_rsa() && !private.is_empty() {
        let [modulus, exponent, private, first, second, dp, dq, inverse] =
            rsa_numbers(private)?.map(|bytes| number(&to_decimal(bytes)));
        let precomputed = object! { "Dp": dp, "Dq": dq, "Qinv": inverse, "CRTValues": Vec::<Value>::new() };
        let key = object! {
            "N": modulus,
            "E": exponent,
            "D": private,
            "Primes": vec![first, second],
            "Precomputed": precomputed,
        };
        put("rsa_key", key.into());
    } else if kind.is_rsa() && !public.is_empty() {
        let [n, e] = rsa_public_numbers(public)?.map(|bytes| number(&to_decimal(bytes)));
        put("rsa_public_key", object! { "N": n, "E": e }.into());
    } else {
        put("key", bytes(&version.key));
        if kind == KeyType::Ed25519 && !public.is_empty() {
            put("public_key", encode(public).into());
        }
    }
    Some(entry)
}

/// The modulus and the exponent of a `SubjectPublicKeyInfo`.
fn rsa_public_numbers(info: &[u8]) -> Option<[&[u8]; 2]> {
    use super::encoding::der_read;
    let (inner, _) = der_read(0x30, info)?;
    let (_, bits) = der_read(0x30, inner)?;
    let (inner, _) = der_read(0x30, der_read(0x03, bits)?.0.get(1..)?)?;
    let (modulus, rest) = der_read(0x02, inner)?;
    Some([modulus, der_read(0x02, rest)?.0])
}

type Read<T> = std::result::Result<T, &'static str>;

fn field<'v>(object: &'v Object, name: &str) -> Option<&'v Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn int(object: &Object, name: &str) -> Read<i64> {
    match field(object, name) {
        None => Ok(0),
        Some(Value::Number(digits)) => digits.parse().map_err(|_| "a number is out of range"),
        Some(_) => Err("a number is something else"),
    }
}

fn count(object: &Object, name: &str) -> Read<u64> {
    u64::try_from(int(object, name)?).map_err(|_| "a version is negative")
}

fn flag(object: &Object, name: &str) -> Read<bool> {
    match field(object, name) {
        None => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err("a setting is neither true nor false"),
    }
}

fn string<'v>(object: &'v Object, name: &str) -> Read<&'v str> {
    match field(object, name) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err("a text is something else"),
    }
}

fn secret(object: &Object, name: &str) -> Read<Secret> {
    decode(string(object, name)?).map_err(|_| "a key is not base64")
}

fn decimal(object: &Object, name: &str, most: usize) -> Read<Secret> {
    let Some(Value::Number(digits)) = field(object, name) else { return Err("a number of a key is missing") };
    from_decimal(digits, most).ok_or("a number of a key is out of range")
}

/// Reads what [`written`] or the peer wrote, and lets nothing through that could not have been made.
fn read(whole: &Object) -> Read<Policy> {
    const WHOLE: &str = "it has no policy";
    let stored = field(whole, "policy").and_then(Value::as_object).ok_or(WHOLE)?;
    let kind = KeyType::by_number(count(stored, "type")?).ok_or("this type of key is not known here")?;
    let (derived, convergent) = (flag(stored, "derived")?, flag(stored, "convergent_encryption")?);
    if derived && (int(stored, "kdf")? != HKDF || !kind.derives()) {
        return Err("its keys are derived in a way that is not known here");
    }
    if convergent && (!derived || !kind.is_aead()) || !string(stored, "version_template")?.is_empty() {
        return Err("it encrypts in a way that is not known here");
    }
    let latest = count(stored, "latest_version")?;
    let mut policy = Policy {
        key_size: usize::try_from(int(stored, "key_size")?).map_err(|_| "a size is negative")?,
        derived,
        convergent,
        exportable: flag(stored, "exportable")?,
        allow_backup: flag(stored, "allow_plaintext_backup")?,
        deletable: flag(stored, "deletion_allowed")?,
        soft_deleted: flag(stored, "soft_deleted")?,
        imported: flag(stored, "Imported")?,
        allow_rotation: flag(stored, "AllowImportedKeyRotation")?,
        latest,
        min_available: count(stored, "min_available_version")?,
        min_decryption: count(stored, "min_decryption_version")?.max(1),
        min_encryption: count(stored, "min_encryption_version")?,
        auto_rotate: int(stored, "auto_rotate_period")? / 1_000_000_000,
        backed_up: event(stored, "backup_info")?,
        ..Policy::new(string(stored, "name")?, kind)
    };
    let ordered = policy.min_available <= policy.min_decryption
        && policy.min_decryption <= latest
        && (policy.min_encryption == 0 || policy.min_decryption <= policy.min_encryption)
        && policy.min_encryption <= latest
        && latest <= MOST_VERSIONS;
    if !ordered || policy.auto_rotate != 0 && policy.auto_rotate < 3600 {
        return Err("its versions or its period are out of range");
    }
    if (kind == KeyType::Hmac) != (policy.key_size != 0) && kind != KeyType::Hmac {
        return Err("a size is given for a key that has none");
    }
    let used = field(stored, "keys").and_then(Value::as_object).ok_or("it has no keys")?;
    let archive = field(whole, "archived_keys").and_then(Value::as_object).and_then(|all| field(all, "keys"));
    let archive = match archive {
        Some(Value::Array(archive)) => archive.as_slice(),
        _ => &[],
    };
    for number in policy.min_available.max(1)..=latest {
        let place = usize::try_from(number - policy.min_available).map_err(|_| "too many versions")?;
        let entry = field(used, &number.to_string()).or_else(|| archive.get(place)).and_then(Value::as_object);
        match entry {
            Some(entry) => drop(policy.versions.insert(number, read_version(&policy, entry)?)),
            None if number < policy.min_decryption => {}
            None => return Err("a version is missing"),
        }
    }
    Ok(policy)
}

fn event(stored: &Object, name: &str) -> Read<Option<(i64, u64)>> {
    let Some(Value::Object(event)) = field(stored, name) else { return Ok(None) };
    Ok(Some((time(event, "time")?, count(event, "version")?)))
}

fn time(object: &Object, name: &str) -> Read<i64> {
    let text = string(object, name)?;
    let time: jiff::Timestamp = text.parse().map_err(|_| "a time is no time")?;
    i64::try_from(time.as_nanosecond()).map_err(|_| "a time is out of range")
}

fn read_version(policy: &Policy, entry: &Object) -> Read<Version> {
    const BROKEN: &str = "a key is not one of its type";
    let kind = policy.kind;
    if policy.convergent && int(entry, "convergent_version")? != CONVERGENT {
        return Err("it encrypts convergently in an old way that is refused");
    }
    let key = secret(entry, "key")?;
    let made = match kind {
        KeyType::Hmac if HMAC_KEY.contains(&key.expose().len()) => Version { key, ..Version::default() },
        kind if kind.is_aead() && key.expose().len() == kind.key_len() => Version { key, ..Version::default() },
        KeyType::Ed25519 if key.is_empty() && !policy.derived => {
            let public = secret(entry, "public_key")?;
            if public.expose().len() != 32 {
                return Err(BROKEN);
            }
            Version { public, ..Version::default() }
        }
        KeyType::Ed25519 => {
            let made = key.expose().get(..32).and_then(ed25519_from_seed).ok_or(BROKEN)?;
            // Seed and public key belong together.
            if made.key.expose() != key.expose() {
                return Err(BROKEN);
            }
            made
        }
        kind if kind.is_rsa() => read_rsa(kind, entry)?.ok_or(BROKEN)?,
        kind => {
            let curve = Curve::of(kind).ok_or(BROKEN)?;
            let (x, y) = (decimal(entry, "ec_x", curve.len)?, decimal(entry, "ec_y", curve.len)?);
            let scalar = field(entry, "ec_d").map(|_| decimal(entry, "ec_d", curve.len)).transpose()?;
            let scalar = scalar.as_ref().map(Secret::expose);
            Ecdsa::from_numbers(curve, scalar, x.expose(), y.expose()).ok_or(BROKEN)?
        }
    };
    let created = time(entry, "time")?;
    Ok(Version { hmac: secret(entry, "hmac_key")?, created, ..made })
}

fn read_rsa(kind: KeyType, entry: &Object) -> Read<Option<Version>> {
    if let Some(Value::Object(key)) = field(entry, "rsa_key") {
        let Some(Value::Array(primes)) = field(key, "Primes") else { return Ok(None) };
        let prime = |at: usize| match primes.get(at) {
            Some(Value::Number(digits)) if primes.len() == 2 => {
                from_decimal(digits, RSA_BYTES).ok_or("a number of a key is out of range")
            }
            _ => Err("an RSA key has not two primes"),
        };
        let Some(Value::Object(more)) = field(key, "Precomputed") else { return Ok(None) };
        let numbers = [
            decimal(key, "N", RSA_BYTES)?,
            decimal(key, "E", RSA_BYTES)?,
            decimal(key, "D", RSA_BYTES)?,
            prime(0)?,
            prime(1)?,
            decimal(more, "Dp", RSA_BYTES)?,
            decimal(more, "Dq", RSA_BYTES)?,
            decimal(more, "Qinv", RSA_BYTES)?,
        ];
        return Ok(rsa_from_numbers(kind, &numbers));
    }
    let Some(Value::Object(public)) = field(entry, "rsa_public_key") else { return Ok(None) };
    let mut inner = Vec::new();
    der_integer(decimal(public, "N", RSA_BYTES)?.expose(), &mut inner);
    der_integer(decimal(public, "E", RSA_BYTES)?.expose(), &mut inner);
    let mut key = vec![0];
    der_write(0x30, &inner, &mut key);
    // rsaEncryption, with parameters that are NULL.
    let mut info = Vec::new();
    der_write(0x30, &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00], &mut info);
    der_write(0x03, &key, &mut info);
    let mut der = Vec::new();
    der_write(0x30, &info, &mut der);
    Ok(rsa_from_public_info(kind, &der))
}
