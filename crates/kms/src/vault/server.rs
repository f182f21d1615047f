//! One server: its HTTP client, its session, and requests with what they may need to be repeated for.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::{Env, KeyErrorKind, SecretBytes, SecretString};
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, NoProxy, Proxy, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::login::{self, Session};
use super::settings::{Redirects, Settings};
use super::{error, uri, variable};
use crate::dns::Resolver;
use crate::failure::Failure;

/// A server of keys. Connections and the session are shared by all keys of its address.
pub(super) struct Server {
    /// What messages call it.
    address: String,
    /// Where requests go: the address, an agent's, or the address under the name of its certificate.
    base: Url,
    /// The `Host` header, if `base` does not say it.
    host: Option<HeaderValue>,
    client: Client,
    settings: Arc<Settings>,
    session: Mutex<Option<Arc<Session>>>,
}

/// A server's answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: SecretBytes,
}

impl Server {
    /// The server at `address`. Connects when it is used.
    pub(super) fn new(
        address: &str,
        settings: Arc<Settings>,
        env: &dyn Env,
        resolver: Resolver,
    ) -> Result<Self, Failure> {
        let bad = |what: String| Failure::new(KeyErrorKind::BadConfig, what);
        let mut base = uri::address(settings.agent.as_ref().map_or(address, Url::as_str)).map_err(bad)?;
        let real_host = base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut builder = Client::builder()
            .tls_backend_preconfigured(settings.tls.clone())
            .redirect(redirect::Policy::none())
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .default_headers(settings.headers.clone())
            // Variables are read from `env`, by us.
            .no_proxy();
        let mut host = None;
        let mut stand_in = None;
        // rustls takes the name to check, and to ask the server for, from the URL. So the URL has the certificate's name,
        // and that name leads to the real host.
        if let Some(name) = settings.tls_server_name.as_ref().filter(|_| base.scheme() == "https") {
            let refuse = |why: &str| bad(format!("{}: {why}", variable::TLS_SERVER_NAME));
            host = authority(&base).and_then(|text| HeaderValue::from_str(&text).ok());
            base.set_host(Some(name)).map_err(|_| refuse("not a host name"))?;
            // An address would not be resolved, but connected to.
            let name = base.domain().ok_or_else(|| refuse("must be a host name, not an address"))?;
            stand_in = Some((name.to_owned(), real_host.clone()));
        }
        for proxy in proxies(env, &real_host)? {
            // The proxy would look for the certificate's name, and may find another server.
            if stand_in.is_some() {
                return Err(bad(format!("{} cannot be used through a proxy", variable::TLS_SERVER_NAME)));
            }
            builder = builder.proxy(proxy);
        }
        let client = builder
            .dns_resolver(Arc::new(Names { resolver, stand_in }))
            .build()
            .map_err(|error| bad(format!("setting up HTTP: {}", crate::failure::causes(&error))))?;
        Ok(Self { address: address.to_owned(), base, host, client, settings, session: Mutex::default() })
    }

    /// What messages call it.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Posts `fields` to `path` with a token. Logs in for one as the settings say, and again when the server has forgotten it.
    pub(super) async fn operate(&self, path: &[String], fields: &[(&str, &str)]) -> Result<Reply, Failure> {
        let (session, age) = self.session().await?;
        let reply = self.request(Method::POST, path, fields, session.token.as_ref()).await?;
        if reply.status != StatusCode::FORBIDDEN || age == Age::New || !self.forgot(&session).await? {
            return self.accepted(reply, path, &session);
        }
        let (session, _) = self.session().await?;
        let reply = self.request(Method::POST, path, fields, session.token.as_ref()).await?;
        self.accepted(reply, path, &session)
    }

    /// Sends a request, again if the connection fails or the server is busy, and reads the answer.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &[String],
        fields: &[(&str, &str)],
        token: Option<&SecretString>,
    ) -> Result<Reply, Failure> {
        let mut url = self.base.clone();
        url.set_path(&["v1"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("/"));
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                Failure::new(KeyErrorKind::BadConfig, "the Vault token holds characters that no token has")
                    .hint(format!("check {} or ~/.vault-token for line breaks and control characters", variable::TOKEN))
            })?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        let body = Bytes::from_owner(json(fields));
        let mut attempt = 0;
        loop {
            let sent = self.send(&method, &url, &headers, &body).await;
            let again = match &sent {
                Ok(reply) => worth_repeating(reply.0.status),
                Err(failure) => failure.kind == KeyErrorKind::Unreachable,
            };
            if !again || attempt >= self.settings.retries {
                return sent.map(|(reply, _)| reply);
            }
            let asked = sent.ok().and_then(|(_, wait)| wait).map(|wait| wait.min(LONGEST_WAIT));
            tokio::time::sleep(asked.unwrap_or_else(|| backoff(attempt))).await;
            attempt += 1;
        }
    }

    /// One request, through one redirect at most, and how long the server asks to wait before the next.
    async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(Reply, Option<Duration>), Failure> {
        let request = |url: Url| self.client.request(method.clone(), url).headers(headers.clone()).body(body.clone());
        let mut first = request(url.clone());
        if let Some(host) = &self.host {
            first = first.header(HOST, host);
        }
        let unreachable = |error: reqwest::Error| error::no_connection(&self.address, error);
        let mut response = first.send().await.map_err(unreachable)?;
        if let Some(target) = self.redirect(url, &response)? {
            response = request(target).send().await.map_err(unreachable)?;
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status();
        let mut body = SecretBytes::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(error::too_long(&self.address));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((Reply { status, body }, wait.map(Duration::from_secs)))
    }

    /// Where `response` sends us: a standby to the active server. The token goes along, so never to another scheme.
    fn redirect(&self, url: &Url, response: &Response) -> Result<Option<Url>, Failure> {
        if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
            return Ok(None);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|text| url.join(text).ok());
        match target {
            Some(target) if self.settings.redirects == Redirects::One && target.scheme() == url.scheme() => {
                Ok(Some(target))
            }
            _ => Err(error::redirected(&self.address, location)),
        }
    }

    /// The session, made now if there is none or it has run out.
    async fn session(&self) -> Result<(Arc<Session>, Age), Failure> {
        let mut session = self.session.lock().await;
        if let Some(session) = session.as_ref().filter(|session| session.is_live()) {
            return Ok((Arc::clone(session), Age::Kept));
        }
        let new = Arc::new(login::log_in(self, &self.settings.login).await?);
        *session = Some(Arc::clone(&new));
        Ok((new, Age::New))
    }

    /// Whether a refusal is because the server no longer knows the token, which can be got again. If so, drops it.
    async fn forgot(&self, refused: &Arc<Session>) -> Result<bool, Failure> {
        if !refused.is_renewed_by_login() {
            return Ok(false);
        }
        let lookup = ["auth", "token", "lookup-self"].map(str::to_owned);
        let reply = self.request(Method::GET, &lookup, &[], refused.token.as_ref()).await?;
        if reply.status.is_success() {
            return Ok(false);
        }
        let mut session = self.session.lock().await;
        // Another task may have logged in meanwhile.
        if session.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused)) {
            *session = None;
        }
        Ok(true)
    }

    fn accepted(&self, reply: Reply, path: &[String], session: &Session) -> Result<Reply, Failure> {
        if reply.status.is_success() {
            return Ok(reply);
        }
        if session.token.is_none() && self.settings.agent.is_none() && matches!(reply.status.as_u16(), 400 | 401 | 403)
        {
            return Err(error::no_token(&self.address));
        }
        Err(error::refused(&self.address, path, &reply, session.token.as_ref()))
    }
}

/// Whether a session was made for this operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Kept,
}

/// The parts of an answer that anything here asks for.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) data: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) auth: Option<Auth<'a>>,
}

/// What `encrypt` and `decrypt` answer. Borrowed, so that no copy of a plaintext is left behind.
#[derive(Deserialize)]
pub(super) struct Data<'a> {
    pub(super) ciphertext: Option<&'a str>,
    pub(super) plaintext: Option<&'a str>,
}

/// What a login answers.
#[derive(Deserialize)]
pub(super) struct Auth<'a> {
    pub(super) client_token: &'a str,
    #[serde(default)]
    pub(super) lease_duration: u64,
}

impl Reply {
    /// The answer's parts.
    pub(super) fn parse(&self) -> Result<Answer<'_>, Failure> {
        // serde's message could quote a value.
        serde_json::from_slice(self.body.expose())
            .map_err(|_| Failure::new(KeyErrorKind::Other, "the server's answer is not what a Vault server answers"))
    }
}

/// However long a busy server asks us to stay away, the time of an operation is short.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// More than any answer here has.
const LONGEST_ANSWER: usize = 1 << 20;

fn worth_repeating(status: StatusCode) -> bool {
    matches!(status.as_u16(), 412 | 429) || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// A quarter of a second, doubled each time, less up to half of it by chance: many clients must not return together.
fn backoff(attempt: u32) -> Duration {
    let full = Duration::from_millis(250) * 2u32.saturating_pow(attempt.min(6));
    let chance = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    full.mul_f64(1.0 - chance / 2.0)
}

/// A JSON object of texts, wiped when the request is done.
fn json(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // Room for everything escaped: growing would leave pieces behind.
    let room = fields.iter().map(|(name, value)| 6 * (name.len() + value.len()) + 8).sum::<usize>() + 2;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    if fields.is_empty() {
        return text;
    }
    for (n, (name, value)) in fields.iter().enumerate() {
        text.push(if n == 0 { b'{' } else { b',' });
        // Writing to memory does not fail.
        let _ = serde_json::to_writer(&mut *text, name);
        text.push(b':');
        let _ = serde_json::to_writer(&mut *text, value);
    }
    text.push(b'}');
    text
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The proxies that variables name, if any. As in Go, none for this machine's own addresses.
fn proxies(env: &dyn Env, host: &str) -> Result<Vec<Proxy>, Failure> {
    let bad = |name: &str| Failure::new(KeyErrorKind::BadConfig, format!("{name} is not the URL of a proxy"));
    for name in [variable::PROXY_ADDR, variable::HTTP_PROXY] {
        if let Some(url) = env.text(name) {
            return Ok(vec![Proxy::all(url).map_err(|_| bad(name))?]);
        }
    }
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if local {
        return Ok(Vec::new());
    }
    let either = |upper: &str, lower: &str| env.text(upper).or_else(|| env.text(lower));
    let none_for = either("NO_PROXY", "no_proxy").and_then(|rules| NoProxy::from_string(&rules));
    let mut proxies = Vec::new();
    if let Some(url) = either("HTTPS_PROXY", "https_proxy") {
        proxies.push(Proxy::https(url).map_err(|_| bad("HTTPS_PROXY"))?.no_proxy(none_for.clone()));
    }
    if let Some(url) = either("HTTP_PROXY", "http_proxy") {
        proxies.push(Proxy::http(url).map_err(|_| bad("HTTP_PROXY"))?.no_proxy(none_for));
    }
    Ok(proxies)
}

/// Resolves host names; the certificate's name to the real host's addresses.
struct Names {
    resolver: Resolver,
    stand_in: Option<(String, String)>,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver.clone();
        let host = match &self.stand_in {
            Some((asked, real)) if asked == name.as_str() => real.clone(),
            _ => name.as_str().to_owned(),
        };
        Box::pin(async move {
            let addresses = match host.parse() {
                Ok(address) => vec![address],
                Err(_) => resolver.addresses(&host).await?,
            };
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_and_never_grows() {
        let text = json(&[("role", "a\"\u{1}b"), ("jwt", "x")]);
        assert_eq!(&**text, br#"{"role":"a\"\u0001b","jwt":"x"}"#);
        let worst = "\u{1}".repeat(1000);
        let before = json(&[("n", &worst)]);
        assert!(before.len() <= before.capacity() && before.capacity() < 7000);
    }

    #[test]
    fn waiting_doubles_and_differs() {
        for attempt in 0..40 {
            let full = Duration::from_millis(250) * 2u32.pow(attempt.min(6));
            let wait = backoff(attempt);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
    }
}
