//! Requests to the server.
//!
//! Answers are kept as a template's values: their strings are wiped when nobody needs them any more.

mod variables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bulla_core::backoff::Backoff;
use bulla_core::{Env, SecretString, json};
use bulla_kms::vault_client::{self, Client};
use bulla_kms::vault_http::{Again, Http, HttpError, Opened, Reply, Request};
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
    settings: Settings,
    connected: RwLock<Arc<Connected>>,
    files: Mutex<Files>,
    /// Told when a request with a token was refused: perhaps the server does not know the token any more.
    pub(crate) doubt: Arc<Notify>,
}

/// How the server is connected to.
struct Settings {
    vault: Vault,
    flags: Vault,
    env: Arc<dyn Env>,
    whose: Whose,
    /// How often what is passed on is sent again.
    repeats: u32,
}

/// A connection with the certificates that its files had.
struct Connected {
    http: Http,
    timeout: Duration,
}

/// The files of certificates, as they were.
#[derive(Default)]
struct Files {
    /// When they were last used.
    used: Vec<variables::Seen>,
    /// When they could not be used, which was said.
    said: Option<Vec<variables::Seen>>,
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
    pub(crate) fn new(vault: &Vault, flags: &Vault, env: &Arc<dyn Env>, whose: Whose) -> Result<Self, String> {
        let repeats = if whose == Whose::Own { 0 } else { vault.retries().min(REPEATS) };
        let (vault, flags, env) = (vault.clone(), flags.clone(), Arc::clone(env));
        let settings = Settings { vault, flags, env, whose, repeats };
        // Looked at first: what is written in between is read again.
        let files = Files { used: settings.variables().seen(), said: None };
        let connected = RwLock::new(Arc::new(settings.connect()?));
        Ok(Self { settings, connected, files: Mutex::new(files), doubt: Arc::default() })
    }

    /// Connects anew if the files of certificates are others: whoever writes them need not know this process. Requests that are on their way end as
    /// they began.
    pub(crate) fn look(&self) {
        let now = self.settings.variables().seen();
        let mut files = lock(&self.files);
        if now == files.used {
            return;
        }
        match self.settings.connect() {
            Ok(connected) => {
                tracing::info!("the certificates for the server were read again");
                *self.connected.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(connected);
                *files = Files { used: now, said: None };
            }
            // It is tried again: whoever writes them does so one after the other.
            Err(error) => {
                if files.said.as_ref() != Some(&now) {
                    tracing::error!(error, "the certificates for the server were not read again; those before stay");
                }
                files.said = Some(now);
            }
        }
    }

    fn connected(&self) -> Arc<Connected> {
        Arc::clone(&self.connected.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Until when a request that begins now is answered, repetitions included.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.connected().timeout
    }

    /// Sends somebody else's request, again if need be; the last answer, whatever its status.
    pub(crate) async fn pass_on(&self, request: &Request<'_>, until: Instant) -> Result<Opened, ApiError> {
        let connected = self.connected();
        let repeats = if STATES.contains(&request.path.trim_end_matches('/')) { 0 } else { self.settings.repeats };
        let mut last = None;
        for attempt in 0..=repeats {
            if attempt > 0 {
                let wait = AGAIN.after(attempt);
                if Instant::now() + wait >= until {
                    break;
                }
                sleep(wait).await;
            }
            let Ok(sent) = timeout_at(until, connected.http.open(request)).await else { break };
            let again = match &sent {
                Ok(opened) => {
                    worth_repeating(opened.status, &request.method)
                        && opened.retry_after.is_none_or(|wait| wait <= AGAIN.limit)
                }
                Err(error) => matches!(error, HttpError::Unreachable(_)) && request.method == Method::GET,
            };
            last = Some(sent);
            if !again {
                break;
            }
        }
        match last {
            Some(Ok(opened)) => Ok(opened),
            Some(Err(error)) => Err(ApiError::Unreachable(format!("the server: {error}"))),
            None => Err(too_late(connected.timeout)),
        }
    }

    /// Sends a request as it is; the answer, whatever its status.
    pub(crate) async fn pass(&self, request: &Request<'_>) -> Result<Reply, ApiError> {
        let connected = self.connected();
        match tokio::time::timeout(connected.timeout, connected.http.send(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(ApiError::Unreachable(format!("the server: {error}"))),
            Err(_) => Err(too_late(connected.timeout)),
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

impl Settings {
    fn variables(&self) -> variables::Variables<'_> {
        variables::Variables { vault: &self.vault, flags: &self.flags, env: self.env.as_ref() }
    }

    fn connect(&self) -> Result<Connected, String> {
        let variables = self.variables();
        let (idle, others) = (self.vault.idle, self.whose == Whose::Others);
        let idle = if others { idle.proxied } else { idle.own };
        let Client { http, timeout } = vault_client::connect_with(&variables, &variables.address(), idle)?;
        Ok(Connected { http: if others { http.keep_path() } else { http }, timeout })
    }
}

fn too_late(timeout: Duration) -> ApiError {
    ApiError::Unreachable(format!("the server gives no answer in {} s", timeout.as_secs()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
