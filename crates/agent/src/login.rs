//! A token, kept alive for as long as it can be, and followed by another one.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{SecretBytes, SecretString};
use bulla_template::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{self, Api, Call, number_at, text_at};
use crate::auth::Login;
use crate::renewal::{Lease, Next, Renewable};

/// A token as it was given.
pub(crate) enum Token {
    /// As it is.
    Plain {
        token: SecretString,
        /// The other name that it has.
        accessor: Option<SecretString>,
    },
    /// Wrapped: what is written down is JSON that says where it can be had, once.
    Wrapped(SecretBytes),
}

impl Token {
    /// What is written to files.
    pub(crate) fn written(&self) -> &[u8] {
        match self {
            Self::Plain { token, .. } => token.expose().as_bytes(),
            Self::Wrapped(text) => text.expose(),
        }
    }

    /// The token, if it can be used.
    pub(crate) fn plain(&self) -> Option<&SecretString> {
        if let Self::Plain { token, .. } = self { Some(token) } else { None }
    }

    /// Its accessor, if it can be used and has one.
    pub(crate) fn accessor(&self) -> Option<&SecretString> {
        if let Self::Plain { accessor, .. } = self { accessor.as_ref() } else { None }
    }
}

/// The token that is current, for all who use it.
pub(crate) type Current = watch::Receiver<Option<Arc<Token>>>;

/// How often a token is looked up because a request with it was refused, which is mostly for want of a policy. A token may not be allowed to look
/// itself up: then each new one is taken for lost, less and less often.
const DOUBT: Backoff = Backoff { first: Duration::from_secs(15), limit: Duration::from_mins(10) };

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
    let mut doubts = Doubts { not_before: Instant::now(), confirmed: 0 };
    let mut told: Option<Arc<Token>> = None;
    loop {
        let soonest_again = Instant::now() + login.method().min_backoff;
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
        let is_same = token.plain().is_some() && told.as_ref().and_then(|told| told.plain()) == token.plain();
        let token = Arc::new(token);
        // Whoever is told begins anew.
        if !is_same {
            drop(tell.send(Some(Arc::clone(&token))));
            told = Some(Arc::clone(&token));
            // What was refused was so with the token before.
            let _ = pin!(api.doubt.notified()).enable();
        }
        let Some(token) = token.plain() else {
            tracing::info!("logged in; the token is wrapped, and not kept alive from here");
            // Whoever unwraps it has it, and keeps it alive.
            return std::future::pending().await;
        };
        if let Some((lease, _)) = &lease {
            tracing::info!(seconds = lease.left().as_secs_f64().round(), "logged in");
        } else {
            tracing::info!("logged in, with a token that does not end");
        }
        keep(token, lease, &mut doubts, &api).await;
        tracing::info!("the token ends: logging in again");
        sleep_until(soonest_again).await;
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
    let accessor = text_at(&answer, &["auth", "accessor"]);
    Ok((Token::Plain { token, accessor }, lease.map(|lease| (lease, renewable))))
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
async fn keep(token: &SecretString, lease: Option<(Lease, Renewable)>, doubts: &mut Doubts, api: &Api) {
    let mut lease = lease;
    let mut failures = 0;
    loop {
        let next = lease.map(|(lease, renewable)| match failures {
            0 => lease.next(renewable),
            failures => lease.after_failures(failures),
        });
        let pause = async {
            match next {
                None => std::future::pending().await,
                Some(Next::EndAfter(wait) | Next::RenewAfter(wait)) => sleep(wait).await,
            }
        };
        tokio::select! {
            () = doubts.confirm(token, api) => return,
            () = pause => {}
        }
        let (Some(Next::RenewAfter(_)), Some((lease, _))) = (next, &mut lease) else { return };
        match api.ask(Call::put("auth/token/renew-self", api::form(&[]), Some(token))).await {
            Ok(answer) => {
                failures = 0;
                let Some(seconds) = number_at(&answer, &["auth", "lease_duration"]) else { continue };
                tracing::info!(seconds, "the token is renewed");
                *lease = lease.renewed(Duration::from_secs(seconds));
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

/// What others' refused requests say about the token.
struct Doubts {
    /// When the token may be looked up again.
    not_before: Instant,
    /// How many tokens in a row were found to be unknown.
    confirmed: u32,
}

impl Doubts {
    /// Returns when a request with the token was refused, and the server says that it does not know the token.
    async fn confirm(&mut self, token: &SecretString, api: &Api) {
        loop {
            api.doubt.notified().await;
            sleep_until(self.not_before).await;
            let is_refused = match api.ask(Call::get("auth/token/lookup-self", Some(token))).await {
                Ok(_) => {
                    self.confirmed = 0;
                    false
                }
                Err(error) => error.is_refusal(),
            };
            self.confirmed = self.confirmed.saturating_add(u32::from(is_refused));
            self.not_before = Instant::now() + DOUBT.after(self.confirmed);
            if is_refused {
                tracing::warn!("the server does not know the token any more");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
