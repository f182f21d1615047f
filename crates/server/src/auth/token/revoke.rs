//! Taking tokens back.

use super::Token;
use crate::logical::{Call, Error, Response, Result, TokenText};

fn token(call: &Call<'_>) -> Result<TokenText> {
    let token = call.input.text("token")?.unwrap_or_default();
    if token.is_empty() { Err(Error::bad_request("missing token ID")) } else { Ok(TokenText::new(token)) }
}

pub async fn given(method: &Token, call: &Call<'_>) -> Result<Response> {
    let (open, token) = (method.open()?, token(call)?);
    match open.tokens.find(&token).await? {
        Some((_, entry)) if entry.batch => Err(Error::bad_request("batch tokens cannot be revoked")),
        Some((hash, _)) => {
            open.revoke_token(&hash).await?;
            Ok(Response::empty())
        }
        None => Ok(Response::empty()),
    }
}

pub async fn own(method: &Token, call: &Call<'_>) -> Result<Response> {
    let caller = call.caller.ok_or_else(Error::no_token)?;
    if caller.entry.batch {
        return Err(Error::bad_request("batch tokens cannot be revoked"));
    }
    method.open()?.revoke_token(&caller.hash).await?;
    Ok(Response::empty())
}

pub async fn alone(method: &Token, call: &Call<'_>) -> Result<Response> {
    let (open, token) = (method.open()?, token(call)?);
    let found = open.tokens.find(&token).await?;
    let (hash, entry) = found.ok_or_else(|| Error::bad_request("token to revoke not found"))?;
    if entry.batch {
        return Err(Error::bad_request("batch tokens cannot be revoked"));
    }
    open.revoke_token_alone(&hash).await?;
    Ok(Response::empty())
}

pub async fn by_accessor(method: &Token, call: &Call<'_>) -> Result<Response> {
    let accessor = call.input.text("accessor")?.unwrap_or_default();
    if accessor.is_empty() {
        return Err(Error::wrapped(400, "missing accessor"));
    }
    let open = method.open()?;
    match open.tokens.by_accessor(&accessor).await? {
        Some(hash) => {
            open.revoke_token(&hash).await?;
            Ok(Response::empty())
        }
        None => Ok(Response::empty().warn("No token found with this accessor").with_status(200)),
    }
}

/// Nothing is left lying about that would have to be looked for: what a token has is written and deleted together.
#[expect(clippy::unused_async, reason = "the signature that all handlers share")]
pub async fn tidy(_: &Call<'_>) -> Result<Response> {
    Ok(Response::empty()
        .warn("There is nothing to tidy: tokens and their index are written together.")
        .with_status(202))
}
