//! `POST /v1/open`: from a request to an answer, and a line in the audit log for each object. `POST /v1/changes`: questions of nodes that wait for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bulla_kube::stop::Stop;
use bulla_store::sealed::protocol::{
    self, Answer, Base64, CHANGES_PATH, Changes, Code, HELD, Kind, LONGEST_QUESTION, LONGEST_REQUEST, PATH, Question,
    Refused, Wanted,
};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::{AUDIT, Delivery, Opened, refused};
use crate::nodes::Pod;

/// How long a request may take to come.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a request waits for its turn.
const TURN_TIME: Duration = Duration::from_secs(10);
/// The most that is opened for one request, in bytes: what a volume may have.
const LARGEST: usize = 16 << 20;

impl Delivery {
    /// Its routes; questions that wait are answered when the process is to end.
    pub fn routes(self: Arc<Self>, stop: Stop) -> Router {
        let changes = Router::new().route(CHANGES_PATH, post(changes)).with_state((Arc::clone(&self), stop));
        Router::new().route(PATH, post(open)).with_state(self).merge(changes)
    }

    async fn answer(&self, request: Request) -> Result<Response, Refused> {
        let (node, body) = self.admit(request, LONGEST_REQUEST).await?;
        let asked = protocol::Request::read(&body).map_err(|what| malformed(&what))?;
        let pod = self.nodes.pod(&asked.pod_token, &node).await?;
        let busy = |_| refused(Code::Unavailable, "too many pods are being opened for; ask again".to_owned());
        let place = tokio::time::timeout(TURN_TIME, self.answers.acquire()).await.map_err(busy)?;
        let _place = place.map_err(|_| refused(Code::Unavailable, "the operator ends".to_owned()))?;
        let mut opened = Vec::with_capacity(asked.objects.len());
        let mut size = 0_usize;
        for wanted in &asked.objects {
            let object = self.open_audited(&pod, wanted).await?;
            let values = object.contents.iter().flat_map(|contents| contents.data.iter());
            size = values.fold(size, |size, (key, value)| size.saturating_add(key.len()).saturating_add(value.len()));
            opened.push(object);
            if size > LARGEST {
                let message = format!("the objects have more than {} MiB together", LARGEST >> 20);
                return Err(refused(Code::Invalid, message));
            }
        }
        Ok(write(&opened))
    }

    /// Lets a node in, and reads what it sends. Whoever is no node is sent away before anything of theirs is read.
    async fn admit(&self, request: Request, longest: usize) -> Result<(String, Bytes), Refused> {
        let (head, body) = request.into_parts();
        let node = self.nodes.node(&head.headers).await?;
        let body = tokio::time::timeout(BODY_TIME, to_bytes(body, longest)).await;
        let body = body.map_err(|_| malformed("it did not come in time"))?;
        Ok((node, body.map_err(|_| malformed("it is too long, or broke off"))?))
    }

    /// Tells a node what is another than it says.
    async fn tell_changes(&self, request: Request, stop: &Stop) -> Result<Response, Refused> {
        let (node, body) = self.admit(request, LONGEST_QUESTION).await?;
        let asked = Question::read(&body).map_err(|what| malformed(&what))?;
        if !(self.complete)() {
            return Err(refused(Code::Unavailable, "not all SealedSecrets have been seen yet".to_owned()));
        }
        if let Some((_, maps)) = &self.sops
            && asked.objects.iter().any(|object| object.kind == Kind::ConfigMap)
        {
            maps.begin();
        }
        let place = self.questions.try_acquire();
        let held = if place.is_ok() { HELD } else { Duration::ZERO };
        let changed = tokio::select! {
            changed = self.changes.wait(&asked.objects, held) => changed,
            () = stop.wait() => Vec::new(),
        };
        tracing::debug!(node, objects = asked.objects.len(), changed = changed.len(), "a node heard of changes");
        Ok(axum::Json(Changes { changed }).into_response())
    }

    async fn open_audited(&self, pod: &Pod, wanted: &Wanted) -> Result<Opened, Refused> {
        let Pod { namespace, service_account, name, uid, node } = pod;
        let object = &wanted.name;
        let (kind, opened) = (wanted.kind, self.open(pod, wanted).await);
        match &opened {
            Ok(Opened { version, contents: Some(contents), .. }) => {
                let values = contents.data.keys().map(String::as_str).collect::<Vec<_>>().join(",");
                tracing::info!(target: AUDIT, %kind, namespace, object, version, values, service_account, pod = name, uid, node, "opened for a pod");
            }
            Ok(Opened { version, contents: None, .. }) => {
                tracing::debug!(target: AUDIT, %kind, namespace, object, version, service_account, pod = name, uid, node, "unchanged for a pod");
            }
            Err(Refused { code, message }) => {
                tracing::warn!(target: AUDIT, %kind, namespace, object, ?code, reason = message, service_account, pod = name, uid, node, "refused to a pod");
            }
        }
        opened
    }
}

fn malformed(what: &str) -> Refused {
    refused(Code::Invalid, format!("the request is malformed: {what}"))
}

async fn open(State(delivery): State<Arc<Delivery>>, request: Request) -> Response {
    delivery.answer(request).await.unwrap_or_else(refuse)
}

async fn changes(State((delivery, stop)): State<(Arc<Delivery>, Stop)>, request: Request) -> Response {
    delivery.tell_changes(request, &stop).await.unwrap_or_else(refuse)
}

fn refuse(refused: Refused) -> Response {
    if matches!(refused.code, Code::Unauthenticated | Code::Denied) {
        tracing::warn!(target: AUDIT, code = ?refused.code, reason = refused.message, "a request to open was refused");
    }
    refusal(refused)
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
