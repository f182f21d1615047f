//! What a server answers instead of what was asked for, as something to act on.

use std::time::Duration;

use bulla_core::SecretString;
use bulla_kms::vault_http::{HttpError, Reply};

use super::json::Json;
use crate::limit::Busy;
use crate::store::{StoreError, StoreErrorKind};

/// How much of what a server says is shown, in characters.
const SHOWN: usize = 400;

/// The server refused a request.
pub(super) fn refused(address: &str, path: &str, reply: &Reply, token: &SecretString) -> StoreError {
    let (status, said) = (reply.status.as_u16(), said(reply, token));
    let what = format!("{address} refused {path}: {said}");
    let (kind, hint) = match status {
        400 | 405 => (StoreErrorKind::Invalid, "check the path, the method and the arguments"),
        403 => (
            StoreErrorKind::Denied,
            "no policy of the role lets it be asked for in this way, or the namespace is another",
        ),
        404 => (
            StoreErrorKind::NotFound,
            "check the path and the namespace; paths of a KV engine with versions have data in them: secret/data/app",
        ),
        412 | 429 | 500.. => return unavailable(what, reply),
        _ => (StoreErrorKind::Failed, "check the path"),
    };
    StoreError::new(kind, format!("{what}; {hint}"))
}

/// The server gave no token for the pod's.
pub(super) fn login_refused(address: &str, mount: &str, role: &str, reply: &Reply, jwt: &SecretString) -> StoreError {
    let (status, said) = (reply.status.as_u16(), said(reply, jwt));
    let what = format!("{address} refused the login at auth/{mount} as role {role:?}: {said}");
    let (kind, hint) = match status {
        404 => (StoreErrorKind::NotFound, "no auth method is mounted there, or in another namespace"),
        412 | 429 | 500.. => return unavailable(what, reply),
        _ => (
            StoreErrorKind::Denied,
            "check that there is such a role, and that it binds this service account, its namespace and the token's audience",
        ),
    };
    StoreError::new(kind, format!("{what}; {hint}"))
}

fn unavailable(mut what: String, reply: &Reply) -> StoreError {
    if reply.status.as_u16() == 503 {
        what.push_str("; it is sealed, or not ready");
    }
    // It is there, and wants to be left alone for a while.
    let busy = (reply.status.as_u16() == 429).then_some(Duration::from_secs(1));
    StoreError { retry_after: reply.retry_after.or(busy), ..StoreError::new(StoreErrorKind::Unavailable, what) }
}

/// The request did not get as far as an answer.
pub(super) fn no_answer(address: &str, error: &HttpError) -> StoreError {
    let (kind, hint) = match error {
        HttpError::Unreachable(why) if why.contains("certificate") => {
            (StoreErrorKind::Unavailable, "; name its certificate's authority, or the certificate's name, in the class")
        }
        HttpError::Unreachable(_) => (StoreErrorKind::Unavailable, ""),
        HttpError::Redirected(_) => (StoreErrorKind::Failed, "; name that server itself"),
        HttpError::ServerName(_) | HttpError::Setup(_) | HttpError::Token => (StoreErrorKind::Invalid, ""),
        _ => (StoreErrorKind::Failed, ""),
    };
    StoreError::new(kind, format!("{address}: {error}{hint}"))
}

/// No answer in time.
pub(super) fn too_slow(address: &str, limit: Duration) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, format!("no answer from {address} within {limit:?}"))
}

/// More is asked from here than the far side should be bothered with.
pub(super) fn too_many(address: &str, Busy(wait): Busy) -> StoreError {
    let message = format!(
        "too many requests to {address} from this node are waiting: the next one can go in {} s (--vault-requests-per-second)",
        wait.as_secs().max(1)
    );
    StoreError { retry_after: Some(wait), ..StoreError::new(StoreErrorKind::Unavailable, message) }
}

/// An answer of success that is none of a server of this kind.
pub(super) fn confused(address: &str, path: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, format!("what answers {path} at {address} is no Vault server"))
}

/// The errors and warnings in an answer, in one line, without `secret` should the server quote it.
fn said(reply: &Reply, secret: &SecretString) -> String {
    let status = reply.status.as_u16();
    let json = Json::parse(reply.body.expose());
    let texts = |name: &str| json.and_then(|json| json.member(name)?.public_texts()).unwrap_or_default();
    let mut text = texts("errors").into_iter().chain(texts("warnings")).collect::<Vec<_>>().join("; ");
    if !secret.expose().is_empty() {
        text = text.replace(secret.expose(), "…");
    }
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect();
    match text.trim() {
        "" => format!("HTTP status {status}"),
        text => format!("{text} (HTTP status {status})"),
    }
}
