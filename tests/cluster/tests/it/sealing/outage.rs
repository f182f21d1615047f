//! An API server that is really killed: started again at once, then gone for more than a minute.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use bulla_cluster_tests::{ApiServer, Namespace, definitions};
use bulla_test_support::http;
use serde_json::json;

use super::sealer::Sealer;
use super::{Keys, Operator, synced, value};

/// How long it is gone.
const GONE: Duration = Duration::from_secs(62);

/// When somebody starts meanwhile.
const LATE: Duration = Duration::from_secs(54);

/// The processor time that a process has had.
fn processor(operator: &Operator) -> Duration {
    let text = fs::read_to_string(format!("/proc/{}/stat", operator.process.id())).unwrap();
    // Behind the name, which may have blanks: the 12th and 13th fields, in hundredths of a second.
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn an_api_server_that_is_killed_and_gone_for_a_minute_is_waited_for() {
    definitions();
    let (namespace, keys) = (Namespace::new("gone"), Keys::new());
    // The cluster's own API server stays: by it there are changes that nobody tells of.
    let mut server = ApiServer::beside();
    server.start();
    let service = keys.service();
    let place = ["--namespace", &namespace.name, "--namespaces", &namespace.name, "--key-service", &service];
    let by_it = server.kubeconfig();
    let start = |replica: &str| Operator::run(&keys, replica, &by_it, &place, &[]);
    let mut operator = start("a").ready();
    let sealer = Sealer::of(&operator);
    let apply = |names: &[&str], value: &str| {
        let items: Vec<_> = names.iter().map(|name| sealer.seal(&namespace.name, name, value)).collect();
        namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).ok();
    };
    let all_have = |names: &[&str], expected: &str| {
        names.iter().all(|name| value(&namespace, name, "password") == expected && synced(&namespace, name) == "True")
    };
    apply(&["changed", "same", "deleted"], "one");
    namespace.eventually("the first", || all_have(&["changed", "same", "deleted"], "one"));

    // Killed in the middle of work, and there again at once.
    apply(&["changed"], "two");
    server.kill();
    apply(&["new"], "two");
    server.start();
    namespace.eventually("what was changed", || all_have(&["changed", "new"], "two"));

    // Gone.
    server.kill();
    let since = Instant::now();
    apply(&["changed", "later"], "three");
    namespace.kubectl(&["delete", "sealedsecret", "deleted"]).ok();
    namespace.kubectl(&["delete", "secret", "same"]).ok();
    let worked = |operator: &Operator| operator.metric("sealed_secrets_controller_unseal_requests_total").unwrap();
    let (work, time, lines) = (worked(&operator), processor(&operator), operator.log().lines().count());
    thread::sleep(LATE.saturating_sub(since.elapsed()));
    let late = start("late");
    thread::sleep(GONE.saturating_sub(since.elapsed()));
    assert!(operator.process.try_wait().unwrap().is_none(), "it ended: {}", operator.log());
    // It is alive, and gives out its certificate as before. Who has started meanwhile has none, and says why.
    for path in ["/healthz", "/readyz", "/v1/cert.pem"] {
        assert_eq!(http(operator.api, "GET", path, &[], "").0, 200, "{path}");
    }
    assert_eq!(http(late.api, "GET", "/healthz", &[], "").0, 200);
    let (status, reason) = http(late.api, "GET", "/readyz", &[], "");
    assert!(status == 503 && reason.contains("the API server cannot be reached"), "{status} {reason}");
    // No busy loop: neither in processor time nor in attempts, nor in what is said.
    let (work, time) = (worked(&operator) - work, processor(&operator).saturating_sub(time));
    let lines = operator.log().lines().count() - lines;
    eprintln!(
        "an API server gone for {:.0?}: {time:.2?} of processor time, {work} tries, {lines} lines of log",
        since.elapsed()
    );
    assert!(time < GONE / 20, "{time:?}\n{}", operator.log());
    let log = operator.log();
    let of_keys = log.lines().filter(|line| line.contains("the watch of the sealing keys failed")).count();
    // Three watches, whose pauses grow to half a minute.
    assert!(of_keys < 40, "{of_keys}\n{log}");
    assert!(work <= 20.0 && lines < 250, "{work} tries, {lines} lines\n{}", operator.log());
    assert_eq!(value(&namespace, "changed", "password"), "two");

    // Back. Nothing is restarted.
    server.start();
    let since = Instant::now();
    namespace.eventually("what was changed meanwhile", || all_have(&["changed", "later"], "three"));
    namespace.eventually("what was deleted", || all_have(&["same"], "one"));
    namespace.eventually("who started meanwhile", || http(late.api, "GET", "/readyz", &[], "").0 == 200);
    eprintln!("an API server that is back: all is synced after {:.1?}", since.elapsed());
    assert_eq!(namespace.field("secret/deleted", ".metadata.name"), "");
    assert!(since.elapsed() < Duration::from_secs(90), "{:?}\n{}\n{}", since.elapsed(), operator.log(), late.log());
    assert!(operator.process.try_wait().unwrap().is_none());
}
