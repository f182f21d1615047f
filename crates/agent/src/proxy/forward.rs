//! One request, passed on.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::json;
use bulla_core::{SecretBytes, SecretString};
use bulla_kms::vault_http::{Again, Opened, Request};
use bulla_listen::{Room, Taken, Unread};
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap,
    HeaderName, HeaderValue, RANGE, TRANSFER_ENCODING,
};
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::body::{self, AnswerBody};
use super::path::Asked;
use super::redact::{self, Found};
use crate::api::{Api, WRAP_TTL};
use crate::config::ProxyToken;
use crate::login::{Current, Token};

/// The largest body of a request, as the server has it.
const LONGEST: usize = 32 << 20;
/// The longest answer that is looked at before it is passed on.
const LONGEST_LOOKED_AT: usize = 64 << 20;
/// What an answer costs that is passed on as it comes: what is read of it and not written yet.
const PASSING: usize = 512 << 10;
/// The longest that may tell of the agent's token, and what a byte of it may cost, as values.
const LONGEST_TELLING: usize = 1 << 20;
const PARSED: usize = 60;
const TOO_MANY: &str = "the agent passes on too many large requests and answers at once; try again";
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
    /// Told when the server refused the agent's token.
    pub(crate) doubt: Arc<Notify>,
    pub(crate) token: ProxyToken,
    pub(crate) current: Current,
    pub(crate) require_request_header: bool,
    pub(crate) enable_quit: bool,
    /// The room of all bodies.
    pub(crate) room: Room,
    /// Where it is told that somebody wants the agent to end.
    pub(crate) quit: watch::Sender<bool>,
}

pub(super) type Answer = Response<AnswerBody>;

impl Forward {
    /// Answers a request.
    pub(crate) async fn answer(&self, request: http::Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if self.require_request_header {
            let mut said = head.headers.get_all(REQUEST).iter();
            if said.next().is_none_or(|value| value != "true") || said.next().is_some() {
                return error(StatusCode::PRECONDITION_FAILED, "missing \"X-Vault-Request\" header");
            }
        }
        if path.starts_with("/agent/v1/") {
            return self.own(&head.method, path);
        }
        let Some(path) = path.strip_prefix("/v1/") else {
            return error(StatusCode::NOT_FOUND, "only what is below /v1/ is passed on");
        };
        let asked = match Asked::read(path) {
            Ok(asked) => asked,
            Err(why) => return error(StatusCode::BAD_REQUEST, why),
        };
        let (body, taken) = match timeout(BODY_TIME, self.room.collect(body, LONGEST)).await {
            Ok(Ok(read)) => read,
            Ok(Err(Unread::TooLong)) => {
                let why = format!("the request body is longer than the limit of {LONGEST} bytes");
                return error(StatusCode::PAYLOAD_TOO_LARGE, &why);
            }
            Ok(Err(Unread::Full)) => return error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY),
            Ok(Err(Unread::Slow)) => return error(StatusCode::REQUEST_TIMEOUT, "the request body comes too slowly"),
            Ok(Err(Unread::Broken)) => return error(StatusCode::BAD_REQUEST, "failed to read request body"),
            Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "failed to read request body"),
        };
        let own = self.current.borrow().clone();
        let plain = own.as_ref().and_then(|token| token.plain());
        let given = given(&head.headers);
        let token = match self.token {
            ProxyToken::Never => given.as_ref(),
            ProxyToken::IfMissing => given.as_ref().or(plain),
            ProxyToken::Always => plain,
        };
        // Whose token is used, if it is the agent's.
        let own = own.as_deref().filter(|_| self.token != ProxyToken::Never && token.is_some() && token == plain);
        if own.is_some() && asked.tells_of_tokens() && head.headers.contains_key(WRAP_TTL) {
            return error(StatusCode::BAD_REQUEST, "what tells of the agent's token is not wrapped");
        }
        tracing::debug!(method = %head.method, path, "a request is passed on");
        let sent = Request {
            method: head.method.clone(),
            path,
            query: head.uri.query(),
            body: Bytes::from_owner(body),
            // What is packed, or a part, cannot be looked at.
            headers: passed(&head.headers, &[HOST, CONTENT_LENGTH, TOKEN, ACCEPT_ENCODING, RANGE]),
            token,
            again: Again::IfNothingWasDone,
        };
        let until = self.api.deadline();
        let opened = match self.api.pass_on(&sent, until).await {
            Ok(opened) => opened,
            Err(why) => {
                tracing::warn!(%why, "a request was not passed on");
                return error(StatusCode::BAD_GATEWAY, &format!("failed to get the response: {why}"));
            }
        };
        // Whoever waits for room has none.
        drop((sent, taken));
        if own.is_some() && opened.status == StatusCode::FORBIDDEN {
            self.doubt.notify_one();
        }
        self.give(opened, own, &asked, until).await.unwrap_or_else(|refused| *refused)
    }

    /// What the server answered. What was asked with the agent's own token does not tell who asks of that token.
    async fn give(
        &self,
        mut opened: Opened,
        own: Option<&Token>,
        asked: &Asked,
        until: Instant,
    ) -> Result<Answer, Box<Answer>> {
        let (status, headers) = (opened.status, passed(&opened.headers, &[CONTENT_LENGTH, TRANSFER_ENCODING]));
        let body = match own {
            None => {
                let length = opened.length().and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
                let taken = timeout_at(until, self.room.wait(length.min(PASSING))).await;
                body::passed(opened, until, taken.ok().and_then(Result::ok).ok_or_else(too_many)?)
            }
            Some(own) => {
                let is_packed = opened.headers.get_all(CONTENT_ENCODING).iter().any(|value| value != "identity");
                if is_packed {
                    return Err(tells());
                }
                let (text, mut taken) = self.whole(&mut opened, until).await?;
                let ours: Vec<&SecretString> = own.plain().into_iter().chain(own.accessor()).collect();
                let text = match redact::look(text, &ours, asked) {
                    Found::Nothing(text) => text,
                    Found::Perhaps(text) if text.len() > LONGEST_TELLING => return Err(tells()),
                    Found::Perhaps(text) => {
                        taken.grow(text.len().saturating_mul(PARSED)).map_err(|_| too_many())?;
                        redact::without(text, &ours, asked).ok_or_else(tells)?
                    }
                };
                body::secret(text, taken)
            }
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        Ok(answer)
    }

    /// All of an answer.
    async fn whole(&self, opened: &mut Opened, until: Instant) -> Result<(SecretBytes, Taken), Box<Answer>> {
        let failed = |why: &str| {
            Box::new(error(StatusCode::BAD_GATEWAY, &format!("failed to get the response: the server: {why}")))
        };
        let too_late = |_| failed("its answer took too long");
        let length = opened.length().and_then(|length| usize::try_from(length).ok());
        if length.is_some_and(|length| length > LONGEST_LOOKED_AT) {
            return Err(failed("it answers more than a Vault server would"));
        }
        let mut taken = match length {
            Some(length) => {
                timeout_at(until, self.room.wait(length)).await.map_err(too_late)?.map_err(|_| too_many())?
            }
            None => self.room.body(),
        };
        let mut text = SecretBytes::with_capacity(length.unwrap_or_default());
        loop {
            let chunk = timeout_at(until, opened.chunk()).await.map_err(too_late)?;
            let Some(chunk) = chunk.map_err(|why| failed(&why.to_string()))? else { return Ok((text, taken)) };
            if text.len() + chunk.len() > LONGEST_LOOKED_AT {
                return Err(failed("it answers more than a Vault server would"));
            }
            if length.is_none() {
                taken.grow(chunk.len()).map_err(|_| too_many())?;
            }
            text.extend_from_slice(&chunk);
        }
    }

    /// What the agent itself is asked.
    fn own(&self, method: &Method, path: &str) -> Answer {
        match path {
            "/agent/v1/quit" if self.enable_quit && method == Method::POST => {
                tracing::info!("asked to end");
                self.quit.send_replace(true);
                Response::new(body::whole(Bytes::new()))
            }
            "/agent/v1/quit" if self.enable_quit => error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            "/agent/v1/cache-clear" => error(StatusCode::NOT_FOUND, "nothing is cached"),
            _ => error(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

fn too_many() -> Box<Answer> {
    Box::new(error(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY))
}

fn tells() -> Box<Answer> {
    let why = "the server's answer may tell of the agent's token, and is not passed on";
    Box::new(error(StatusCode::BAD_GATEWAY, why))
}

/// The token that a request has, in either place where the server looks for one.
fn given(headers: &HeaderMap) -> Option<SecretString> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || text(&AUTHORIZATION)?.strip_prefix("Bearer ").map(str::trim);
    text(&TOKEN)
        .filter(|text| !text.is_empty())
        .or_else(|| bearer().filter(|text| !text.is_empty()))
        .map(SecretString::from)
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

fn error(status: StatusCode, why: &str) -> Answer {
    let mut text = b"{\"errors\":[".to_vec();
    json::write_string(why, &mut text);
    text.extend_from_slice(b"]}\n");
    let mut answer = Response::new(body::whole(text));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
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
}
