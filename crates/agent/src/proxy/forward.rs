//! One request, passed on.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::json::{self, Value};
use bulla_core::{SecretBytes, SecretString};
use bulla_kms::vault_http::{Again, Request};
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::watch;
use zeroize::{Zeroize, Zeroizing};

use crate::api::Api;
use crate::config::ProxyToken;
use crate::login::Current;

/// The largest body of a request, as the server has it.
const LONGEST: usize = 32 << 20;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
/// What is about one connection, and not passed on.
const OF_CONNECTIONS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How requests are passed on.
pub(crate) struct Forward {
    pub(crate) api: Arc<Api>,
    pub(crate) token: ProxyToken,
    pub(crate) current: Current,
    pub(crate) require_request_header: bool,
    pub(crate) enable_quit: bool,
    /// Where it is told that somebody wants the agent to end.
    pub(crate) quit: watch::Sender<bool>,
}

type Answer = Response<Full<Bytes>>;

impl Forward {
    /// Answers a request.
    pub(crate) async fn answer(&self, request: http::Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if path.starts_with("/agent/v1/") {
            return self.own(&head.method, path);
        }
        if self.require_request_header {
            let mut said = head.headers.get_all(REQUEST).iter();
            if said.next().is_none_or(|value| value != "true") || said.next().is_some() {
                return error(StatusCode::PRECONDITION_FAILED, "missing \"X-Vault-Request\" header");
            }
        }
        let Some(path) = path.strip_prefix("/v1/") else {
            return error(StatusCode::NOT_FOUND, "only what is below /v1/ is passed on");
        };
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return error(StatusCode::BAD_REQUEST, "the path leads elsewhere");
        }
        let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return error(StatusCode::PAYLOAD_TOO_LARGE, "failed to read request body"),
            Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "failed to read request body"),
        };
        let own = self.current.borrow().clone();
        let own = own.as_ref().and_then(|token| token.plain());
        let given = head.headers.get(TOKEN).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let given = given.map(SecretString::from);
        let token = match self.token {
            ProxyToken::Never => given.as_ref(),
            ProxyToken::IfMissing => given.as_ref().or(own),
            ProxyToken::Always => own,
        };
        tracing::debug!(method = %head.method, path, "a request is passed on");
        let sent = Request {
            method: head.method.clone(),
            path,
            query: head.uri.query(),
            body: body.clone(),
            headers: passed(&head.headers, &[HOST, CONTENT_LENGTH, TOKEN]),
            token,
            again: if head.method == Method::GET { Again::OnTrouble } else { Again::IfNothingWasDone },
        };
        let reply = match self.api.pass(&sent).await {
            Ok(reply) => reply,
            Err(why) => {
                tracing::warn!(%why, "a request was not passed on");
                return error(StatusCode::BAD_GATEWAY, &format!("failed to get the response: {why}"));
            }
        };
        let own = own.filter(|_| self.token != ProxyToken::Never && reply.status == StatusCode::OK);
        let text = match own {
            Some(own) if is_about(own, token, path, &body) => without_token(&reply.body).unwrap_or(reply.body),
            _ => reply.body,
        };
        let mut answer = Response::new(Full::new(Bytes::from_owner(Wiped(text))));
        *answer.status_mut() = reply.status;
        *answer.headers_mut() = passed(&reply.headers, &[CONTENT_LENGTH, TRANSFER_ENCODING]);
        answer
    }

    /// What the agent itself is asked.
    fn own(&self, method: &Method, path: &str) -> Answer {
        match path {
            "/agent/v1/quit" if self.enable_quit && method == Method::POST => {
                tracing::info!("asked to end");
                self.quit.send_replace(true);
                Response::new(Full::new(Bytes::new()))
            }
            "/agent/v1/quit" if self.enable_quit => error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            "/agent/v1/cache-clear" => error(StatusCode::NOT_FOUND, "nothing is cached"),
            _ => error(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

/// The headers that are passed on: not those of one connection, nor what `Connection` names.
fn passed(headers: &HeaderMap, but: &[HeaderName]) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut passed = HeaderMap::new();
    for (name, value) in headers {
        let of_connection = OF_CONNECTIONS.contains(&name.as_str()) || named.iter().any(|other| other == name.as_str());
        if !of_connection && !but.contains(name) {
            passed.append(name.clone(), value.clone());
        }
    }
    passed
}

/// Whether an answer has the agent's own token in it: a request that it was added to does not tell it to who asks.
fn is_about(own: &SecretString, used: Option<&SecretString>, path: &str, body: &[u8]) -> bool {
    match path.trim_end_matches('/') {
        "auth/token/lookup-self" | "auth/token/renew-self" => used == Some(own),
        "auth/token/lookup" | "auth/token/renew" => match json::parse_object(body) {
            Ok(asked) => match asked.get("token").and_then(Value::as_str) {
                Some("") | None => used == Some(own),
                Some(token) => SecretString::from(token) == *own,
            },
            Err(_) => used == Some(own),
        },
        _ => false,
    }
}

/// The answer without the token and its accessor.
fn without_token(body: &SecretBytes) -> Option<SecretBytes> {
    let mut answer = json::parse_object(body.expose()).ok()?;
    for (part, keys) in [("data", ["id", "accessor"]), ("auth", ["client_token", "accessor"])] {
        if let Some(Value::Object(object)) = answer.get_mut(part) {
            for key in keys {
                if let Some(Value::String(mut text)) = object.remove(key) {
                    text.zeroize();
                }
            }
        }
    }
    let text = Zeroizing::new(json::object_to_vec(&answer));
    Some(SecretBytes::from(text.as_slice()))
}

fn error(status: StatusCode, why: &str) -> Answer {
    let mut text = b"{\"errors\":[".to_vec();
    json::write_string(why, &mut text);
    text.extend_from_slice(b"]}\n");
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Bytes of an answer, wiped once they are sent.
struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn headers_of_one_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("host", "a"),
            ("x-vault-namespace", "ns"),
            ("x-vault-token", "t"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let passed = passed(&headers, &[HOST, TOKEN]);
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-vault-namespace"]);
    }

    #[test]
    fn who_asks_does_not_learn_the_agents_token() {
        let (own, other) = (SecretString::from("own"), SecretString::from("other"));
        assert!(is_about(&own, Some(&own), "auth/token/lookup-self", b""));
        assert!(!is_about(&own, Some(&other), "auth/token/lookup-self", b""));
        assert!(is_about(&own, Some(&other), "auth/token/lookup", br#"{"token":"own"}"#));
        assert!(!is_about(&own, Some(&own), "auth/token/lookup", br#"{"token":"x"}"#));
        assert!(is_about(&own, Some(&own), "auth/token/renew", b"{}"));
        assert!(!is_about(&own, Some(&own), "secret/data/x", b""));
        let answer = br#"{"data":{"accessor":"a","id":"own","ttl":5},"auth":null}"#;
        let stripped = without_token(&SecretBytes::from(answer.as_slice())).unwrap();
        assert_eq!(stripped.expose(), br#"{"auth":null,"data":{"ttl":5}}"#);
    }
}
