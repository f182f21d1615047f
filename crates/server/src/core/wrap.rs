//! Answers that are kept for whoever has a token for them, which gives them once.

use std::time::Duration;

use super::policy::WRAPPING;
use super::token::Entry;
use super::{Open, now_nanos};
use crate::json::{self, Object, Value};
use crate::logical::{Auth, Caller, Error, Request, Response, Result, TokenText, WrapInfo};

const RESPONSE: &str = "response";
const INFO: &str = "wrapinfo";

impl Open {
    /// Keeps `response`, and answers with where it is.
    pub(super) async fn wrap(&self, request: &Request, response: &Response, ttl: Duration) -> Result<Response> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).min(self.times.max_ttl);
        let body = match &response.raw {
            // An answer that was wrapped before.
            Some((kind, body)) if *kind == "application/json" => body.clone(),
            Some((kind, body)) => {
                let text = String::from_utf8_lossy(body);
                let data = object! {
                    "http_content_type": *kind, "http_raw_body": &*text, "http_status_code": response.status.unwrap_or(200),
                };
                crate::logical::render(&Response::data(data), &request.id)
            }
            None => crate::logical::render(response, &request.id),
        };
        let accessor = response.issued.as_ref().map(|issued| issued.accessor.clone());
        let info = self.keep(&body, &request.path, seconds, accessor).await?;
        Ok(Response { wrap_info: Some(info), warnings: response.warnings.clone(), ..Response::default() })
    }

    async fn keep(&self, body: &[u8], path: &str, seconds: i64, accessor: Option<String>) -> Result<WrapInfo> {
        let entry = Entry {
            path: path.to_owned(),
            policies: vec![WRAPPING.to_owned()],
            ttl: seconds,
            auth: Auth { num_uses: 1, explicit_max_ttl: seconds, ..Auth::default() },
            ..Entry::default()
        };
        let (issued, hash) = self.tokens.issue(entry, None, &self.expiry).await?;
        let created = now_nanos();
        let view = self.tokens.cubbyhole(&hash)?;
        let about =
            object! { "creation_ttl": seconds, "creation_time": super::time_text(created), "creation_path": path };
        let mut transaction = view.begin();
        transaction.put(&view, RESPONSE, body)?;
        transaction.put(&view, INFO, &json::object_to_vec(&about))?;
        transaction.commit().await?;
        Ok(WrapInfo {
            token: issued.token,
            accessor: issued.accessor,
            ttl: seconds,
            created: jiff::Timestamp::from_nanosecond(i128::from(created)).unwrap_or_default(),
            path: path.to_owned(),
            wrapped_accessor: accessor,
        })
    }

    /// The hash of a wrapping token: that in the request's body, or the caller itself.
    async fn wrapping_hash(&self, given: Option<&TokenText>, caller: Option<&Caller>) -> Result<String> {
        if let Some(given) = given {
            let (hash, entry) = self.tokens.find(given).await?.ok_or_else(invalid)?;
            // The caller's own use was counted when it came.
            let is_caller = caller.is_some_and(|caller| caller.hash == hash);
            let usable = entry.policies == [WRAPPING] && (entry.uses >= 0 || is_caller);
            return if usable { Ok(hash) } else { Err(invalid()) };
        }
        let caller = caller.filter(|caller| caller.entry.policies == [WRAPPING]).ok_or_else(invalid)?;
        Ok(caller.hash.clone())
    }

    /// Gives the wrapped answer, and takes its token back.
    pub async fn unwrap(&self, given: Option<&TokenText>, caller: Option<&Caller>) -> Result<Vec<u8>> {
        let hash = self.wrapping_hash(given, caller).await?;
        let is_caller = caller.is_some_and(|caller| caller.hash == hash);
        // The caller's own use was counted when it came.
        if !is_caller && self.tokens.count_use(&hash).await.is_err() {
            return Err(invalid());
        }
        let body = self.tokens.cubbyhole(&hash)?.get(RESPONSE).await?;
        self.revoke_token(&hash).await?;
        body.map(|body| body.to_vec())
            .ok_or_else(|| Error::bad_request("no information found; wrapping token may be from a previous server"))
    }

    /// When and by which path an answer was wrapped. The token can still give it.
    pub async fn wrapping_info(&self, given: Option<&TokenText>, caller: Option<&Caller>) -> Result<Object> {
        let hash = self.wrapping_hash(given, caller).await?;
        let info = self.tokens.cubbyhole(&hash)?.get(INFO).await?;
        let info = info.ok_or_else(invalid)?;
        json::parse_object(&info).map_err(|error| Error::internal(&error))
    }

    /// Wraps a wrapped answer anew, with its time and its path.
    pub async fn rewrap(&self, given: Option<&TokenText>, caller: Option<&Caller>) -> Result<Response> {
        let info = self.wrapping_info(given, caller).await?;
        let body = self.unwrap(given, caller).await?;
        let text = |name| info.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let seconds = match info.get("creation_ttl") {
            Some(Value::Number(digits)) => digits.parse().unwrap_or(0),
            _ => 0,
        };
        let info = self.keep(&body, &text("creation_path"), seconds, None).await?;
        Ok(Response { wrap_info: Some(info), ..Response::default() })
    }
}

/// A wrapping token that is none, or was used.
pub(super) fn invalid() -> Error {
    Error::bad_request("wrapping token is not valid or does not exist")
}
