//! `sys/wrapping`: answers for whoever has a token for them.

use super::System;
use crate::logical::{Call, Error, Response, Result, TokenText};

fn token(call: &Call<'_>) -> Result<Option<TokenText>> {
    Ok(call.input.text("token")?.filter(|token| !token.is_empty()).map(TokenText::new))
}

pub async fn wrap(_: &System, call: &Call<'_>) -> Result<Response> {
    if call.request.wrap_ttl.is_none() {
        return Err(Error::bad_request("endpoint requires response wrapping to be used"));
    }
    Ok(Response::data(call.request.data.clone()))
}

pub async fn unwrap(system: &System, call: &Call<'_>) -> Result<Response> {
    let body = system.open()?.unwrap(token(call)?.as_ref(), call.caller).await?;
    Ok(Response { raw: Some(("application/json", body)), ..Response::empty() })
}

pub async fn lookup(system: &System, call: &Call<'_>) -> Result<Response> {
    // Needs no token of its own: that it asks about is one.
    let given = match token(call)? {
        Some(given) => Some(given),
        None => call.request.token.clone(),
    };
    Ok(Response::data(system.open()?.wrapping_info(given.as_ref(), None).await?))
}

pub async fn rewrap(system: &System, call: &Call<'_>) -> Result<Response> {
    system.open()?.rewrap(token(call)?.as_ref(), call.caller).await
}
