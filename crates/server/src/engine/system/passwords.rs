//! `sys/policies/password`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::System;
use crate::core::password::Policy;
use crate::logical::{Call, Error, Response, Result};

/// A name, and what of it is asked for: names may have slashes, and the last part may be `generate`.
fn name<'a>(call: &'a Call<'_>) -> (&'a str, bool) {
    let path = call.input.capture("name").trim_matches('/');
    path.strip_suffix("/generate").map_or((path, false), |name| (name, true))
}

pub async fn list(system: &System, _: &Call<'_>) -> Result<Response> {
    Response::list(system.open()?.passwords.names().await?)
}

pub async fn read(system: &System, call: &Call<'_>) -> Result<Response> {
    let passwords = &system.open()?.passwords;
    let (name, generates) = name(call);
    if generates {
        return Ok(Response::data(object! { "password": passwords.generate(name).await?.expose() }));
    }
    let text = passwords.read(name).await?.ok_or_else(|| Error::wrapped(404, "policy does not exist"))?;
    Ok(Response::data(object! { "policy": text }))
}

pub async fn write(system: &System, call: &Call<'_>) -> Result<Response> {
    let (name, generates) = name(call);
    if generates {
        return Err(Error::unsupported_operation());
    }
    if name.is_empty()
        || name.split('/').any(|part| matches!(part, "" | "." | ".."))
        || name.chars().any(char::is_control)
    {
        return Err(Error::wrapped(400, "missing policy name"));
    }
    let text = call.input.text("policy")?.unwrap_or_default();
    if text.is_empty() {
        return Err(Error::wrapped(400, "missing policy"));
    }
    // As text or in base64, without saying which.
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = decoded.unwrap_or(text);
    Policy::parse(&text).map_err(|error| Error::wrapped(400, &format!("invalid password policy: {error}")))?;
    system.open()?.passwords.write(name, &text).await?;
    Ok(Response::empty())
}

pub async fn delete(system: &System, call: &Call<'_>) -> Result<Response> {
    match name(call) {
        (_, true) => Err(Error::unsupported_operation()),
        (name, false) => {
            system.open()?.passwords.delete(name).await?;
            Ok(Response::empty())
        }
    }
}
