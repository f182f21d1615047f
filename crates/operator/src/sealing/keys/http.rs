//! `/v1/unseal`: how far the unsealing is, and where shares are given; both ends. See [`unseal`](mod@super::unseal) for what is on the wire.
//!
//! Errors have the form of Kubernetes' `Status`, which every client of its API server shows.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::unseal::{self, MAX_BODY, SealedShare, UnsealError, Unsealing};

const PATH: &str = "/v1/unseal";

/// The routes. Without shares among the recipients they answer 404.
pub fn routes(unsealing: Option<Arc<Unsealing>>) -> Router {
    let Some(unsealing) = unsealing else { return Router::new() };
    Router::new().route(PATH, get(state).post(give)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(unsealing)
}

async fn state(State(unsealing): State<Arc<Unsealing>>) -> Response {
    Json(unsealing.state()).into_response()
}

async fn give(State(unsealing): State<Arc<Unsealing>>, Json(sealed): Json<SealedShare>) -> Response {
    // Some hundred microseconds of computing, and at the end the joining of the key.
    let given = tokio::task::spawn_blocking(move || unsealing.give(&sealed)).await;
    match given {
        Ok(Ok(state)) => Json(state).into_response(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a share was not taken");
            let code = status(&error);
            let body = json!({
                "apiVersion": "v1",
                "kind": "Status",
                "status": "Failure",
                "reason": "BadRequest",
                "message": error.to_string(),
                "code": code.as_u16(),
            });
            (code, Json(body)).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const fn status(error: &UnsealError) -> StatusCode {
    match error {
        UnsealError::OtherKey => StatusCode::CONFLICT,
        UnsealError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        UnsealError::Random => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Asks a controller how far it is. `base` is what stands before the path: nothing, or [`pods`]' paths through the API server.
///
/// # Errors
/// What the controller, or the API server before it, answered.
pub async fn ask(client: &Client, base: &str) -> kube::Result<unseal::State> {
    let request = Request::get(format!("{base}{PATH}")).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

/// Gives a controller a share.
///
/// # Errors
/// As [`ask`].
pub async fn send(client: &Client, base: &str, sealed: &SealedShare) -> kube::Result<unseal::State> {
    let body = serde_json::to_vec(sealed).map_err(kube::Error::SerdeError)?;
    let request = Request::post(format!("{base}{PATH}")).header("content-type", "application/json").body(body);
    client.request(request.map_err(kube::Error::HttpError)?).await
}

/// Every pod behind a service, by name, with its path through the API server's proxy: each replica is unsealed by itself.
///
/// # Errors
/// What the API server answered.
pub async fn pods(client: &Client, namespace: &str, service: &str, port: u16) -> kube::Result<Vec<(String, String)>> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let selector = services.get(service).await?.spec.and_then(|spec| spec.selector).unwrap_or_default();
    let labels: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found = pods.list(&ListParams::default().labels(&labels.join(","))).await?;
    let path = |pod: &Pod| {
        let name = pod.name_any();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy");
        (name, path)
    };
    Ok(found.items.iter().map(path).collect())
}
