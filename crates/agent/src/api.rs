//! Requests to the server.
//!
//! Answers are kept as a template's values: their strings are wiped when nobody needs them any more.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{Env, SecretString, json};
use bulla_kms::vault_http::{Again, Http, HttpError, Reply, Request};
use bulla_kms::{vault_client, vault_variable as variable};
use bulla_template::{Limits, Value};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use crate::config::Vault;

pub(crate) const WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
/// The most seconds that anything takes: more than three thousand years.
pub(crate) const LONGEST: u64 = 100_000_000_000;
/// The longest part of a server's words that is shown.
const LONGEST_SHOWN: usize = 1024;
/// What the values of an answer may take.
const LIMITS: Limits = Limits { steps: 100_000_000, output: 0, memory: 256 << 20, depth: 128 };

/// The server.
pub(crate) struct Api {
    http: Http,
    timeout: Duration,
    /// How often what is passed on is sent again.
    repeats: u32,
    /// Told when a request with a token was refused: perhaps the server does not know the token any more.
    pub(crate) doubt: Arc<Notify>,
}

/// The most often that what is passed on is sent again: whoever asks is waiting, and may ask again.
const REPEATS: u32 = 2;
/// Between two of those.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(250), limit: Duration::from_secs(2) };
/// What says how the server is, whatever its status: it is not sent again.
const STATES: [&str; 2] = ["sys/health", "sys/seal-status"];

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There is no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The server says no.
    #[error("the server answers {status}: {why}")]
    Refused { status: u16, why: String },
    /// What the server says means nothing.
    #[error("the server's answer cannot be read: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether it will not be otherwise for this token.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status: 400 | 403 | 404, .. })
    }
}

/// Whose requests are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The agent's own, each once: whoever asks repeats it.
    Own,
    /// Others', which are passed on: to the path that they name and no other, and again a few times if that may help.
    Others,
}

impl Api {
    /// Connects when it is used.
    ///
    /// # Errors
    /// What of the settings cannot be used.
    pub(crate) fn new(vault: &Vault, flags: &Vault, env: &dyn Env, whose: Whose) -> Result<Self, String> {
        let variables = Variables { vault, flags, env };
        let address = variables.setting("ADDR", |vault| vault.address.clone());
        let address = address.and_then(|address| address.into_string().ok());
        let address = address.unwrap_or_else(|| "https://127.0.0.1:8200".to_owned());
        let client = vault_client::connect(&variables, &address)?;
        let (http, repeats) = match whose {
            Whose::Own => (client.http, 0),
            Whose::Others => (client.http.keep_path(), vault.retries().min(REPEATS)),
        };
        Ok(Self { http, timeout: client.timeout, repeats, doubt: Arc::default() })
    }

    /// Sends somebody else's request, again if need be; the last answer, whatever its status.
    pub(crate) async fn pass_on(&self, request: &Request<'_>) -> Result<Reply, ApiError> {
        let until = Instant::now() + self.timeout;
        let repeats = if STATES.contains(&request.path.trim_end_matches('/')) { 0 } else { self.repeats };
        let mut last = None;
        for attempt in 0..=repeats {
            if attempt > 0 {
                let wait = AGAIN.after(attempt);
                if Instant::now() + wait >= until {
                    break;
                }
                sleep(wait).await;
            }
            let Ok(sent) = timeout_at(until, self.http.send(request)).await else { break };
            let again = match &sent {
                Ok(reply) => {
                    worth_repeating(reply.status, &request.method)
                        && reply.retry_after.is_none_or(|wait| wait <= AGAIN.limit)
                }
                Err(error) => matches!(error, HttpError::Unreachable(_)) && request.method == Method::GET,
            };
            last = Some(sent);
            if !again {
                break;
            }
        }
        match last {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(error)) => Err(ApiError::Unreachable(format!("the server: {error}"))),
            None => Err(self.too_late()),
        }
    }

    fn too_late(&self) -> ApiError {
        ApiError::Unreachable(format!("the server gives no answer in {} s", self.timeout.as_secs()))
    }

    /// Sends a request as it is; the answer, whatever its status.
    pub(crate) async fn pass(&self, request: &Request<'_>) -> Result<Reply, ApiError> {
        match tokio::time::timeout(self.timeout, self.http.send(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(ApiError::Unreachable(format!("the server: {error}"))),
            Err(_) => Err(self.too_late()),
        }
    }

    /// Asks, and reads what is answered; [`Value::Missing`] if that is nothing.
    pub(crate) async fn ask(&self, call: Call<'_>) -> Result<Value, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(ttl) = call.wrap
            && let Ok(value) = HeaderValue::from_str(&format!("{}s", ttl.as_millis().div_ceil(1000)))
        {
            headers.insert(WRAP_TTL, value);
        }
        let path = encoded(call.path);
        let reply = self
            .pass(&Request {
                method: call.method,
                path: &path,
                query: call.query.as_deref(),
                body: call.body,
                headers,
                token: call.token,
                again: Again::IfNothingWasDone,
            })
            .await?;
        let status = reply.status.as_u16();
        if status == 403 && call.token.is_some() {
            self.doubt.notify_one();
        }
        if !reply.status.is_success() {
            return Err(ApiError::Refused { status, why: reason(reply.body.expose()) });
        }
        if reply.body.is_empty() {
            return Ok(Value::Missing);
        }
        Value::from_json_exact(reply.body.expose(), LIMITS).map_err(ApiError::Malformed)
    }
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// What is below `/v1/`.
    pub(crate) path: &'a str,
    /// What follows a `?`, encoded.
    pub(crate) query: Option<String>,
    pub(crate) body: Bytes,
    pub(crate) token: Option<&'a SecretString>,
    /// How long the answer is to be wrapped, if it is.
    pub(crate) wrap: Option<Duration>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str, token: Option<&'a SecretString>) -> Self {
        Self { method: Method::GET, path, query: None, body: Bytes::new(), token, wrap: None }
    }

    pub(crate) fn put(path: &'a str, body: Bytes, token: Option<&'a SecretString>) -> Self {
        Self { method: Method::PUT, path, query: None, body, token, wrap: None }
    }
}

/// The body of a request: an object of texts. It is wiped once it is sent.
pub(crate) fn form(fields: &[(&str, &str)]) -> Bytes {
    Bytes::from_owner(object(fields))
}

/// The same below a key: what a versioned secret is written with.
pub(crate) fn form_below(key: &str, fields: &[(&str, &str)]) -> Bytes {
    let inner = object(fields);
    let mut out = Zeroizing::new(Vec::with_capacity(inner.len() + 6 * key.len() + 8));
    out.push(b'{');
    json::write_string(key, &mut out);
    out.push(b':');
    out.extend_from_slice(&inner);
    out.push(b'}');
    Bytes::from_owner(out)
}

fn object(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // With room for all: what grows leaves copies behind.
    let room: usize = fields.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(room + 2));
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::write_string(name, &mut out);
        out.push(b':');
        json::write_string(value, &mut out);
    }
    out.push(b'}');
    out
}

/// What a value has at a path of keys.
pub(crate) fn at(value: &Value, path: &[&str]) -> Value {
    let mut value = value.clone();
    for key in path {
        value = match value {
            Value::Map(map) => map.get(key.as_bytes()).unwrap_or(Value::Missing),
            _ => return Value::Missing,
        };
    }
    value
}

/// The text at a path of keys; one that is empty is none.
pub(crate) fn text_at(value: &Value, path: &[&str]) -> Option<SecretString> {
    match at(value, path) {
        Value::Text(text) | Value::Number(text) if !text.is_empty() => {
            std::str::from_utf8(text.expose()).ok().map(SecretString::from)
        }
        _ => None,
    }
}

/// The whole number at a path of keys. One that is out of all reason is what reason allows: it is computed with.
pub(crate) fn number_at(value: &Value, path: &[&str]) -> Option<u64> {
    text_at(value, path)?.expose().parse().ok().map(|number: u64| number.min(LONGEST))
}

/// Whether what is at a path of keys is true.
pub(crate) fn is_true_at(value: &Value, path: &[&str]) -> bool {
    matches!(at(value, path), Value::Bool(true))
}

/// The server's own words, short and printable. What is no list of errors is not shown: it may be anything.
fn reason(body: &[u8]) -> String {
    let errors = json::parse_object(body).ok().and_then(|mut body| match body.remove("errors") {
        Some(json::Value::Array(errors)) => Some(errors),
        _ => None,
    });
    let errors = errors.unwrap_or_default();
    let texts: Vec<&str> = errors.iter().filter_map(json::Value::as_str).collect();
    if texts.is_empty() {
        return "no reason".to_owned();
    }
    let text = texts.join("; ").replace(|c: char| c.is_control(), " ");
    text.chars().take(LONGEST_SHOWN).collect()
}

/// Whether somebody else's request that was answered so may be answered otherwise soon, and is not done twice.
fn worth_repeating(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        412 | 429 | 503 => true,
        502 | 504 => method == Method::GET,
        _ => false,
    }
}

/// A path as it is written in an address.
fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace('\\', "%5C")
}

/// The variables that `bulla_kms` reads: flags go before the environment, that before the configuration, as the peer has it. Ways to log in of our
/// own are hidden.
struct Variables<'a> {
    vault: &'a Vault,
    flags: &'a Vault,
    env: &'a dyn Env,
}

impl Variables<'_> {
    fn setting(&self, name: &str, of: impl Fn(&Vault) -> Option<String>) -> Option<OsString> {
        let text = |vault: &Vault| of(vault).filter(|text| !text.is_empty()).map(OsString::from);
        text(self.flags).or_else(|| peer_variable(self.env, name)).or_else(|| text(self.vault))
    }
}

impl Env for Variables<'_> {
    fn var(&self, name: &str) -> Option<OsString> {
        let rest = name.strip_prefix("VAULT_");
        match name {
            variable::CACERT => self.setting("CACERT", |vault| vault.ca_cert.clone()),
            variable::CAPATH => self.setting("CAPATH", |vault| vault.ca_path.clone()),
            variable::CLIENT_CERT => self.setting("CLIENT_CERT", |vault| vault.client_cert.clone()),
            variable::CLIENT_KEY => self.setting("CLIENT_KEY", |vault| vault.client_key.clone()),
            variable::TLS_SERVER_NAME => self.setting("TLS_SERVER_NAME", |vault| vault.tls_server_name.clone()),
            variable::SKIP_VERIFY => {
                self.setting("SKIP_VERIFY", |vault| vault.tls_skip_verify.map(|on| on.to_string()))
            }
            variable::NAMESPACE => self.setting("NAMESPACE", |vault| vault.namespace.clone()),
            // What they say is in the address already; it never leads to another agent.
            variable::ADDR | variable::AGENT_ADDR | variable::TOKEN => None,
            // What is sent again, and when, is decided here.
            variable::MAX_RETRIES => Some("0".into()),
            _ if name.starts_with("BULLA_") || name.starts_with("SOPS_") => None,
            _ => rest.map_or_else(|| self.env.var(name), |rest| peer_variable(self.env, rest)),
        }
    }
}

/// A variable of the peer's by the end of its name, `BAO_` before `VAULT_`.
fn peer_variable(env: &dyn Env, name: &str) -> Option<OsString> {
    env.var(&format!("BAO_{name}")).or_else(|| env.var(&format!("VAULT_{name}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_configuration() {
        let vault = Vault { ca_cert: Some("/file".into()), tls_skip_verify: Some(true), ..Vault::default() };
        let env = BTreeMap::from([("VAULT_CACERT", "/vault"), ("BAO_CACERT", "/bao"), ("VAULT_TOKEN", "hunter2")]);
        let env: BTreeMap<String, String> = env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let (none, empty) = (Vault::default(), BTreeMap::<String, String>::new());
        let read = |flags: &Vault, env: &dyn Env, name: &str| Variables { vault: &vault, flags, env }.text(name);
        assert_eq!(read(&none, &empty, variable::CACERT).as_deref(), Some("/file"));
        assert_eq!(read(&none, &env, variable::CACERT).as_deref(), Some("/bao"));
        let flags = Vault { ca_cert: Some("/flag".into()), ..Vault::default() };
        assert_eq!(read(&flags, &env, variable::CACERT).as_deref(), Some("/flag"));
        assert_eq!(read(&none, &env, variable::SKIP_VERIFY).as_deref(), Some("true"));
        assert_eq!(read(&none, &env, variable::TOKEN), None);
    }

    #[test]
    fn a_server_is_quoted_only_where_it_speaks_of_errors() {
        assert_eq!(reason(br#"{"errors":["permission denied","x\u0007"]}"#), "permission denied; x ");
        assert_eq!(reason(br#"{"data":{"password":"hunter2"}}"#), "no reason");
        assert_eq!(reason(b"<html>"), "no reason");
    }

    #[test]
    fn a_body_is_json() {
        assert_eq!(form(&[("a", "x\"y"), ("b", "")]), br#"{"a":"x\"y","b":""}"#.as_slice());
        assert_eq!(form_below("data", &[("a", "1")]), br#"{"data":{"a":"1"}}"#.as_slice());
    }
}
