//! Requests to the server, and what is printed instead of sending them.

use std::time::Duration;

use bulla_core::json::{self, Object, Value};
use bulla_core::{Env, SecretBytes, SecretString};
use bulla_kms::vault_http::{Again, Http, Request};
use bulla_kms::{vault_client, vault_variable as variable};
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::Failure;
use crate::show::plain;

/// The longest part of an answer that is no JSON which is shown.
const LONGEST_SHOWN: usize = 4096;
/// The longest refusal of what would have been a long answer.
const LONGEST_REFUSAL: usize = 1 << 20;

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// What is below `/v1/`.
    pub(crate) path: &'a str,
    pub(crate) query: Vec<(&'a str, String)>,
    pub(crate) body: Option<Object>,
    /// Whether this is the request that the command is about: it may be wrapped, or shown instead of sent.
    pub(crate) role: Role,
    /// Another token than the one in use.
    pub(crate) token: Option<&'a SecretString>,
    /// How long its answer is to be wrapped, if not as the user says.
    pub(crate) wrap: Option<String>,
}

/// What a request is to the command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// What the user asked for.
    Main,
    /// What is needed to know before: sent in any case, never wrapped.
    Preparation,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Vec::new(), body: None, role: Role::Main, token: None, wrap: None }
    }

    pub(crate) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn list(path: &'a str) -> Self {
        Self::get(path).with_query("list", "true")
    }

    pub(crate) fn put(path: &'a str, body: Object) -> Self {
        Self::new(Method::PUT, path).with_body(body)
    }

    pub(crate) fn post(path: &'a str, body: Object) -> Self {
        Self::new(Method::POST, path).with_body(body)
    }

    pub(crate) fn patch(path: &'a str, body: Object) -> Self {
        Self::new(Method::PATCH, path).with_body(body)
    }

    pub(crate) fn delete(path: &'a str) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn with_body(mut self, body: Object) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn with_query(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn with_token(mut self, token: &'a SecretString) -> Self {
        self.token = Some(token);
        self
    }

    pub(crate) fn preparing(mut self) -> Self {
        self.role = Role::Preparation;
        self
    }
}

/// A server's answer.
pub(crate) struct Reply {
    status: u16,
    body: SecretBytes,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.body.expose()
    }
}

/// The connection to the server, and what all requests have in common.
pub(crate) struct Client {
    http: Http,
    runtime: Runtime,
    timeout: Duration,
    /// For messages: the address without a slash at its end.
    address: String,
    namespace: Option<String>,
    token: Option<SecretString>,
    headers: HeaderMap,
    wrap: Option<u64>,
    instead: Instead,
    program: &'static str,
}

/// What is done with the request that a command is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instead {
    Send,
    Curl,
    Policy,
}

impl Client {
    /// Reads what there is to know about the server. Asks nobody.
    pub(crate) fn new(context: &Context<'_>, variables: &dyn Env) -> Result<Self, Failure> {
        let address = context.address();
        let made = vault_client::connect(variables, &address).map_err(Failure::remote)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::usage(format!("cannot start the asynchronous runtime: {error}")))?;
        let flags = &context.flags;
        let instead = match (flags.is_on("output-curl-string"), flags.is_on("output-policy")) {
            (true, true) => return Err(Failure::usage("-output-curl-string and -output-policy exclude each other")),
            (true, false) => Instead::Curl,
            (false, true) => Instead::Policy,
            (false, false) => Instead::Send,
        };
        Ok(Self {
            http: made.http,
            runtime,
            timeout: made.timeout,
            address,
            namespace: variables.text(variable::NAMESPACE).map(|name| format!("{}/", name.trim_matches('/'))),
            token: context.token()?,
            headers: headers(context)?,
            wrap: context.wrap_ttl()?,
            instead,
            program: context.name.program(),
        })
    }

    /// Sends a request and reads the answer, whatever its status.
    pub(crate) fn send(&self, call: &Call<'_>) -> Result<Reply, Failure> {
        let (headers, body) = self.prepared(call)?;
        let (path, query) = (encoded(call.path), query(call));
        let request = self.request(call, &path, query.as_deref(), headers, body);
        let sending =
            self.runtime.block_on(async { tokio::time::timeout(self.timeout, self.http.send(&request)).await });
        let verb = title(call.method.as_str());
        let failed = |why: String| Failure::remote(format!("{verb} {:?}: {why}", self.url(call)));
        match sending {
            Ok(Ok(reply)) => Ok(Reply { status: reply.status.as_u16(), body: reply.body }),
            Ok(Err(error)) => Err(failed(self.reason(&error.to_string()))),
            Err(_) => Err(failed(format!("no answer within {} s (VAULT_CLIENT_TIMEOUT)", self.timeout.as_secs()))),
        }
    }

    /// Sends a request, and gives what is answered to `take`, piece by piece: it may be longer than memory. Only the time in which nothing comes is limited.
    /// What is no success is given back whole.
    pub(crate) fn save(
        &self,
        call: &Call<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<Reply>, Failure> {
        let (headers, body) = self.prepared(call)?;
        let (path, query) = (encoded(call.path), query(call));
        let request = self.request(call, &path, query.as_deref(), headers, body);
        let verb = title(call.method.as_str());
        let failed = |why: String| Failure::remote(format!("{verb} {:?}: {why}", self.url(call)));
        let late = |_| failed(format!("nothing came within {} s (VAULT_CLIENT_TIMEOUT)", self.timeout.as_secs()));
        self.runtime.block_on(async {
            let opening = tokio::time::timeout(self.timeout, self.http.open(&request)).await.map_err(late)?;
            let mut opened = opening.map_err(|error| failed(self.reason(&error.to_string())))?;
            let status = opened.status.as_u16();
            let mut refusal = SecretBytes::new();
            loop {
                let next = tokio::time::timeout(self.timeout, opened.chunk()).await.map_err(late)?;
                let Some(chunk) = next.map_err(|error| failed(error.to_string()))? else { break };
                if (200..300).contains(&status) {
                    take(&chunk)?;
                } else if refusal.len() + chunk.len() <= LONGEST_REFUSAL {
                    refusal.extend_from_slice(&chunk);
                }
            }
            Ok((!(200..300).contains(&status)).then_some(Reply { status, body: refusal }))
        })
    }

    /// The headers and the body of a request, unless it is to be shown instead.
    fn prepared(&self, call: &Call<'_>) -> Result<(HeaderMap, Bytes), Failure> {
        let mut headers = self.headers.clone();
        if call.role == Role::Main
            && let Some(ttl) = call.wrap.clone().or_else(|| self.wrap.map(plain::go_duration))
            && let Ok(value) = HeaderValue::from_str(&ttl)
        {
            headers.insert(WRAP_TTL, value);
        }
        if call.role == Role::Main && self.instead != Instead::Send {
            let text = if self.instead == Instead::Curl { self.curl(call, &headers) } else { policy(call) };
            return Err(Failure::instead(text));
        }
        if call.method == Method::PATCH {
            headers.insert(CONTENT_TYPE, MERGE_PATCH);
        }
        let body = call
            .body
            .as_ref()
            .map_or_else(Bytes::new, |body| Bytes::from_owner(Zeroizing::new(json::object_to_vec(body))));
        Ok((headers, body))
    }

    fn request<'r>(
        &'r self,
        call: &Call<'r>,
        path: &'r str,
        query: Option<&'r str>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Request<'r> {
        Request {
            method: call.method.clone(),
            path,
            query,
            body,
            headers,
            // An empty one says: without any.
            token: call.token.or(self.token.as_ref()).filter(|token| !token.expose().is_empty()),
            again: if call.method == Method::GET { Again::OnTrouble } else { Again::IfNothingWasDone },
        }
    }

    /// What a status that is no success says.
    pub(crate) fn refused(&self, call: &Call<'_>, reply: &Reply) -> Failure {
        let mut text = "Error making API request.\n\n".to_owned();
        if let Some(namespace) = &self.namespace {
            text.push_str(&format!("Namespace: {namespace}\n"));
        }
        text.push_str(&format!("URL: {} {}\nCode: {}. ", call.method, self.url(call), reply.status));
        let errors = json::parse_object(reply.body()).ok().and_then(|mut body| match body.remove("errors") {
            Some(Value::Array(errors)) => Some(errors),
            _ => None,
        });
        if let Some(errors) = errors {
            text.push_str("Errors:\n\n");
            let lines: Vec<String> =
                errors.iter().map(|error| format!("* {}", printable(&plain::value(error)))).collect();
            text.push_str(&lines.join("\n"));
        } else {
            let body = String::from_utf8_lossy(reply.body());
            let end = body.char_indices().nth(LONGEST_SHOWN).map_or(body.len(), |(at, _)| at);
            // An answer that is JSON may hold what it should not: a secret.
            let is_json = json::parse(reply.body()).is_ok();
            let shown = if is_json { "" } else { body.get(..end).unwrap_or_default() };
            text.push_str(&format!("Raw Message:\n\n{}", printable(shown)));
        }
        Failure::remote(text)
    }

    fn url(&self, call: &Call<'_>) -> String {
        let address = if self.address.starts_with("unix://") { "http://localhost" } else { &self.address };
        let query = query(call).map_or_else(String::new, |query| format!("?{query}"));
        format!("{address}/v1/{}{query}", call.path)
    }

    /// Why there is no answer, in the words that scripts look for.
    fn reason(&self, error: &str) -> String {
        let host = self.address.split("://").nth(1).unwrap_or_default();
        if error.contains("Connection refused") {
            return format!("dial tcp {}: connect: connection refused", host.split('/').next().unwrap_or_default());
        }
        error.to_owned()
    }

    fn curl(&self, call: &Call<'_>, headers: &HeaderMap) -> String {
        let mut text = "curl".to_owned();
        if call.method != Method::GET {
            text.push_str(&format!(" -X {}", call.method));
        }
        let mut add = |name: &str, value: &str| text.push_str(&format!(" -H \"{name}: {value}\""));
        add("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            add("X-Vault-Namespace", namespace);
        }
        if call.method == Method::PATCH {
            add("Content-Type", "application/merge-patch+json");
        }
        for (name, value) in headers.iter().filter(|(name, _)| *name != WRAP_TTL) {
            add(&words(name.as_str()), value.to_str().unwrap_or_default());
        }
        add("X-Vault-Token", &format!("$({} print token)", self.program));
        if let Some(value) = headers.get(WRAP_TTL).and_then(|value| value.to_str().ok()) {
            add("X-Vault-Wrap-Ttl", value);
        }
        if let Some(body) = &call.body {
            let body = String::from_utf8_lossy(&json::object_to_vec(body)).replace('\'', "'\"'\"'");
            text.push_str(&format!(" -d '{body}'"));
        }
        format!("{text} \"{}\"\n", self.url(call))
    }
}

const WRAP_TTL: HeaderName = HeaderName::from_static("x-vault-wrap-ttl");
const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");

/// The policy that allows a request.
fn policy(call: &Call<'_>) -> String {
    let is_list = call.query.iter().any(|(name, value)| *name == "list" && value == "true");
    let capabilities = match call.method.as_str() {
        "GET" if is_list => "\"list\"",
        "GET" => "\"read\"",
        "PATCH" => "\"patch\"",
        "DELETE" => "\"delete\"",
        _ => "\"create\", \"update\"",
    };
    format!("path \"{}\" {{\n  capabilities = [{capabilities}]\n}}\n", call.path)
}

fn headers(context: &Context<'_>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in context.flags.pairs("header") {
        if name.to_ascii_lowercase().starts_with("x-vault-") {
            let what =
                format!("failed to setup Headers[{name}]: Header starting by 'X-Vault-' are for internal usage only");
            return Err(Failure::remote(what));
        }
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(Failure::usage("invalid value for flag -header: no name and value of a header"));
        };
        headers.append(name, sensitive(value));
    }
    let credentials = context.flags.texts("mfa").iter().cloned();
    for credential in credentials.chain(context.variable("MFA").filter(|_| context.flags.text("mfa").is_none())) {
        let value = HeaderValue::try_from(credential).map_err(|_| Failure::usage("invalid value for flag -mfa"))?;
        headers.append(HeaderName::from_static("x-vault-mfa"), sensitive(value));
    }
    if context.flags.is_on("policy-override") {
        headers.insert(HeaderName::from_static("x-vault-policy-override"), HeaderValue::from_static("true"));
    }
    Ok(headers)
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// A path that stays what it is in a URL.
fn encoded(path: &str) -> String {
    path.replace('%', "%25").replace('\\', "%5C")
}

fn query(call: &Call<'_>) -> Option<String> {
    let pairs: Vec<String> = call.query.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// A name or value of a query.
fn form(text: &str) -> String {
    let mut out = String::new();
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `Get` of `GET`.
fn title(word: &str) -> String {
    let (first, rest) = word.split_at_checked(1).unwrap_or(("", word));
    format!("{}{}", first.to_uppercase(), rest.to_lowercase())
}

/// `X-Vault-Mfa` of `x-vault-mfa`.
fn words(name: &str) -> String {
    name.split('-').map(title).collect::<Vec<_>>().join("-")
}

/// What a server says goes to a terminal: no control characters but lines and tabs.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}
