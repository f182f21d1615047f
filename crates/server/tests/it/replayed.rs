//! What programs in a cluster ask, as their client library sends it, asked of both servers, the answers compared.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Instant;

use bulla_test_support::bao::Bao;
use bulla_test_support::program;
use bulla_test_support::service_accounts::{ServiceAccounts, UNUSED_AUTHORITY, service_account_token};
use serde_json::{Value, json};

use crate::generated::compare::{differences, plain};
use crate::generated::listed::glob;
use crate::generated::wire::Answer;
use crate::ours::{Ours, ROOT};

/// Where answers differ: there are no entities before there is identity.
const NO_ENTITY: &str = "/*/entity_id: \"*\" | \"\"";

/// The exchanges of a caller with a server.
fn exchanges(caller: &str, url: &str) -> Vec<Value> {
    // A cluster for each: what it was asked is not looked at here.
    let cluster = ServiceAccounts::start();
    let output = Command::new(program("bin/vault-callers"))
        .arg(caller)
        .env_clear()
        .env("VAULT_ADDR", url)
        .env("VAULT_TOKEN", ROOT)
        .env("KUBERNETES_HOST", cluster.0.url())
        .env("KUBERNETES_CA", UNUSED_AUTHORITY)
        .env("KUBERNETES_JWT", service_account_token("shop", "app", "vault"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn answer(exchange: &Value) -> Answer {
    let headers = exchange["answer headers"].as_object().unwrap();
    Answer {
        status: exchange["status"].as_u64().unwrap().try_into().unwrap(),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()))
            .collect::<BTreeMap<_, _>>(),
        body: exchange["answer"].clone(),
    }
}

/// What was sent, without what is each server's own.
fn sent(exchange: &Value) -> String {
    let sent = ["method", "path", "token", "headers", "body"].map(|name| exchange[name].clone());
    plain(&Value::from(sent.to_vec()).to_string())
}

fn compare(caller: &str, least: usize) {
    let (bao, ours, begun) = (Bao::start(), Ours::dev(), Instant::now());
    let url = format!("http://{}", ours.address);
    let (theirs, our) = thread::scope(|scope| {
        let theirs = scope.spawn(|| exchanges(caller, &bao.url()));
        let our = exchanges(caller, &url);
        (theirs.join().unwrap(), our)
    });
    assert!(theirs.len() >= least, "calls are missing: {}", theirs.len());
    // Each goes on by what it was answered: the calls are the same only if the answers are.
    assert_eq!(our.iter().map(sent).collect::<Vec<_>>(), theirs.iter().map(sent).collect::<Vec<_>>());
    let (mut failures, mut entities) = (Vec::new(), 0);
    for (theirs, our) in theirs.iter().zip(&our) {
        let call = format!("{} {}", our["method"].as_str().unwrap(), our["path"].as_str().unwrap());
        let found = differences(&answer(theirs), &answer(our), begun.elapsed()).into_iter();
        let (known, others): (Vec<_>, Vec<_>) = found.partition(|difference| glob(NO_ENTITY, difference));
        entities += known.len();
        failures.extend(others.iter().map(|difference| format!("{call}: {difference}")));
    }
    assert!(entities > 0, "there are entities: take the difference out");
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
    let succeeded = our.iter().filter(|exchange| answer(exchange).is_success()).count();
    assert!(succeeded * 2 > our.len(), "too little goes well: {}", json!(our));
}

#[test]
fn external_secrets_is_answered_as_by_openbao() {
    compare("external-secrets", 50);
}

#[test]
fn the_agent_in_a_pod_is_answered_as_by_openbao() {
    compare("injector", 30);
}
