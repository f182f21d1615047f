//! A token, kept alive for as long as it can be, and followed by another one.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{SecretBytes, SecretString};
use bulla_template::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::api::{self, Api, Call, number_at, text_at};
use crate::auth::Login;
use crate::renewal::{Lease, Next, Renewable};

/// A token as it was given.
pub(crate) enum Token {
    /// As it is.
    Plain(SecretString),
    /// Wrapped: what is written down is JSON that says where it can be had, once.
    Wrapped(SecretBytes),
}

impl Token {
    /// What is written to files.
    pub(crate) fn written(&self) -> &[u8] {
        match self {
            Self::Plain(token) => token.expose().as_bytes(),
            Self::Wrapped(text) => text.expose(),
        }
    }

    /// The token, if it can be used.
    pub(crate) fn plain(&self) -> Option<&SecretString> {
        if let Self::Plain(token) = self { Some(token) } else { None }
    }
}

/// The token that is current, for all who use it.
pub(crate) type Current = watch::Receiver<Option<Arc<Token>>>;

/// How often a renewal is tried again.
const RENEWAL: Backoff = Backoff { first: Duration::from_secs(1), limit: Duration::from_secs(30) };

/// Logs in, renews, and logs in again, for ever.
///
/// # Errors
/// A login that failed, where that is to end the agent.
pub(crate) async fn run(
    mut login: Login,
    api: Arc<Api>,
    tell: watch::Sender<Option<Arc<Token>>>,
) -> Result<(), String> {
    let backoff = Backoff { first: login.method().min_backoff, limit: login.method().max_backoff };
    let mut failures = 0;
    loop {
        let (token, lease) = match log_in(&mut login, &api).await {
            Ok(got) => got,
            Err(error) if login.method().exit_on_err => return Err(format!("cannot log in: {error}")),
            Err(error) => {
                failures += 1;
                let wait = backoff.after(failures);
                tracing::error!(error, again_in = ?wait, "cannot log in");
                sleep(wait).await;
                continue;
            }
        };
        failures = 0;
        let token = Arc::new(token);
        drop(tell.send(Some(Arc::clone(&token))));
        match (token.plain(), lease) {
            (Some(token), Some((lease, renewable))) => {
                tracing::info!(seconds = lease.left().as_secs_f64().round(), "logged in");
                keep(token, lease, renewable, &api).await;
                tracing::info!("the token ends: logging in again");
            }
            (Some(_), None) => {
                tracing::info!("logged in, with a token that does not end");
                std::future::pending::<()>().await;
            }
            // Whoever unwraps it has it, and keeps it alive.
            (None, _) => {
                tracing::info!("logged in; the token is wrapped, and not kept alive from here");
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn log_in(login: &mut Login, api: &Api) -> Result<(Token, Option<(Lease, Renewable)>), String> {
    let answer = login.log_in(api).await?;
    if login.method().wrap_ttl.is_some() {
        return Ok((Token::Wrapped(wrap_info(&answer)?), None));
    }
    let token = text_at(&answer, &["auth", "client_token"]).ok_or("the server's answer has no token in it")?;
    let seconds = number_at(&answer, &["auth", "lease_duration"]).unwrap_or(0);
    let lease = (seconds > 0).then(|| Lease::new(Duration::from_secs(seconds)));
    let renewable = Renewable::new(&answer, &["auth", "renewable"]);
    Ok((Token::Plain(token), lease.map(|lease| (lease, renewable))))
}

/// What the peer writes down of a wrapped answer.
///
/// # Errors
/// If the answer is not wrapped.
pub(crate) fn wrap_info(answer: &Value) -> Result<SecretBytes, String> {
    let info = |key: &str| text_at(answer, &["wrap_info", key]).unwrap_or_default();
    let token = info("token");
    if token.expose().is_empty() {
        return Err("the server's answer is not wrapped".to_owned());
    }
    let mut out = zeroize::Zeroizing::new(Vec::with_capacity(1024));
    out.push(b'{');
    for (index, key) in
        ["token", "accessor", "ttl", "creation_time", "creation_path", "wrapped_accessor"].into_iter().enumerate()
    {
        if index > 0 {
            out.push(b',');
        }
        bulla_core::json::write_string(key, &mut out);
        out.push(b':');
        if key == "ttl" {
            let ttl = number_at(answer, &["wrap_info", "ttl"]).unwrap_or(0);
            out.extend_from_slice(ttl.to_string().as_bytes());
        } else {
            bulla_core::json::write_string(info(key).expose(), &mut out);
        }
    }
    // Go's encoder ends a line.
    out.extend_from_slice(b"}\n");
    Ok(SecretBytes::from(out.as_slice()))
}

/// Renews a token until its end is near, or the server does not know it any more.
async fn keep(token: &SecretString, mut lease: Lease, renewable: Renewable, api: &Api) {
    let mut failures = 0;
    loop {
        match lease.next(renewable) {
            Next::EndAfter(wait) => return sleep(wait).await,
            Next::RenewAfter(wait) if failures == 0 => sleep(wait).await,
            Next::RenewAfter(wait) => sleep(RENEWAL.after(failures).min(wait)).await,
        }
        match api.ask(Call::put("auth/token/renew-self", api::form(&[]), Some(token))).await {
            Ok(answer) => {
                failures = 0;
                let Some(seconds) = number_at(&answer, &["auth", "lease_duration"]) else { continue };
                tracing::info!(seconds, "the token is renewed");
                lease = lease.renewed(Duration::from_secs(seconds));
            }
            Err(error) => {
                tracing::error!(%error, "the token is not renewed");
                // The peer keeps trying until the lease is over, with a token that nobody knows.
                if error.is_refusal() {
                    return;
                }
                failures += 1;
                if lease.is_over() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_template::Limits;

    use super::*;

    #[test]
    fn a_wrapped_token_is_written_as_the_peer_does_it() {
        let answer = br#"{"wrap_info":{"token":"s.x","accessor":"a","ttl":300,"creation_time":"2026-01-01T00:00:00Z",
            "creation_path":"sys/wrapping/wrap","wrapped_accessor":"","other":1}}"#;
        let answer = Value::from_json_exact(answer, Limits::default()).unwrap();
        assert_eq!(
            std::str::from_utf8(wrap_info(&answer).unwrap().expose()).unwrap(),
            "{\"token\":\"s.x\",\"accessor\":\"a\",\"ttl\":300,\"creation_time\":\"2026-01-01T00:00:00Z\",\"creation_path\":\"sys/wrapping/wrap\",\"wrapped_accessor\":\"\"}\n"
        );
        assert!(wrap_info(&Value::Missing).is_err());
    }
}
