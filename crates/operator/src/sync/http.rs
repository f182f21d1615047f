//! `POST /v1/sync`: from a request to a Secret, and a line in the audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::SecretBytes;
use bulla_store::sealed::protocol::{Code, Refused};
use bulla_store::sync::{self, LONGEST_REQUEST, MOST, PATH};

use super::{Sync, Wanted, refused};
use crate::nodes::Pod;
use crate::sealing::delivery::http::refusal;
use crate::sealing::http::is_name;

/// How long a request may take to come.
const BODY_TIME: Duration = Duration::from_secs(20);
/// What audit lines are found by.
const AUDIT: &str = "bulla::audit";

impl Sync {
    /// Its route.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().route(PATH, post(answer)).with_state(self)
    }

    async fn answer(&self, request: Request) -> Result<(), Refused> {
        let (head, body) = request.into_parts();
        // Whoever is no node is sent away before anything of theirs is read.
        let node = self.nodes.node(&head.headers).await?;
        let malformed = |what: &str| refused(Code::Invalid, format!("the request is malformed: {what}"));
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u32>().ok());
        let length = length.filter(|&length| length as usize <= LONGEST_REQUEST);
        let length = length.ok_or_else(|| malformed("it does not say its length, or is too long"))?;
        let ends = |_| refused(Code::Unavailable, "the operator ends".to_owned());
        let _room = self.room.acquire_many(length).await.map_err(ends)?;
        let body = tokio::time::timeout(BODY_TIME, to_bytes(body, LONGEST_REQUEST)).await;
        let body = body.map_err(|_| malformed("it did not come in time"))?.map_err(|_| malformed("it broke off"))?;
        // Kept in memory that is wiped; the parser's words could quote a value.
        let body = SecretBytes::from(body.as_ref());
        let asked: sync::Request<'_> = serde_json::from_slice(body.expose())
            .map_err(|error| malformed(&format!("line {}, column {}", error.line(), error.column())))?;
        if [&asked.class, &asked.secret].into_iter().any(|name| name.is_empty() || !is_name(name)) {
            return Err(malformed("a name is none"));
        }
        let pod = self.nodes.pod(&asked.pod_token, &node).await?;
        let mut wanted = Wanted { class: asked.class, secret: asked.secret, data: BTreeMap::new() };
        let mut bytes = 0;
        for (key, text) in asked.data {
            let mut value = SecretBytes::zeroed(text.len() / 4 * 3 + 3);
            let length =
                STANDARD.decode_slice(text, value.expose_mut()).map_err(|_| malformed("a value is not base64"))?;
            value.truncate(length);
            bytes += length;
            wanted.data.insert(key.into_owned(), value);
        }
        if bytes > MOST {
            return Err(malformed(&format!("the values have more than {MOST} bytes, which no Secret holds")));
        }
        self.sync_audited(&pod, &wanted).await
    }

    async fn sync_audited(&self, pod: &Pod, wanted: &Wanted) -> Result<(), Refused> {
        let Pod { namespace, service_account, name, uid, node } = pod;
        let Wanted { class, secret, .. } = wanted;
        let done = self.sync(pod, wanted).await;
        match &done {
            Ok(()) => {
                tracing::info!(target: AUDIT, namespace, class, secret, service_account, pod = name, uid, node, "a plain Secret is as a pod's volume has it");
            }
            Err(Refused { code, message }) => {
                tracing::warn!(target: AUDIT, namespace, class, secret, ?code, reason = message, service_account, pod = name, uid, node, "a plain Secret was not written");
            }
        }
        done
    }
}

async fn answer(State(sync): State<Arc<Sync>>, request: Request) -> Response {
    match sync.answer(request).await {
        Ok(()) => axum::Json(serde_json::json!({})).into_response(),
        Err(refused) => refusal(refused),
    }
}
