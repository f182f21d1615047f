//! What a server answers, as something to act on.

use std::time::Duration;

use bulla_core::{KeyErrorKind, SecretString};
use serde::Deserialize;

use super::http::{HttpError, Reply};
use super::variable;
use crate::failure::{Failure, printable};

/// The server refused an operation of the engine.
pub(super) fn refused(address: &str, path: &[String], reply: &Reply, token: Option<&SecretString>) -> Failure {
    let said = said(reply, token);
    let what = format!("{address} refused /v1/{}: {said}", path.join("/"));
    let (kind, hint) = match reply.status.as_u16() {
        400 if said.contains("encryption key not found") => (
            KeyErrorKind::NotFound,
            "make the key (vault write -f MOUNT/keys/NAME), or check its name in the URI".to_owned(),
        ),
        400 if ["ciphertext", "message authentication", "decrypt"].iter().any(|word| said.contains(word)) => (
            KeyErrorKind::BadCiphertext,
            "the wrapped key is damaged, was made by another key, or its version is older than min_decryption_version"
                .to_owned(),
        ),
        403 => (
            KeyErrorKind::Denied,
            format!(
                "the token is not valid (any more), or no policy of it allows update on this path: see {} and ~/.vault-token, \
                 or {} for another way to log in",
                variable::TOKEN,
                variable::AUTH
            ),
        ),
        404 => (
            KeyErrorKind::NotFound,
            format!("check the mount in the URI, and {} if the engine is in a namespace", variable::NAMESPACE),
        ),
        503 if said.contains("sealed") => {
            (KeyErrorKind::Unreachable, "unseal the server: vault operator unseal".to_owned())
        }
        429 | 500.. => (KeyErrorKind::Other, "try again: the server is busy or in trouble".to_owned()),
        _ => (KeyErrorKind::Other, "check that the URI names a key of a transit engine".to_owned()),
    };
    Failure::new(kind, what).hint(hint)
}

/// The server gave no token for `secret`.
pub(super) fn login_refused(address: &str, mount: &str, reply: &Reply, secret: &SecretString) -> Failure {
    let what = format!("{address} refused the login at auth/{mount}: {}", said(reply, Some(secret)));
    let (kind, hint) = match reply.status.as_u16() {
        400 | 401 | 403 => (
            KeyErrorKind::Denied,
            "check the role's name or id, and that it binds this service account, or this secret id is not used up"
                .to_owned(),
        ),
        404 => (
            KeyErrorKind::NotFound,
            format!("check {} and {}: no auth method is mounted there", variable::AUTH_MOUNT, variable::NAMESPACE),
        ),
        503 => (KeyErrorKind::Unreachable, "the server is sealed or not ready".to_owned()),
        _ => (KeyErrorKind::Other, "try again: the server is busy or in trouble".to_owned()),
    };
    Failure::new(kind, what).hint(hint)
}

/// Nothing to show the server, and it wants to see something. (A proxy that adds a token of its own does not.)
pub(super) fn no_token(address: &str) -> Failure {
    Failure::new(
        KeyErrorKind::NotFound,
        format!("no Vault token found, and {address} asks for one: looked in {} and ~/.vault-token", variable::TOKEN),
    )
    .hint(format!(
        "log in (vault login), set {}, or choose kubernetes or approle in {}",
        variable::TOKEN,
        variable::AUTH
    ))
}

/// The request did not get as far as an answer.
pub(super) fn no_answer(address: &str, error: HttpError) -> Failure {
    let bad = |what: String| Failure::new(KeyErrorKind::BadConfig, what);
    match error {
        HttpError::Unreachable(why) => {
            let hint = if why.contains("certificate") {
                format!(
                    "name the server's certificate authority in {}, or the certificate's name in {}",
                    variable::CACERT,
                    variable::TLS_SERVER_NAME
                )
            } else {
                "check the address in the key, the network, and proxy variables".to_owned()
            };
            Failure::new(KeyErrorKind::Unreachable, format!("{address} could not be reached: {why}")).hint(hint)
        }
        HttpError::Redirected(location) => {
            let what = format!("{address} redirects to {location}, which is not followed");
            Failure::new(KeyErrorKind::Unreachable, what)
                .hint("name the server itself in the key; https is never left for http")
        }
        HttpError::TooLong => {
            Failure::new(KeyErrorKind::Other, format!("{address} answers more than a Vault server would"))
        }
        HttpError::Token => bad("the Vault token holds characters that no token has".to_owned())
            .hint(format!("check {} or ~/.vault-token for line breaks and control characters", variable::TOKEN)),
        HttpError::ServerName(why) => bad(format!("{}: {why}", variable::TLS_SERVER_NAME)),
        HttpError::Setup(why) => bad(format!("setting up HTTP: {why}")),
    }
}

/// No answer in time.
pub(super) fn too_slow(address: &str, limit: Duration) -> Failure {
    Failure::new(KeyErrorKind::Timeout, format!("no answer from {address} within {limit:?}"))
        .hint(format!("check the address in the key and the network; {} sets the time", variable::CLIENT_TIMEOUT))
}

/// An answer of success that lacks what was asked for.
pub(super) fn lacks(field: &str) -> Failure {
    Failure::new(KeyErrorKind::Other, format!("the server's answer has no `{field}`"))
}

/// The errors in an answer, without `secret` should the server quote it.
fn said(reply: &Reply, secret: Option<&SecretString>) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Option<Vec<String>>,
    }
    let status = reply.status.as_u16();
    let errors =
        serde_json::from_slice(reply.body.expose()).ok().and_then(|Errors { errors }| errors).unwrap_or_default();
    if errors.is_empty() {
        return format!("HTTP status {status}");
    }
    let mut text = errors.join("; ");
    if let Some(secret) = secret.map(SecretString::expose).filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, "…");
    }
    format!("{} (HTTP status {status})", printable(&text))
}
