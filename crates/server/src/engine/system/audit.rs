//! `sys/audit`: the devices. They are what the configuration says: a path of a file that comes by the API would be one that the server writes to.

use super::System;
use crate::core::audited::Form;
use crate::json::Object;
use crate::logical::{Call, Error, Field, Kind, Response, Result};

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

pub const HEADER: &[Field] = &[
    Field::new("header", Kind::Text, "The name of the header."),
    Field::new("hmac", Kind::Bool, "Whether it is hashed."),
];

/// Which headers are written down.
pub async fn headers(system: &System, _: &Call<'_>) -> Result<Response> {
    let names = system.open()?.audited.names();
    let headers: Object = names.iter().map(|(name, form)| (name.clone(), shown(*form).into())).collect();
    Ok(Response::flat(object! { "headers": headers }))
}

pub async fn header(system: &System, call: &Call<'_>) -> Result<Response> {
    let name = call.input.capture("header");
    let form = system.open()?.audited.names().get(&name.to_lowercase()).copied();
    let form = form.ok_or_else(|| Error::bad_request("Could not find header in config"))?;
    Ok(Response::flat(Object::from([(name.to_owned(), shown(form).into())])))
}

pub async fn set_header(system: &System, call: &Call<'_>) -> Result<Response> {
    let form = if call.input.bool("hmac")?.unwrap_or(false) { Form::Hashed } else { Form::Plain };
    system.open()?.audited.set(call.input.capture("header"), form).await?;
    Ok(Response::empty())
}

pub async fn remove_header(system: &System, call: &Call<'_>) -> Result<Response> {
    system.open()?.audited.remove(call.input.capture("header")).await?;
    Ok(Response::empty())
}

fn shown(form: Form) -> Object {
    object! { "hmac": form == Form::Hashed }
}
