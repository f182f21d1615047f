//! Looking tokens up.

use super::Token;
use crate::core::{or_null, time_text, token::Entry};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Response, Result, TokenText};

pub async fn given(method: &Token, call: &Call<'_>) -> Result<Response> {
    match call.input.text("token")?.filter(|token| !token.is_empty()) {
        Some(token) => {
            let token = TokenText::new(token);
            let (_, entry) = method.open()?.tokens.find(&token).await?.ok_or_else(|| Error::new(403, "bad token"))?;
            Ok(Response::data(shown(&entry, token.expose())))
        }
        None => own(method, call).await,
    }
}

#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
pub async fn own(_: &Token, call: &Call<'_>) -> Result<Response> {
    let caller = call.caller.ok_or_else(Error::no_token)?;
    let text = call.request.token.as_ref().map_or("", TokenText::expose);
    Ok(Response::data(shown(&caller.entry, text)))
}

pub async fn by_accessor(method: &Token, call: &Call<'_>) -> Result<Response> {
    let accessor = call.input.text("accessor")?.unwrap_or_default();
    if accessor.is_empty() {
        return Err(Error::wrapped(400, "missing accessor"));
    }
    let open = method.open()?;
    let invalid = || Error::wrapped(400, "invalid accessor");
    let hash = open.tokens.by_accessor(&accessor).await?.ok_or_else(invalid)?;
    let entry = open.tokens.by_hash(&hash).await?.ok_or_else(invalid)?;
    Ok(Response::data(shown(&entry, "")))
}

pub async fn accessors(method: &Token, _: &Call<'_>) -> Result<Response> {
    Response::list(method.open()?.tokens.accessors().await?)
}

fn shown(entry: &Entry, text: &str) -> Object {
    let expires =
        if entry.expires == 0 { Value::Null } else { time_text(entry.expires.saturating_mul(1_000_000)).into() };
    let mut shown = object! {
        "accessor": entry.accessor.as_str(),
        "creation_time": entry.created / 1_000_000_000,
        "creation_ttl": entry.ttl,
        "display_name": entry.auth.display_name.as_str(),
        "entity_id": "",
        "expire_time": expires,
        "explicit_max_ttl": entry.auth.explicit_max_ttl,
        "id": text,
        "issue_time": time_text(entry.created),
        "meta": or_null(&entry.auth.metadata),
        "num_uses": entry.uses.max(0),
        "orphan": entry.is_orphan(),
        "path": entry.path.as_str(),
        "policies": entry.policies.as_slice(),
        "renewable": entry.auth.renewable && entry.expires != 0 && !entry.batch,
        "ttl": entry.seconds_left(),
        "type": entry.token_type().name(),
    };
    if entry.renewed != 0 {
        shown.insert("last_renewal".to_owned(), time_text(entry.renewed).into());
        shown.insert("last_renewal_time".to_owned(), (entry.renewed / 1_000_000_000).into());
    }
    if entry.auth.period != 0 {
        shown.insert("period".to_owned(), entry.auth.period.into());
    }
    if !entry.role.is_empty() {
        shown.insert("role".to_owned(), entry.role.as_str().into());
    }
    if !entry.auth.bound_cidrs.is_empty() {
        shown.insert("bound_cidrs".to_owned(), entry.auth.bound_cidrs.as_slice().into());
    }
    shown
}
