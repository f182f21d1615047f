//! Logging in.

use std::collections::BTreeMap;

use super::bound::{self, values};
use super::role::{self, Role};
use super::{Jwt, TokenError};
use crate::auth::jose::{Claims, Expected, Jws, Times};
use crate::auth::params::LONGEST_ROLE;
use crate::core::{is_from, now_millis};
use crate::json::Value;
use crate::logical::{Call, Error, Response, Result};

pub async fn log_in(method: &Jwt, call: &Call<'_>) -> Result<Response> {
    let ready = method.ready(call.storage).await?;
    let ready = ready.ok_or_else(|| Error::bad_request("could not load configuration"))?;
    let given = call.input.text("role")?.unwrap_or_default().to_lowercase();
    let name = if given.is_empty() { ready.config.default_role.clone() } else { given };
    if name.is_empty() {
        return Err(Error::bad_request("missing role"));
    }
    if name.len() > LONGEST_ROLE {
        return Err(Error::bad_request("the role could not be found: its name is too long"));
    }
    let role = role::find(call.storage, &name).await?;
    let role = role.ok_or_else(|| Error::bad_request(format!("role {name:?} could not be found")))?;
    let text = zeroize::Zeroizing::new(call.input.text("jwt")?.unwrap_or_default());
    if text.is_empty() {
        return Err(Error::bad_request("missing token"));
    }
    if !is_from(&role.params.bound_cidrs, call.request.remote) {
        return Err(Error::no_token());
    }
    // Files end with a line's end, and agents send what is in them: the peer takes out spaces wherever they are.
    let mut stripped = zeroize::Zeroizing::new(String::with_capacity(text.len()));
    stripped.extend(text.chars().filter(|c| !c.is_whitespace()));
    let token = Jws::parse(&stripped).map_err(invalid)?;
    if !ready.config.allows(token.algorithm) {
        return Err(invalid(TokenError::Algorithm));
    }
    let claims = ready.verifier.verify(token).await.map_err(invalid)?;
    let expected = Expected {
        issuer: &ready.config.bound_issuer,
        subject: &role.bound_subject,
        audiences: role.audiences(),
        leeways: role.leeways(),
        times: Times::One,
    };
    claims.check(&expected, now_millis() / 1000).map_err(invalid)?;
    // A token for somebody in particular is for nobody else.
    if role.audiences().is_empty() && !claims.audiences().map_err(invalid)?.is_empty() {
        return Err(Error::bad_request("audience claim found in JWT but no audiences bound to the role"));
    }
    let user = user(&role, &claims).map_err(Error::bad_request)?;
    let mut metadata = metadata(&role, &claims).map_err(Error::bad_request)?;
    check_groups(&role, &claims).map_err(Error::bad_request)?;
    bound::check(&role.claims()?, role.compare(), &claims)
        .map_err(|error| Error::bad_request(format!("error validating claims: {error}")))?;
    metadata.insert("role".to_owned(), name.clone());
    let mut auth = role.params.auth(call.request.remote);
    auth.metadata = metadata;
    auth.display_name = user;
    auth.internal.insert("role".to_owned(), name);
    Ok(Response { auth: Some(auth), ..Response::empty() })
}

/// Who logs in.
fn user(role: &Role, claims: &Claims) -> std::result::Result<String, String> {
    let name = &role.user_claim;
    let claim = if role.user_claim_json_pointer { claims.get(name) } else { claims.plain(name) };
    match claim {
        None => Err(format!("claim {name:?} not found in token")),
        Some(Value::String(user)) => Ok(user.clone()),
        Some(_) => Err(format!("claim {name:?} could not be converted to string")),
    }
}

fn metadata(role: &Role, claims: &Claims) -> std::result::Result<BTreeMap<String, String>, String> {
    let mut metadata = BTreeMap::new();
    for (claim, target) in role.mappings() {
        match claims.get(claim) {
            None => {}
            Some(Value::String(text)) => {
                metadata.insert(target.clone(), text.clone());
            }
            Some(_) => return Err(format!("error converting claim '{claim}' to string")),
        }
    }
    Ok(metadata)
}

/// Groups are for identity, which is not there yet. What would be wrong with them then is wrong now.
fn check_groups(role: &Role, claims: &Claims) -> std::result::Result<(), String> {
    let name = &role.groups_claim;
    if name.is_empty() {
        return Ok(());
    }
    let claim = claims.get(name).ok_or_else(|| format!("failed to fetch groups: {name:?} claim not found in token"))?;
    let groups = values(claim).ok_or_else(|| format!("{name:?} claim could not be converted to string list"))?;
    match groups.iter().find(|group| group.as_str().is_none()) {
        None => Ok(()),
        Some(Value::Number(digits)) => Err(format!("value {digits} in groups claim could not be parsed as string")),
        Some(_) => Err("a value in groups claim could not be parsed as string".to_owned()),
    }
}

fn invalid(error: TokenError) -> Error {
    match error {
        TokenError::Busy => Error::new(503, error.to_string()),
        error => Error::bad_request(format!("error validating token: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_busy_says_so_and_does_not_blame_the_token() {
        assert_eq!((invalid(TokenError::Busy).status, invalid(TokenError::Algorithm).status), (503, 400));
    }
}
