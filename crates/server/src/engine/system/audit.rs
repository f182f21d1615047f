//! `sys/audit`: the devices. They are what the configuration says: a path of a file that comes by the API would be one that the server writes to.

use super::System;
use crate::json::Object;
use crate::logical::{Call, Error, Response, Result};

pub async fn list(system: &System, _: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let devices: Object = open
        .audit
        .devices()
        .iter()
        .map(|device| {
            let config = &device.config;
            let shown = object! {
                "description": config.description.as_str(),
                "local": false,
                "options": &config.options,
                "path": config.path.as_str(),
                "type": config.kind.as_str(),
            };
            (config.path.clone(), shown.into())
        })
        .collect();
    Ok(Response::flat(devices))
}

pub async fn enable(_: &System, _: &Call<'_>) -> Result<Response> {
    Err(Error::bad_request(
        "cannot enable audit device via API; use declarative, config-based audit device management instead",
    ))
}

pub async fn disable(system: &System, call: &Call<'_>) -> Result<Response> {
    let path = format!("{}/", call.input.capture("path").trim_end_matches('/'));
    if system.open()?.audit.devices().iter().any(|device| device.config.path == path) {
        return Err(Error::bad_request("cannot disable audit device via API; it is in the server's configuration"));
    }
    Ok(Response::empty())
}

pub async fn hash(system: &System, call: &Call<'_>) -> Result<Response> {
    let path = format!("{}/", call.input.capture("path").trim_end_matches('/'));
    let input = call.input.text("input")?.unwrap_or_default();
    if input.is_empty() {
        return Err(Error::bad_request("the \"input\" parameter is empty"));
    }
    let open = system.open()?;
    let device = open.audit.devices().iter().find(|device| device.config.path == path);
    let device = device.ok_or_else(|| Error::bad_request(format!("unknown audit backend {path:?}")))?;
    Ok(Response::flat(object! { "hash": device.hash(&input) }))
}

/// No header is written down.
pub async fn headers(_: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::flat(object! { "headers": Object::new() }))
}
