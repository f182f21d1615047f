//! What the environment says about talking to Vault.

use std::path::PathBuf;
use std::time::Duration;

use bulla_core::{Env, KeyErrorKind, SecretString};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::allowlist::Allowlist;
use super::http::Redirects;
use super::{uri, variable};
use crate::failure::Failure;

/// The settings of all servers, checked. See [`variable`].
pub(super) struct Settings {
    pub(super) allowlist: Allowlist,
    pub(super) own_server: Option<Url>,
    pub(super) agent: Option<Url>,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) redirects: Redirects,
    pub(super) login: Login,
    pub(super) tls: rustls::ClientConfig,
    pub(super) tls_server_name: Option<String>,
}

/// How a token is got.
pub(super) enum Login {
    /// There is one already: this, or in this file, if any.
    Token { token: Option<SecretString>, file: Option<PathBuf> },
    /// For the token of a Kubernetes service account.
    Kubernetes { mount: String, role: String, jwt_file: PathBuf },
    /// For a role's id and its secret.
    AppRole { mount: String, role_id: String, secret_id: SecretId },
}

/// Where the secret of an `AppRole` is.
pub(super) enum SecretId {
    /// The role asks for none.
    None,
    /// Here.
    Value(SecretString),
    /// In this file, read at each login.
    File(PathBuf),
}

impl Settings {
    /// Reads the settings. `timeout` is the program's own.
    pub(super) fn read(env: &dyn Env, program_timeout: Duration) -> Result<Self, Failure> {
        let url = |name| {
            let parse = |text: String| uri::address(&text).map_err(|why| bad(name, &why));
            env.text(name).map(parse).transpose()
        };
        Ok(Self {
            allowlist: Allowlist::parse(env.text(variable::ALLOWLIST).as_deref())?,
            // Only compared with; what cannot be an address is none.
            own_server: env.text(variable::ADDR).and_then(|text| uri::address(&text).ok()),
            agent: url(variable::AGENT_ADDR)?,
            headers: headers(env)?,
            timeout: timeout(env, program_timeout)?,
            retries: match env.text(variable::MAX_RETRIES) {
                None => 2,
                Some(text) => text.parse().map_err(|_| bad(variable::MAX_RETRIES, "not a number"))?,
            },
            redirects: if switch(env, variable::DISABLE_REDIRECTS)? { Redirects::None } else { Redirects::SameScheme },
            login: login(env)?,
            tls: super::tls::config(env)?,
            tls_server_name: env.text(variable::TLS_SERVER_NAME),
        })
    }

    /// Whether credentials may be sent to the server at `address`.
    ///
    /// A token is the user's to place, and sops sends it anywhere unless told otherwise. A login would give a service account's
    /// token or an `AppRole`'s secret to any server that a file names: it must be allowed by name.
    pub(super) fn allow(&self, address: &str) -> Result<(), Failure> {
        let denied = |what: String| Err(Failure::new(KeyErrorKind::Denied, what));
        if !self.allowlist.allows(address) {
            return denied(format!("{} does not allow {address}", variable::ALLOWLIST))
                .map_err(|f| f.hint(format!("if you trust this server, add it to {}", variable::ALLOWLIST)));
        }
        let native = !matches!(self.login, Login::Token { .. });
        let own = || self.own_server.as_ref().map(Url::origin) == uri::address(address).ok().map(|url| url.origin());
        if native && self.allowlist == Allowlist::Unset && !own() {
            return denied(format!(
                "logging in at {address} is not allowed: a file names it, no setting of yours does"
            ))
            .map_err(|f| {
                f.hint(format!("if you trust this server, set {}={address} or {}", variable::ALLOWLIST, variable::ADDR))
            });
        }
        Ok(())
    }
}

/// How long an operation may take.
pub(super) fn timeout(env: &dyn Env, program_timeout: Duration) -> Result<Duration, Failure> {
    match env.text(variable::CLIENT_TIMEOUT) {
        None => Ok(program_timeout),
        Some(text) => duration(&text)
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| bad(variable::CLIENT_TIMEOUT, "not a number of seconds nor a duration like 1m30s")),
    }
}

fn bad(name: &str, why: &str) -> Failure {
    Failure::new(KeyErrorKind::BadConfig, format!("{name}: {why}"))
}

/// A boolean as Go reads one.
pub(super) fn switch(env: &dyn Env, name: &str) -> Result<bool, Failure> {
    match env.text(name).as_deref() {
        None | Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some(_) => Err(bad(name, "neither true nor false")),
    }
}

/// Whole seconds, or a duration as Go writes it: `1h`, `1m30s`, `1.5s`, `250ms`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit() && c != '.')?];
        rest = &rest[number.len()..];
        let unit = &rest[..rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len())];
        rest = &rest[unit.len()..];
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
    }
    (!text.is_empty()).then_some(sum)
}

fn headers(env: &dyn Env) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    // Vault's own protection against requests that someone else makes a server send.
    headers.insert("x-vault-request", HeaderValue::from_static("true"));
    if let Some(namespace) = env.text(variable::NAMESPACE) {
        let value =
            HeaderValue::from_str(&namespace).map_err(|_| bad(variable::NAMESPACE, "not the path of a namespace"))?;
        headers.insert("x-vault-namespace", value);
    }
    if let Some(text) = env.text(variable::HEADERS) {
        // What is wrong is not quoted: headers are credentials as often as not.
        let refuse = || bad(variable::HEADERS, "not a JSON object of texts, or with a name that begins with X-Vault-");
        let more: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).map_err(|_| refuse())?;
        for (name, value) in more {
            let name = HeaderName::try_from(name).map_err(|_| refuse())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| refuse())?;
            value.set_sensitive(true);
            if name.as_str().starts_with("x-vault-") {
                return Err(refuse());
            }
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

fn login(env: &dyn Env) -> Result<Login, Failure> {
    let need = |name: &str, method: &str| {
        env.text(name).ok_or_else(|| bad(name, &format!("not set, but {}={method} needs it", variable::AUTH)))
    };
    let mount = |method: &str| {
        let mount = env.text(variable::AUTH_MOUNT).unwrap_or_else(|| method.to_owned());
        uri::path_of("login", &mount, "x").map_err(|why| bad(variable::AUTH_MOUNT, &why))?;
        Ok::<_, Failure>(mount.trim_matches('/').to_owned())
    };
    match env.text(variable::AUTH).as_deref() {
        None | Some("token") => Ok(Login::Token {
            token: env.text(variable::TOKEN).map(SecretString::from),
            file: env.home().map(|home| home.join(".vault-token")),
        }),
        Some("kubernetes") => Ok(Login::Kubernetes {
            mount: mount("kubernetes")?,
            role: need(variable::ROLE, "kubernetes")?,
            jwt_file: env.path(variable::JWT_FILE).unwrap_or_else(|| PathBuf::from(SERVICE_ACCOUNT_TOKEN)),
        }),
        Some("approle") => Ok(Login::AppRole {
            mount: mount("approle")?,
            role_id: need(variable::ROLE_ID, "approle")?,
            secret_id: match (env.path(variable::SECRET_ID_FILE), env.text(variable::SECRET_ID)) {
                (Some(file), None) => SecretId::File(file),
                (None, Some(value)) => SecretId::Value(SecretString::from(value)),
                (None, None) => SecretId::None,
                (Some(_), Some(_)) => {
                    let why = format!("set beside {}: which of them is meant?", variable::SECRET_ID_FILE);
                    return Err(bad(variable::SECRET_ID, &why));
                }
            },
        }),
        Some(_) => Err(bad(variable::AUTH, "not one of token, kubernetes, approle")),
    }
}

/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let env: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::read(&env, Duration::from_secs(30))
    }

    #[test]
    fn a_timeout_is_seconds_or_a_duration() {
        for (text, millis) in [("60", 60_000), ("1m30s", 90_000), ("250ms", 250), ("1.5s", 1_500), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5x", "1m2", "-1s", "1e999h", "1..2s", "99999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_setting_that_cannot_be_read_is_named_and_a_secret_in_it_is_not() {
        let id = bulla_core::KeyId::parse_vault_transit("https://a/v1/t/keys/k").unwrap();
        for (name, value) in [
            (variable::CLIENT_TIMEOUT, "hunter2"),
            (variable::MAX_RETRIES, "hunter2"),
            (variable::SKIP_VERIFY, "hunter2"),
            (variable::HEADERS, "hunter2"),
            (variable::HEADERS, r#"{"X-Vault-Token": "hunter2"}"#),
            (variable::AUTH, "hunter2"),
            (variable::ALLOWLIST, "hunter2,"),
            (variable::AGENT_ADDR, "unix:///hunter2"),
            (variable::CACERT_BYTES, "hunter2"),
        ] {
            let error = read(&[(name, value)]).err().unwrap().of(&id);
            assert_eq!(error.kind(), KeyErrorKind::BadConfig, "{name}");
            assert!(error.to_string().contains(name) && !error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_login_needs_its_parts() {
        for variables in [
            &[(variable::AUTH, "kubernetes")][..],
            &[(variable::AUTH, "approle")],
            &[
                (variable::AUTH, "approle"),
                (variable::ROLE_ID, "r"),
                (variable::SECRET_ID, "s"),
                (variable::SECRET_ID_FILE, "f"),
            ],
            &[(variable::AUTH, "kubernetes"), (variable::ROLE, "r"), (variable::AUTH_MOUNT, "../sys")],
        ] {
            assert!(read(variables).is_err(), "{variables:?}");
        }
        assert!(
            read(&[(variable::AUTH, "kubernetes"), (variable::ROLE, "r"), (variable::AUTH_MOUNT, "k8s/prod/")]).is_ok()
        );
    }

    #[test]
    fn a_login_goes_only_where_a_setting_allows_it_by_name() {
        let address = "https://vault.example:8200";
        let allowed = |more: &[(&str, &str)]| {
            let mut variables = vec![(variable::AUTH, "kubernetes"), (variable::ROLE, "r")];
            variables.extend(more);
            read(&variables).unwrap().allow(address).is_ok()
        };
        assert!(!allowed(&[]));
        assert!(!allowed(&[(variable::ADDR, "https://other.example:8200")]));
        assert!(!allowed(&[(variable::ALLOWLIST, "https://other.example")]));
        assert!(allowed(&[(variable::ADDR, "https://vault.example:8200/")]));
        assert!(allowed(&[(variable::ALLOWLIST, address)]));
        assert!(allowed(&[(variable::ALLOWLIST, "all")]));
        assert!(read(&[]).unwrap().allow(address).is_ok(), "a token goes anywhere, as with sops");
        assert!(read(&[(variable::ALLOWLIST, "none")]).unwrap().allow(address).is_err());
    }
}
