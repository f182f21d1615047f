//! An API server that asks to be left alone for a while: 429, with Retry-After.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HOST, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use bulla_cluster_tests::{Namespace, definitions, kubeconfig};
use kube::Client;
use serde_json::json;
use tokio::runtime::Runtime;

use super::sealer::{Sealer, client};
use super::{Keys, Operator};
use crate::{Random, number};

/// What is asked for.
const LATER: Duration = Duration::from_secs(1);

/// How often the same request is refused in a row at most.
const IN_A_ROW: u32 = 3;

#[test]
fn an_api_server_that_asks_for_time_gets_it_and_all_is_synced() {
    definitions();
    let seed = number("BULLA_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let (namespace, keys) = (Namespace::new("throttled"), Keys::new());
    let throttle = Throttle::start(seed);
    let service = keys.service();
    let arguments = ["--namespace", &namespace.name, "--namespaces", &namespace.name, "--key-service", &service];
    let operator = Operator::run(&keys, "a", &throttle.kubeconfig(&keys), &arguments, &[]).ready();
    let sealer = Sealer::of(&operator);
    let apply = |names: std::ops::Range<usize>, value: &str| {
        let items: Vec<_> = names.map(|n| sealer.seal(&namespace.name, &format!("s{n}"), value)).collect();
        namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).ok();
    };
    let all_synced = |count: usize| {
        let path = "jsonpath={range .items[*]}{.status.observedGeneration}={.metadata.generation}={.status.conditions[0].status}{'\\n'}{end}";
        let states = namespace.kubectl(&["get", "sealedsecrets", "--output", path]).ok();
        let is = |state: &&str| matches!(state.split('=').collect::<Vec<_>>()[..], [seen, is, "True"] if seen == is);
        states.lines().filter(is).count() == count
    };
    let since = Instant::now();
    apply(0..40, "one");
    namespace.eventually("all of them", || all_synced(40));
    let seen = throttle.seen();
    eprintln!(
        "BULLA_TEST_SEED={seed}: {} of {} requests refused, all synced after {:.1?}",
        seen.refused,
        seen.answered + seen.refused,
        since.elapsed()
    );
    assert!(seen.refused > 20, "{} of {}", seen.refused, seen.answered);
    assert_eq!(seen.too_soon, Vec::<String>::new(), "asked again before its time");
    drop(seen);

    // Nobody is let through for a while: that is asked now and then, not for each object.
    throttle.seen().mode = Mode::Nobody;
    let before = throttle.seen().refused;
    apply(0..40, "two");
    std::thread::sleep(Duration::from_secs(8));
    let refused = throttle.seen().refused - before;
    throttle.seen().mode = Mode::Everybody;
    let since = Instant::now();
    namespace.eventually("all of them again", || all_synced(40));
    eprintln!("{refused} requests while nobody was let through, all synced after {:.1?}", since.elapsed());
    // Each of 32 workers once in the time that was asked for, and what watches and leases ask.
    assert!(refused < 450, "{refused}");
    assert_eq!(http_status(&operator), (200, 200));
}

fn http_status(operator: &Operator) -> (u16, u16) {
    let status = |path| bulla_test_support::http(operator.api, "GET", path, &[], "").0;
    (status("/healthz"), status("/readyz"))
}

/// Stands before the API server, as its administrator, and refuses some of what is asked.
struct Throttle {
    _runtime: Runtime,
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Some,
    Nobody,
    Everybody,
}

struct Seen {
    mode: Mode,
    random: Random,
    /// By what was asked: when it was last refused, and how often in a row.
    last: HashMap<String, (Instant, u32)>,
    answered: usize,
    refused: usize,
    /// What came again before its time.
    too_soon: Vec<String>,
}

impl Throttle {
    fn start(seed: u64) -> Self {
        let (runtime, client) = client(&kubeconfig());
        let seen = Arc::new(Mutex::new(Seen {
            mode: Mode::Some,
            random: Random(seed),
            last: HashMap::new(),
            answered: 0,
            refused: 0,
            too_soon: Vec::new(),
        }));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(forward).with_state((client, seen.clone()));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { _runtime: runtime, address, seen }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// The way to the API server through it.
    fn kubeconfig(&self, keys: &Keys) -> PathBuf {
        let path = keys.0.path().join("throttled");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "throttled", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "throttled", "context": {"cluster": "throttled", "user": "nobody"}}],
            "current-context": "throttled",
        });
        serde_json::to_writer(fs::File::create(&path).unwrap(), &config).unwrap();
        path
    }
}

impl Seen {
    /// Whether to refuse what is asked. Leases are let through as long as anything is: a real server's flow control keeps them apart.
    fn refuses(&mut self, what: String) -> bool {
        let now = Instant::now();
        let last = self.last.get(&what).copied();
        if last.is_some_and(|(at, _)| now - at < LATER) && self.mode == Mode::Some {
            self.too_soon.push(what.clone());
        }
        let in_a_row = last.map_or(0, |(_, count)| count);
        let refuses = match self.mode {
            Mode::Nobody => true,
            Mode::Everybody => false,
            Mode::Some => !what.contains("/leases") && in_a_row < IN_A_ROW && self.random.next() % 5 < 2,
        };
        if refuses {
            self.refused += 1;
            self.last.insert(what, (now, in_a_row + 1));
        } else {
            self.answered += 1;
            self.last.remove(&what);
        }
        refuses
    }
}

async fn forward(State((client, seen)): State<(Client, Arc<Mutex<Seen>>)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(HOST);
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let what = format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
    if seen.lock().unwrap().refuses(what) {
        // As the API server's own filter answers.
        let after = [(RETRY_AFTER, LATER.as_secs().to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, after, "Too many requests, please try again later.\n").into_response();
    }
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body));
    match client.send(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
