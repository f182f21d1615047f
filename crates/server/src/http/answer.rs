//! Answers.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::body::{AnswerBody, pieces, whole};
use crate::json::{Object, Value, object_to_vec};
use crate::logical::{self, Error};

/// With a body of `kind`.
pub fn with(status: u16, kind: &'static str, body: Vec<u8>) -> Response<AnswerBody> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !kind.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// With a JSON object.
pub fn json(status: u16, object: &Object) -> Response<AnswerBody> {
    let mut body = object_to_vec(object);
    body.push(b'\n');
    with(status, "application/json", body)
}

/// With texts under `errors`.
pub fn errors(status: u16, messages: &[String]) -> Response<AnswerBody> {
    json(status, &Object::from([("errors".to_owned(), Value::from(messages))]))
}

/// What a failed request gets.
pub fn error(error: &Error) -> Response<AnswerBody> {
    match &error.data {
        Some(data) => json(error.status, data),
        None => errors(error.status, &error.messages),
    }
}

/// What a request gets.
pub fn response(response: logical::Response, id: &str) -> Response<AnswerBody> {
    if response.wrap_info.is_none()
        && let Some((kind, body)) = response.raw
    {
        return with(response.status.unwrap_or(200), kind, body);
    }
    if let Some(stream) = response.stream {
        let mut answer = with(response.status.unwrap_or(200), stream.kind(), Vec::new());
        *answer.body_mut() = pieces(&stream);
        return answer;
    }
    let silent = response.data.is_none()
        && response.issued.is_none()
        && response.lease.is_none()
        && response.wrap_info.is_none()
        && response.warnings.is_empty();
    if silent && response.status.is_none() {
        return with(204, "application/json", Vec::new());
    }
    with(response.status.unwrap_or(200), "application/json", logical::render(&response, id))
}
