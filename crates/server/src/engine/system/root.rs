//! `sys/generate-root`, for everybody where the listener says so, and `sys/generate-root-token`, for who has a token.

use bulla_core::{SecretBytes, SecretString};

use super::System;
use crate::core::quorum::{self, RootStatus};
use crate::json::{Object, object_to_vec};
use crate::logical::{Call, Error, Field, Kind, Response, Result};
use crate::seal::shamir;

pub const ATTEMPT: &[Field] = &[
    Field::new(
        "otp",
        Kind::Text,
        "The one-time password that the token is encoded with; one is made if there is none.",
    ),
    Field::new("pgp_key", Kind::Text, "Not supported."),
];
pub const SHARE: &[Field] = &[
    Field::new("key", Kind::Text, "A share of the unseal key, or of the recovery key, in hex or base64."),
    Field::new("nonce", Kind::Text, "The number of the attempt."),
];
pub const DECODE: &[Field] = &[
    Field::new("encoded_token", Kind::Text, "The encoded token."),
    Field::new("otp", Kind::Text, "Its one-time password."),
];

/// The answer of the oldest paths: the fields alone. Audit records have them too.
pub fn bare(fields: Object) -> Response {
    let mut body = object_to_vec(&fields);
    body.push(b'\n');
    Response { raw: Some(("application/json", body)), ..Response::data(fields) }
}

/// The share that is given.
///
/// # Errors
/// 400 if there is none, with `missing`, or it is no text of a share.
pub fn share(call: &Call<'_>, missing: &str) -> Result<SecretBytes> {
    let text = call.input.text("key")?.map(SecretString::from).unwrap_or_default();
    if text.expose().is_empty() {
        return Err(Error::bad_request(missing));
    }
    let bad = || Error::bad_request("'key' must be a valid hex or base64 string");
    shamir::parse_share(text.expose()).ok_or_else(bad)
}

fn old(status: &RootStatus) -> Object {
    let encoded = status.encoded_token.clone().unwrap_or_default();
    object! {
        "nonce": status.nonce.clone().unwrap_or_default(),
        "started": status.nonce.is_some(),
        "progress": status.progress,
        "required": status.required,
        "complete": status.encoded_token.is_some(),
        "encoded_token": encoded.as_str(),
        "encoded_root_token": encoded.as_str(),
        "pgp_fingerprint": "",
        "otp": status.otp.as_ref().map_or("", SecretString::expose),
        "otp_length": quorum::OTP,
    }
}

fn new(status: &RootStatus) -> Object {
    let mut shown = object! {
        "complete": false,
        "otp": status.otp.as_ref().map_or("", SecretString::expose),
        "otp_length": quorum::OTP,
        "progress": status.progress,
        "required": status.required,
        "started": status.nonce.is_some(),
    };
    if let Some(nonce) = &status.nonce {
        shown.extend(object! { "nonce": nonce.as_str(), "pgp_fingerprint": "" });
    }
    shown
}

async fn begin(system: &System, call: &Call<'_>) -> Result<RootStatus> {
    if call.input.text("pgp_key")?.is_some_and(|key| !key.is_empty()) {
        return Err(Error::bad_request("pgp_key is not supported by this server: use a one-time password"));
    }
    let otp = call.input.text("otp")?.map(SecretString::from).filter(|otp| !otp.expose().is_empty());
    system.open()?.core()?.begin_root(otp).await
}

pub async fn status_bare(system: &System, _: &Call<'_>) -> Result<Response> {
    Ok(bare(old(&system.open()?.core()?.root_status().await?)))
}

pub async fn status(system: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::data(new(&system.open()?.core()?.root_status().await?)))
}

pub async fn begin_bare(system: &System, call: &Call<'_>) -> Result<Response> {
    Ok(bare(old(&begin(system, call).await?)))
}

pub async fn begin_token(system: &System, call: &Call<'_>) -> Result<Response> {
    Ok(Response::data(new(&begin(system, call).await?)))
}

pub async fn cancel(system: &System, _: &Call<'_>) -> Result<Response> {
    system.open()?.core()?.cancel_root().await?;
    Ok(Response::empty())
}

pub async fn give_bare(system: &System, call: &Call<'_>) -> Result<Response> {
    let share = share(call, "'key' must be specified in request body as JSON")?;
    let nonce = call.input.text("nonce")?.unwrap_or_default();
    let status = system.open()?.core()?.give_root_share(share, &nonce).await?;
    let mut shown = old(&status);
    shown.insert("otp_length".to_owned(), 0.into());
    Ok(bare(shown))
}

pub async fn give(system: &System, call: &Call<'_>) -> Result<Response> {
    let share = share(call, "key is required")?;
    let nonce = call.input.text("nonce")?.filter(|nonce| !nonce.is_empty());
    let nonce = nonce.ok_or_else(|| Error::bad_request("nonce is required"))?;
    let status = system.open()?.core()?.give_root_share(share, &nonce).await?;
    Ok(Response::data(object! {
        "complete": status.encoded_token.is_some(),
        "encoded_token": status.encoded_token.unwrap_or_default(),
        "nonce": nonce,
        "pgp_fingerprint": "",
        "progress": status.progress,
        "required": status.required,
        "started": true,
    }))
}

pub async fn decode(_: &System, call: &Call<'_>) -> Result<Response> {
    let encoded = call.input.text("encoded_token")?.unwrap_or_default();
    let otp = SecretString::from(call.input.text("otp")?.unwrap_or_default());
    if encoded.is_empty() || otp.expose().is_empty() {
        return Err(Error::bad_request("provided 'encoded_token' or 'otp' is empty"));
    }
    let token = quorum::decode_token(&encoded, &otp)?;
    Ok(Response::data(object! { "token": token.expose() }))
}
