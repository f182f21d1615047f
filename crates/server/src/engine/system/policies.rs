//! `sys/policy` and `sys/policies/acl`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::System;
use crate::core::policy::Policy;
use crate::core::time_text;
use crate::json::Object;
use crate::logical::{Call, Error, Response, Result};

pub async fn list(system: &System, _: &Call<'_>) -> Result<Response> {
    Response::list(names(system).await?)
}

/// All of them; `root`, which is nowhere kept, at the end.
async fn names(system: &System) -> Result<Vec<String>> {
    let mut names = system.open()?.policies.names().await?;
    names.sort_by_key(|name| name == crate::core::policy::ROOT);
    Ok(names)
}

/// All of them with what they say.
pub async fn list_whole(system: &System, _: &Call<'_>) -> Result<Response> {
    let (mut keys, mut info) = (Vec::new(), Object::new());
    for name in names(system).await? {
        // One that was deleted meanwhile is not there.
        if let Some(shown) = shown(system, &name, "policy").await? {
            info.insert(name.clone(), shown.into());
            keys.push(name);
        }
    }
    Ok(Response::data(object! { "key_info": info, "keys": keys }))
}

pub async fn list_old(system: &System, _: &Call<'_>) -> Result<Response> {
    let names = names(system).await?;
    Ok(Response::flat(object! { "keys": names.as_slice(), "policies": names.as_slice() }))
}

pub async fn read(system: &System, call: &Call<'_>) -> Result<Response> {
    let shown = shown(system, &name(call), "policy").await?;
    Ok(Response::data(shown.ok_or_else(Error::not_found)?))
}

pub async fn read_old(system: &System, call: &Call<'_>) -> Result<Response> {
    let shown = shown(system, &name(call), "rules").await?;
    Ok(Response::flat(shown.ok_or_else(Error::not_found)?))
}

/// A policy, what it says under `text`.
async fn shown(system: &System, name: &str, text: &str) -> Result<Option<Object>> {
    if name == crate::core::policy::ROOT {
        return Ok(Some(object! {
            "allow_slashes_in_identity_templates": false,
            "allow_wildcards_in_identity_templates": false,
            "cas_required": false,
            "name": name,
            text: "",
            "version": 0,
        }));
    }
    let Some(policy): Option<Policy> = system.open()?.policies.read(name).await? else { return Ok(None) };
    Ok(Some(object! {
        "allow_slashes_in_identity_templates": false,
        "allow_wildcards_in_identity_templates": false,
        "cas_required": false,
        "modified": time_text(policy.modified),
        "name": name,
        text: policy.text,
        "version": policy.version,
    }))
}

fn name(call: &Call<'_>) -> String {
    call.input.capture("name").to_lowercase()
}

pub async fn write(system: &System, call: &Call<'_>) -> Result<Response> {
    let name = name(call);
    if name.is_empty() || name.contains('/') || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::bad_request("the name of a policy has no slashes and no spaces"));
    }
    let text = match call.input.text("policy")? {
        Some(text) if !text.is_empty() => text,
        _ => call.input.text("rules")?.unwrap_or_default(),
    };
    if text.is_empty() {
        return Err(Error::bad_request("'policy' parameter not supplied or empty"));
    }
    refuse_unsupported(call)?;
    // As text or in base64, without saying which.
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    system.open()?.policies.write(&name, &decoded.unwrap_or(text)).await?;
    Ok(Response::empty())
}

/// What would make a policy weaker than whoever writes it thinks, if it were passed over.
fn refuse_unsupported(call: &Call<'_>) -> Result<()> {
    let input = &call.input;
    let mut asked = None;
    for name in ["cas", "expiration", "ttl"] {
        asked = asked.or(input.raw(name).filter(|value| !value.is_null()).map(|_| name));
    }
    for name in ["cas_required", "allow_slashes_in_identity_templates", "allow_wildcards_in_identity_templates"] {
        asked = asked.or(input.bool(name)?.filter(|asked| *asked).map(|_| name));
    }
    match asked {
        Some(name) => Err(Error::bad_request(format!("{name} of a policy is not supported by this server yet"))),
        None => Ok(()),
    }
}

pub async fn delete(system: &System, call: &Call<'_>) -> Result<Response> {
    system.open()?.policies.delete(&name(call)).await?;
    Ok(Response::empty())
}
