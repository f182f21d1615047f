//! `sys/capabilities…`: what a token may do.

use std::sync::Arc;

use super::System;
use crate::core::policy::Acl;
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result, TokenText};

/// Of the token that the request comes with. One in the body, as older clients send it once more, is not looked at.
pub async fn of_caller(_: &System, call: &Call<'_>) -> Result<Response> {
    let caller = call.caller.ok_or_else(Error::no_token)?;
    shown(call, &caller.acl)
}

pub async fn of_token(system: &System, call: &Call<'_>) -> Result<Response> {
    let token = call.input.text("token")?.unwrap_or_default();
    let open = system.open()?;
    let found = open.tokens.find(&TokenText::new(token)).await?;
    let (_, entry) = found.ok_or_else(|| Error::wrapped(400, "invalid token"))?;
    shown(call, &open.policies.acl(&entry.policies).await?)
}

pub async fn of_accessor(system: &System, call: &Call<'_>) -> Result<Response> {
    let accessor = call.input.text("accessor")?.unwrap_or_default();
    if accessor.is_empty() {
        return Err(Error::bad_request("missing accessor"));
    }
    let invalid = || Error::wrapped(400, "invalid accessor");
    let open = system.open()?;
    let hash = open.tokens.by_accessor(&accessor).await?.ok_or_else(invalid)?;
    let entry = open.tokens.by_hash(&hash).await?.ok_or_else(invalid)?;
    shown(call, &open.policies.acl(&entry.policies).await?)
}

fn shown(call: &Call<'_>, acl: &Arc<Acl>) -> Result<Response> {
    let mut paths = call.input.texts("paths")?.unwrap_or_default();
    if paths.is_empty() {
        paths = call.input.texts("path")?.unwrap_or_default();
    }
    if paths.is_empty() {
        return Err(Error::bad_request("paths must be supplied"));
    }
    let names = |path: &str| Value::from(acl.capability_names(path));
    let mut data: Object = paths.iter().map(|path| (path.clone(), names(path))).collect();
    if let [only] = paths.as_slice() {
        data.insert("capabilities".to_owned(), names(only));
    }
    Ok(Response::flat(data))
}
