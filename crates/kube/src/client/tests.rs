//! The client against a server of our own that misbehaves: what is tested is the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use super::*;

/// A server that refuses the first `refusals` requests with a status.
async fn server(refusals: usize, status: StatusCode) -> (Config, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let answer = move |State(count): State<Arc<AtomicUsize>>| async move {
        if count.fetch_add(1, Ordering::SeqCst) < refusals {
            (status, [("Retry-After", "1")], String::new())
        } else {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}});
            (StatusCode::OK, [("Retry-After", "")], object.to_string())
        }
    };
    let router = Router::new().route("/api/v1/namespaces/n/configmaps/a", get(answer)).with_state(count.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Config::new(format!("http://{address}").parse().unwrap()), count)
}

async fn ask(config: Config) -> Result<ConfigMap, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client(config, ClientOptions::default()).unwrap(), "n");
    api.get("a").await
}

#[tokio::test]
async fn a_refused_request_is_repeated_after_the_time_the_server_asks_for() {
    let (config, count) = server(1, StatusCode::TOO_MANY_REQUESTS).await;
    let before = std::time::Instant::now();
    ask(config).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_wrong_for_good_is_not_repeated() {
    let (config, count) = server(9, StatusCode::FORBIDDEN).await;
    let error = ask(config).await.unwrap_err();
    assert!(!is_unreachable(&error));
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_from_one_that_says_no() {
    let config = Config::new("http://127.0.0.1:1".parse().unwrap());
    let error = ask(config).await.unwrap_err();
    assert!(is_unreachable(&error), "{error:?}");
    assert!(describe(&error).contains("refused"), "{}", describe(&error));
}
