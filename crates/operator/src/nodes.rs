//! Node services that ask for something in the name of pods that they run: who may.
//!
//! 1. The node service's token: it is one, for [`NODE_AUDIENCE`], of a service account that is a node service's,
//!    bound to a pod; the API server says on which node that is.
//! 2. The pod's token: it is one, for [`POD_AUDIENCE`], bound to a pod that is still there, on the same node. A node
//!    cannot get a token of a pod that it does not run.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use bulla_kube::backoff::jittered;
use bulla_store::sealed::protocol::{Code, NODE_AUDIENCE, POD_AUDIENCE, Refused};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use tokio::time::Instant;

use crate::sealing::access::bearer;
use crate::sealing::tokens::{ReviewError, Tokens};

/// How long a pod waits for others that are asked about: after a change all pods come at once.
const REVIEW_TIME: Duration = Duration::from_secs(15);
/// How the API server says where a token's pod runs (Kubernetes 1.30 and later).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Who may ask.
pub struct Nodes {
    tokens: Tokens,
    /// User names of node services.
    services: BTreeSet<String>,
}

/// A pod that may ask, on the node that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// Its name.
    pub name: String,
    /// Which pod of that name.
    pub uid: String,
    /// Where it runs.
    pub node: String,
}

impl Nodes {
    /// Those with one of these service accounts, `NAMESPACE/NAME`.
    pub fn new(client: Client, services: impl IntoIterator<Item = (String, String)>) -> Self {
        let name = |(namespace, name)| format!("system:serviceaccount:{namespace}:{name}");
        Self { tokens: Tokens::new(client, 50, 200), services: services.into_iter().map(name).collect() }
    }

    /// The node that asks, by its service's token in the request's `Authorization`.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn node(&self, headers: &HeaderMap) -> Result<String, Refused> {
        let token = headers.get(header::AUTHORIZATION).and_then(bearer);
        let token =
            token.ok_or_else(|| refused(Code::Unauthenticated, "this needs the node service's token".to_owned()))?;
        let user = self.tokens.review(token, NODE_AUDIENCE).await.map_err(|error| unavailable(&error))?;
        let user = user.ok_or_else(|| {
            refused(
                Code::Unauthenticated,
                format!("the node service's token is not one for the audience {NODE_AUDIENCE}"),
            )
        })?;
        let name = user.username.clone().unwrap_or_default();
        if !self.services.contains(&name) {
            return Err(refused(Code::Denied, format!("{name} is no node service that this operator knows")));
        }
        let node = extra(&user, NODE_NAME).ok_or_else(|| {
            let message =
                format!("the token of {name} does not say on which node it runs: it must be bound to its pod");
            refused(Code::Denied, message)
        })?;
        Ok(node.to_owned())
    }

    /// The pod that a token is of, if it runs on this node.
    ///
    /// # Errors
    /// Why it is none.
    pub async fn pod(&self, token: &str, node: &str) -> Result<Pod, Refused> {
        // Asked each time: the pod may be gone since the last one.
        let until = Instant::now() + REVIEW_TIME;
        let user = loop {
            match self.tokens.ask(token, POD_AUDIENCE).await {
                // It is a node that asks, so it is worth waiting.
                Err(ReviewError::TooMany) if Instant::now() < until => {
                    tokio::time::sleep(jittered(Duration::from_millis(500))).await;
                }
                answered => break answered.map_err(|error| unavailable(&error))?,
            }
        };
        let user = user.ok_or_else(|| {
            let message = format!("the pod's token is not one for the audience {POD_AUDIENCE}, or the pod is gone");
            refused(Code::Unauthenticated, message)
        })?;
        let name = user.username.clone().unwrap_or_default();
        let account = name.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
        let bound = (extra(&user, POD_NAME), extra(&user, POD_UID), extra(&user, NODE_NAME));
        let (Some((namespace, service_account)), (Some(pod), Some(uid), Some(on))) = (account, bound) else {
            return Err(refused(Code::Denied, format!("the token of {name} is not bound to a pod on a node")));
        };
        if on != node {
            return Err(refused(Code::Denied, format!("pod {namespace}/{pod} does not run on node {node}")));
        }
        Ok(Pod {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            name: pod.to_owned(),
            uid: uid.to_owned(),
            node: node.to_owned(),
        })
    }
}

fn extra<'a>(user: &'a UserInfo, name: &str) -> Option<&'a str> {
    let values = user.extra.as_ref()?.get(name)?;
    values.first().map(String::as_str).filter(|value| !value.is_empty() && values.len() == 1)
}

const fn refused(code: Code, message: String) -> Refused {
    Refused { code, message }
}

fn unavailable(error: &ReviewError) -> Refused {
    refused(Code::Unavailable, error.to_string())
}
