//! What quotas say, in HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Response};

use super::answer;
use super::body::AnswerBody;
use crate::core::Core;
use crate::core::audit::{QUOTA, Record};
use crate::core::quota::Verdict;
use crate::core::random;
use crate::json::Object;
use crate::logical::{Error, Operation, Request};

/// The answer to a request that is one too many, written down if that is wanted. Nothing of it but its head was read.
pub async fn refuse(
    core: &Arc<Core>,
    verdict: &Verdict,
    head: &Parts,
    path: String,
    address: SocketAddr,
) -> Response<AnswerBody> {
    let error = Error::new(429, format!("request path {path:?}: rate limit quota exceeded"));
    if verdict.audit
        && let Err(error) = write_down(core, head, path, address).await
    {
        return answer::error(&error);
    }
    mark(answer::error(&error), verdict)
}

async fn write_down(core: &Core, head: &Parts, path: String, address: SocketAddr) -> crate::logical::Result<()> {
    let request = unread(head, path, address)?;
    // Without the path, which a token may be in: the record has it elsewhere, and hashes that.
    let error = Error::new(429, QUOTA);
    let record = Record { request: &request, caller: None, mount: None, response: None, error: Some(&error) };
    let open = core.open()?;
    open.audit.request(&mut open.audit.asked(&record)).await
}

/// A request of which nothing but its head was read.
pub fn unread(head: &Parts, path: String, address: SocketAddr) -> crate::logical::Result<Request> {
    let operation = match head.method.as_str() {
        "POST" | "PUT" => Operation::Update,
        "PATCH" => Operation::Patch,
        "DELETE" => Operation::Delete,
        "LIST" => Operation::List,
        "SCAN" => Operation::Scan,
        _ => Operation::Read,
    };
    Ok(Request {
        id: random::uuid()?,
        remote: Some(address.ip()),
        remote_port: address.port(),
        ..Request::new(operation, path, Object::new())
    })
}

/// Says how much is left, if that is wanted.
pub fn mark(mut response: Response<AnswerBody>, verdict: &Verdict) -> Response<AnswerBody> {
    if !verdict.headers {
        return response;
    }
    let headers = response.headers_mut();
    if let Some((limit, remaining, reset)) = verdict.left {
        headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(remaining));
        headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    }
    if !verdict.allowed {
        headers.insert("retry-after", HeaderValue::from(verdict.retry));
    }
    response
}
