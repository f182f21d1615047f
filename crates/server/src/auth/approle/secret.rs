//! Secret ids.

use std::collections::BTreeMap;

use super::{Role, SecretId, done, missing, name, need_role, role_key, secret_key};
use crate::auth::params::check_cidrs;
use crate::barrier::View;
use crate::core::{is_within, now_nanos, random, time_text};
use crate::json::{self, Object, Value};
use crate::logical::{Call, Error, Response, Result};

pub async fn make(call: &Call<'_>) -> Result<Response> {
    store(call, random::uuid()?).await
}

pub async fn make_custom(call: &Call<'_>) -> Result<Response> {
    let secret = call.input.text("secret_id")?.unwrap_or_default();
    if secret.is_empty() {
        return Err(Error::bad_request("missing secret_id"));
    }
    store(call, secret).await
}

async fn store(call: &Call<'_>, secret: String) -> Result<Response> {
    let (name, mut attempt) = (name(call), 0);
    let key = secret_key(call.storage, &name, &secret).await?;
    loop {
        let mut transaction = call.storage.begin();
        // In the same step, so that none is made for a role that is being deleted: the next role of its name would have it.
        let role: Option<Role> = transaction.read(call.storage, &role_key(&name)).await?;
        let entry = new_entry(call, &role.ok_or_else(|| missing(call))?)?;
        if transaction.get(call.storage, &key).await?.is_some() {
            return Err(Error::wrapped(500, "SecretID is already registered"));
        }
        transaction.write(call.storage, &key, &entry)?;
        transaction.put(call.storage, &format!("accessor/{name}/{}", entry.accessor), key.as_bytes())?;
        if transaction.try_commit(&mut attempt).await? {
            return Ok(Response::data(object! {
                "secret_id": secret,
                "secret_id_accessor": entry.accessor.as_str(),
                "secret_id_num_uses": entry.uses,
                "secret_id_ttl": entry.ttl,
            }));
        }
    }
}

/// A secret id as it is asked for, if its role allows that.
fn new_entry(call: &Call<'_>, role: &Role) -> Result<SecretId> {
    let input = &call.input;
    if !role.bind_secret_id {
        return Err(Error::bad_request("bind_secret_id is not set on the role"));
    }
    let cidrs = input.texts("cidr_list")?.unwrap_or_default();
    let token_cidrs = input.texts("token_bound_cidrs")?.unwrap_or_default();
    check_cidrs(&cidrs)?;
    check_cidrs(&token_cidrs)?;
    check_subset(&role.secret_id_bound_cidrs, &cidrs)?;
    check_subset(&role.params.bound_cidrs, &token_cidrs)?;
    // What a secret id says is at most what its role says.
    let uses = within(input.int("num_uses")?, role.secret_id_num_uses, "num_uses")?;
    let ttl = within(input.seconds("ttl")?, role.secret_id_ttl, "ttl")?;
    let now = now_nanos();
    Ok(SecretId {
        accessor: random::uuid()?,
        uses,
        ttl,
        expires: if ttl > 0 { now.saturating_add(ttl.saturating_mul(1_000_000_000)) } else { 0 },
        created: now,
        updated: now,
        metadata: metadata(call)?,
        cidrs,
        token_cidrs,
    })
}

/// Whether a secret id's networks are all in those of its role.
pub fn check_subset(role: &[String], secret: &[String]) -> Result<()> {
    if role.is_empty() || secret.iter().all(|cidr| is_within(role, cidr)) {
        return Ok(());
    }
    Err(Error::wrapped(
        500,
        &format!(
            "failed to verify subset relationship between CIDR blocks on the role {role:?} and CIDR blocks on the secret ID {secret:?}"
        ),
    ))
}

/// What is asked for, if the role's limit (0: none) allows it; else the limit.
fn within(asked: Option<i64>, limit: i64, what: &str) -> Result<i64> {
    match asked {
        None => Ok(limit),
        Some(..0) => Err(Error::bad_request(format!("{what} cannot be negative"))),
        Some(asked) if limit > 0 && (asked == 0 || asked > limit) => {
            Err(Error::bad_request(format!("{what} cannot be more than the role's limit of {limit}")))
        }
        Some(asked) => Ok(asked),
    }
}

fn metadata(call: &Call<'_>) -> Result<BTreeMap<String, String>> {
    let bad = || Error::bad_request("failed to parse metadata: failed to parse the input: invalid <key,value> format");
    let object = match call.input.raw("metadata") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(object)) => object.clone(),
        Some(Value::String(text)) if text.is_empty() => return Ok(BTreeMap::new()),
        Some(Value::String(text)) => match json::parse_object(text.as_bytes()) {
            Ok(object) => object,
            Err(_) => return pairs(text).ok_or_else(bad),
        },
        Some(_) => return Err(bad()),
    };
    object.into_iter().map(|(key, value)| Ok((key, value.as_str().ok_or_else(bad)?.to_owned()))).collect()
}

/// `a=b,c=d`, in small letters, as the peer has it.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let is_pair = !name.trim().is_empty() && !value.contains('=');
        is_pair.then(|| (name.trim().to_lowercase(), value.trim().to_lowercase()))
    };
    text.split(',').map(pair).collect()
}

pub async fn list(call: &Call<'_>) -> Result<Response> {
    need_role(call).await?;
    Response::list(call.storage.list(&format!("accessor/{}/", name(call)), "", 0).await?)
}

fn shown(entry: &SecretId) -> Object {
    let expires = if entry.expires == 0 { "0001-01-01T00:00:00Z".to_owned() } else { time_text(entry.expires) };
    object! {
        "cidr_list": entry.cidrs.as_slice(),
        "creation_time": time_text(entry.created),
        "expiration_time": expires,
        "last_updated_time": time_text(entry.updated),
        "metadata": Value::from(&entry.metadata),
        "secret_id_accessor": entry.accessor.as_str(),
        "secret_id_num_uses": entry.uses,
        "secret_id_ttl": entry.ttl,
        "token_bound_cidrs": entry.token_cidrs.as_slice(),
    }
}

/// The key of the secret id that a request names.
async fn given(call: &Call<'_>) -> Result<String> {
    need_role(call).await?;
    let secret = call.input.text("secret_id")?.unwrap_or_default();
    if secret.is_empty() {
        return Err(Error::bad_request("missing secret_id"));
    }
    secret_key(call.storage, &name(call), &secret).await
}

pub async fn look_up(call: &Call<'_>) -> Result<Response> {
    let entry: Option<SecretId> = call.storage.read(&given(call).await?).await?;
    match entry.filter(SecretId::is_alive) {
        Some(entry) => Ok(Response::data(shown(&entry))),
        None => Ok(done()),
    }
}

pub async fn destroy(call: &Call<'_>) -> Result<Response> {
    let entry: Option<SecretId> = call.storage.read(&given(call).await?).await?;
    if let Some(entry) = entry {
        remove(call.storage, &name(call), &entry.accessor).await?;
    }
    Ok(done())
}

async fn by_accessor(call: &Call<'_>) -> Result<(String, SecretId)> {
    let accessor = call.input.text("secret_id_accessor")?.unwrap_or_default();
    if accessor.is_empty() || accessor.contains('/') {
        return Err(Error::bad_request("missing secret_id_accessor"));
    }
    need_role(call).await?;
    let missing = || Error::new(404, format!("failed to find accessor entry for secret_id_accessor: {accessor:?}"));
    let key = call.storage.get(&format!("accessor/{}/{accessor}", name(call))).await?.ok_or_else(missing)?;
    let key = String::from_utf8_lossy(&key).into_owned();
    let entry: SecretId = call.storage.read(&key).await?.ok_or_else(missing)?;
    Ok((accessor, entry))
}

pub async fn look_up_accessor(call: &Call<'_>) -> Result<Response> {
    Ok(Response::data(shown(&by_accessor(call).await?.1)))
}

pub async fn destroy_accessor(call: &Call<'_>) -> Result<Response> {
    let (accessor, _) = by_accessor(call).await?;
    remove(call.storage, &name(call), &accessor).await?;
    Ok(done())
}

/// Deletes a secret id and its accessor.
pub async fn remove(storage: &View, role: &str, accessor: &str) -> Result<()> {
    let at = format!("accessor/{role}/{accessor}");
    let mut transaction = storage.begin();
    if let Some(key) = transaction.get(storage, &at).await? {
        transaction.delete(storage, &String::from_utf8_lossy(&key))?;
    }
    transaction.delete(storage, &at)?;
    match transaction.commit().await {
        Err(error) if error.is_conflict() => Ok(()),
        result => Ok(result?),
    }
}

pub async fn tidy(call: &Call<'_>) -> Result<Response> {
    for folder in call.storage.list("accessor/", "", 0).await? {
        for accessor in call.storage.list(&format!("accessor/{folder}"), "", 0).await? {
            let Some(key) = call.storage.get(&format!("accessor/{folder}{accessor}")).await? else { continue };
            let entry: Option<SecretId> = call.storage.read(&String::from_utf8_lossy(&key)).await?;
            if entry.is_none_or(|entry| !entry.is_alive()) {
                remove(call.storage, folder.trim_end_matches('/'), &accessor).await?;
            }
        }
    }
    Ok(Response::empty().warn("Secret ids that have ended were deleted.").with_status(202))
}
