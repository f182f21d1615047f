//! `POST /v1/open`: from a request to an answer, and a line in the audit log for each object.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bulla_store::sealed::protocol::{self, Answer, Base64, Code, LONGEST_REQUEST, MOST_OBJECTS, PATH, Refused, Wanted};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::super::access::bearer;
use super::super::http::is_name;
use super::{Delivery, Opened, refused};
use crate::nodes::Pod;

/// How long a request may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// What audit lines are found by.
const AUDIT: &str = "bulla::audit";

impl Delivery {
    /// Its route.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().route(PATH, post(open)).with_state(self)
    }

    async fn answer(&self, request: Request) -> Result<Response, Refused> {
        let (head, body) = request.into_parts();
        // Whoever is no node is sent away before anything of theirs is read.
        let token = head
            .headers
            .get(header::AUTHORIZATION)
            .and_then(bearer)
            .ok_or_else(|| refused(Code::Unauthenticated, "this needs the node service's token".to_owned()))?;
        let node = self.nodes.node(token).await?;
        let malformed = |what: String| refused(Code::Invalid, format!("the request is malformed: {what}"));
        let body = tokio::time::timeout(BODY_TIME, to_bytes(body, LONGEST_REQUEST)).await;
        let body = body.map_err(|_| malformed("it did not come in time".to_owned()))?;
        let body = body.map_err(|_| malformed("it is too long, or broke off".to_owned()))?;
        // The parser's words could quote a token; its place says enough.
        let asked: protocol::Request<'_> = serde_json::from_slice(&body)
            .map_err(|error| malformed(format!("line {}, column {}", error.line(), error.column())))?;
        if asked.objects.is_empty() || asked.objects.len() > MOST_OBJECTS {
            return Err(malformed(format!("it asks for {} objects of at most {MOST_OBJECTS}", asked.objects.len())));
        }
        if let Some(wrong) = asked.objects.iter().find(|wanted| wanted.name.is_empty() || !is_name(&wanted.name)) {
            return Err(malformed(format!("{:.100?} is no name of an object", wrong.name)));
        }
        let pod = self.nodes.pod(&asked.pod_token, &node).await?;
        let mut opened = Vec::with_capacity(asked.objects.len());
        for wanted in &asked.objects {
            opened.push(self.open_audited(&pod, wanted).await?);
        }
        Ok(write(&opened))
    }

    async fn open_audited(&self, pod: &Pod, wanted: &Wanted) -> Result<Opened, Refused> {
        let Pod { namespace, service_account, name, uid, node } = pod;
        let object = &wanted.name;
        let opened = self.open(pod, object, wanted.version.as_deref()).await;
        match &opened {
            Ok(Opened { version, contents: Some(contents), .. }) => {
                let values = contents.data.keys().map(String::as_str).collect::<Vec<_>>().join(",");
                tracing::info!(target: AUDIT, namespace, object, version, values, service_account, pod = name, uid, node, "opened for a pod");
            }
            Ok(Opened { version, contents: None, .. }) => {
                tracing::debug!(target: AUDIT, namespace, object, version, service_account, pod = name, uid, node, "unchanged for a pod");
            }
            Err(Refused { code, message }) => {
                tracing::warn!(target: AUDIT, namespace, object, ?code, reason = message, service_account, pod = name, uid, node, "refused to a pod");
            }
        }
        opened
    }
}

async fn open(State(delivery): State<Arc<Delivery>>, request: Request) -> Response {
    delivery.answer(request).await.unwrap_or_else(|refused| {
        if matches!(refused.code, Code::Unauthenticated | Code::Denied) {
            tracing::warn!(target: AUDIT, code = ?refused.code, reason = refused.message, "a request to open was refused");
        }
        refusal(refused)
    })
}

/// The answer that is none.
pub(crate) fn refusal(refused: Refused) -> Response {
    let status = match refused.code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Denied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::DoesNotOpen => StatusCode::CONFLICT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, axum::Json(refused)).into_response()
}

/// The answer, wiped once it is sent.
fn write(opened: &[Opened]) -> Response {
    let values = opened.iter().filter_map(|object| object.contents.as_ref()).flat_map(|contents| contents.data.iter());
    // Room for all of it: growing would leave pieces behind.
    let room =
        values.map(|(key, value)| 6 * key.len() + value.len() / 3 * 4 + 16).sum::<usize>() + 512 * opened.len() + 64;
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    let objects = opened.iter().map(|object| protocol::Opened {
        name: &object.name,
        version: &object.version,
        data: object.contents.as_ref().map(|contents| {
            let values = contents.data.iter().map(|(key, value)| (key.as_str(), Base64(value)));
            values.collect::<BTreeMap<_, _>>()
        }),
    });
    if serde_json::to_writer(&mut *text, &Answer { objects: objects.collect() }).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    ([(header::CONTENT_TYPE, "application/json")], Body::from(Bytes::from_owner(text))).into_response()
}
