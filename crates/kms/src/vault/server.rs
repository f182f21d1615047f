//! One server: its session, and requests with what they may need to be repeated for.

use std::sync::Arc;

use bulla_core::{Env, KeyErrorKind, SecretString};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, NoProxy, Proxy, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::http::{Again, Http, Idle, Reply, Request, Setup};
use super::login::{self, Session};
use super::settings::Settings;
use super::{error, uri, variable};
use crate::dns::Resolver;
use crate::failure::Failure;

/// A server of keys. Connections and the session are shared by all keys of its address.
pub(super) struct Server {
    /// What messages call it.
    address: String,
    http: Http,
    settings: Arc<Settings>,
    session: Mutex<Option<Arc<Session>>>,
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
        // Requests go to an agent, if there is one.
        let base = uri::address(settings.agent.as_ref().map_or(address, Url::as_str)).map_err(bad)?;
        let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let setup = Setup {
            proxies: proxies(env, host)?,
            address: base,
            socket: None,
            tls: settings.tls.clone(),
            server_name: settings.tls_server_name.clone(),
            headers: settings.headers.clone(),
            retries: settings.retries,
            redirects: settings.redirects,
            longest_answer: LONGEST_ANSWER,
            resolver,
            idle: Idle::Kept,
            // The user's own settings say where to go.
            may_reach: |_| true,
        };
        let http = Http::new(setup).map_err(|failed| error::no_answer(address, failed))?;
        Ok(Self { address: address.to_owned(), http, settings, session: Mutex::default() })
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
        let (path, body) = (path.join("/"), Bytes::from_owner(json(fields)));
        let headers = HeaderMap::new();
        let request = Request { method, path: &path, query: None, body, headers, token, again: Again::OnTrouble };
        self.http.send(&request).await.map_err(|failed| error::no_answer(&self.address, failed))
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

/// An answer's parts.
pub(super) fn parse(reply: &Reply) -> Result<Answer<'_>, Failure> {
    // serde's message could quote a value.
    serde_json::from_slice(reply.body.expose())
        .map_err(|_| Failure::new(KeyErrorKind::Other, "the server's answer is not what a Vault server answers"))
}

/// More than any answer here has.
const LONGEST_ANSWER: usize = 1 << 20;

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

/// The proxies that variables name, if any. As in Go, none for this machine's own addresses.
pub(super) fn proxies(env: &dyn Env, host: &str) -> Result<Vec<Proxy>, Failure> {
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
}
