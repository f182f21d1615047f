//! Getting a token: the user's own, or by logging in with what the platform gives (a service account, an `AppRole`).
//!
//! <https://openbao.org/api-docs/auth/kubernetes/#login> and <https://openbao.org/api-docs/auth/approle/#login-with-approle>.

use std::path::Path;
use std::time::{Duration, Instant};

use bulla_core::{KeyErrorKind, SecretBytes, SecretString};
use reqwest::Method;
use zeroize::Zeroizing;

use super::server::{Server, parse};
use super::settings::{Login, SecretId};
use super::{error, variable};
use crate::failure::{Failure, warn_if_exposed};

/// A token and how long it lives.
pub(super) struct Session {
    /// None is right for an agent or proxy that adds its own.
    pub(super) token: Option<SecretString>,
    source: Source,
}

enum Source {
    /// The user put it there.
    Given,
    /// A login gave it, to be used until then if it ends.
    LoggedIn { until: Option<Instant> },
}

impl Session {
    /// Whether the token can still be used.
    pub(super) fn is_live(&self) -> bool {
        match self.source {
            Source::Given | Source::LoggedIn { until: None } => true,
            Source::LoggedIn { until: Some(until) } => Instant::now() < until,
        }
    }

    /// Whether a new one can be had.
    pub(super) fn is_renewed_by_login(&self) -> bool {
        matches!(self.source, Source::LoggedIn { .. })
    }
}

/// Gets a token for `server`.
pub(super) async fn log_in(server: &Server, login: &Login) -> Result<Session, Failure> {
    match login {
        Login::Token { token: Some(token), .. } => Ok(given(Some(token.clone()))),
        Login::Token { token: None, file: None } => Ok(given(None)),
        Login::Token { token: None, file: Some(file) } => token_file(file).map(given),
        Login::Kubernetes { mount, role, jwt_file } => {
            let jwt = secret_file(jwt_file, variable::JWT_FILE)?;
            ask(server, mount, &[("role", role), ("jwt", jwt.expose())], &jwt).await
        }
        Login::AppRole { mount, role_id, secret_id } => {
            let secret = match secret_id {
                SecretId::None => return ask(server, mount, &[("role_id", role_id)], &SecretString::default()).await,
                SecretId::Value(secret) => secret.clone(),
                SecretId::File(file) => secret_file(file, variable::SECRET_ID_FILE)?,
            };
            ask(server, mount, &[("role_id", role_id), ("secret_id", secret.expose())], &secret).await
        }
    }
}

fn given(token: Option<SecretString>) -> Session {
    Session { token, source: Source::Given }
}

async fn ask(server: &Server, mount: &str, fields: &[(&str, &str)], secret: &SecretString) -> Result<Session, Failure> {
    let path: Vec<String> = ["auth"].into_iter().chain(mount.split('/')).chain(["login"]).map(str::to_owned).collect();
    let reply = server.request(Method::POST, &path, fields, None).await?;
    if !reply.status.is_success() {
        return Err(error::login_refused(server.address(), mount, &reply, secret));
    }
    let auth = parse(&reply)?.auth.ok_or_else(|| error::lacks("auth"))?;
    let until = end_of(Duration::from_secs(auth.lease_duration));
    Ok(Session { token: Some(SecretString::from(auth.client_token)), source: Source::LoggedIn { until } })
}

/// When to stop using what is leased from now on: a little early, so that it does not end under way. A lease of nothing, or of
/// more than time can count, never ends.
fn end_of(lease: Duration) -> Option<Instant> {
    let early = (lease / 10).min(Duration::from_secs(30));
    if lease.is_zero() { None } else { Instant::now().checked_add(lease.saturating_sub(early)) }
}

/// The token that `vault login` left, if it did.
fn token_file(path: &Path) -> Result<Option<SecretString>, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => {
            warn_if_exposed(path, "a Vault token");
            text(bytes, path).map(|token| Some(token).filter(|token| !token.expose().is_empty()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn secret_file(path: &Path, variable: &str) -> Result<SecretString, Failure> {
    let bytes = std::fs::read(path).map_err(|error| {
        unreadable(path, &error).hint(format!("the file is the one that {variable} names, or its default"))
    })?;
    let secret = text(bytes, path)?;
    if secret.expose().is_empty() {
        return Err(Failure::new(KeyErrorKind::BadConfig, format!("{} is empty", path.display())));
    }
    Ok(secret)
}

/// A file's contents without the white space around them.
fn text(bytes: Vec<u8>, path: &Path) -> Result<SecretString, Failure> {
    let bytes = Zeroizing::new(bytes);
    SecretString::from_utf8(SecretBytes::from(bytes.trim_ascii()))
        .map_err(|_| Failure::new(KeyErrorKind::BadConfig, format!("{} is not text", path.display())))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(KeyErrorKind::NotFound, format!("reading {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_early_and_no_length_of_it_is_too_long() {
        let in_an_hour = end_of(Duration::from_hours(1)).map(|end| end - Instant::now());
        assert!(in_an_hour.is_some_and(|left| (3500..=3570).contains(&left.as_secs())), "{in_an_hour:?}");
        assert!(end_of(Duration::from_secs(1)).is_some_and(|end| end - Instant::now() <= Duration::from_millis(900)));
        assert_eq!(end_of(Duration::ZERO), None);
        assert_eq!(end_of(Duration::from_secs(u64::MAX)), None);
    }
}
