//! What a token lives through.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use bulla_core::file::{Fresh, NewMode, replace_as};
use bulla_template::Limits;
use tokio::time::timeout;

use super::*;
use crate::api::Whose;
use crate::config;
use crate::testing::{Upstream, reply};

const PATIENCE: Duration = Duration::from_secs(20);

fn method(kind: &str, settings: &str) -> Login {
    let text = format!(
        "auto_auth {{ method \"{kind}\" {{ config = {{ {settings} }} }}\nsink \"file\" {{ config = {{ path = \"/x\" }} }} }}"
    );
    Login::new(config::parse(&text).unwrap().auto_auth.unwrap().method, None)
}

fn write(path: &Path, text: &str) {
    replace_as(path, text.as_bytes(), Fresh { mode: NewMode::Exactly(0o600), user: None, group: None }).unwrap();
}

#[test]
fn a_wrapped_token_is_written_as_the_peer_does_it() {
    let answer = br#"{"wrap_info":{"token":"s.x","accessor":"a","ttl":300,"creation_time":"2026-01-01T00:00:00Z",
            "creation_path":"sys/wrapping/wrap","wrapped_accessor":"","other":1}}"#;
    let answer = Value::from_json_exact(answer, Limits::default()).unwrap();
    assert_eq!(
        std::str::from_utf8(wrap_info(&answer).unwrap().expose()).unwrap(),
        "{\"token\":\"s.x\",\"accessor\":\"a\",\"ttl\":300,\"creation_time\":\"2026-01-01T00:00:00Z\",\"creation_path\":\"sys/wrapping/wrap\",\"wrapped_accessor\":\"\"}\n"
    );
    assert!(wrap_info(&Value::Missing).is_err());
}

#[tokio::test]
async fn a_token_that_somebody_is_refused_with_is_looked_up_and_followed_by_another_if_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let role = folder.path().join("role");
    write(&role, "r");
    let (logins, is_lost) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let lost = Arc::clone(&is_lost);
    let upstream = Upstream::start(move |request| match request.uri().path() {
        "/v1/auth/approle/login" => {
            let number = logins.fetch_add(1, SeqCst);
            let auth = r#""accessor":"a","lease_duration":100000,"renewable":true"#;
            reply(200, &[], &format!(r#"{{"auth":{{"client_token":"t{number}",{auth}}}}}"#))
        }
        "/v1/auth/token/lookup-self" if !lost.load(SeqCst) => reply(200, &[], r#"{"data":{"ttl":100}}"#),
        _ => reply(403, &[], r#"{"errors":["permission denied"]}"#),
    })
    .await;
    let api = upstream.api(Whose::Own);
    let (tell, mut tokens) = watch::channel(None);
    let login = method("approle", &format!("role_id_file_path = \"{}\"", role.display()));
    let running = tokio::spawn(run(login, Arc::clone(&api), tell));
    timeout(PATIENCE, tokens.changed()).await.unwrap().unwrap();
    let first = tokens.borrow_and_update().clone().unwrap();
    assert_eq!(first.accessor().unwrap().expose(), "a");
    let read = async || assert!(api.ask(Call::get("secret/x", first.plain())).await.is_err());
    // For want of a policy.
    read().await;
    let looked_up = async {
        while !upstream.seen().iter().any(|one| one.contains("lookup-self")) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, looked_up).await.unwrap();
    assert!(!tokens.has_changed().unwrap());
    // Because it is not known any more: within the time between two looks.
    is_lost.store(true, SeqCst);
    read().await;
    timeout(PATIENCE, tokens.changed()).await.unwrap().unwrap();
    assert_eq!(tokens.borrow().as_ref().unwrap().plain().unwrap().expose(), "t1");
    running.abort();
}

#[tokio::test]
async fn a_token_of_a_file_is_told_once_and_one_that_is_over_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    write(&path, "first");
    let upstream = Upstream::start(|request| {
        let token = request.headers()["x-vault-token"].to_str().unwrap().to_owned();
        let (ttl, end) = match token.as_str() {
            "first" => (1, r#""2999-01-01T00:00:00Z""#),
            "over" => (0, r#""2026-01-01T00:00:00Z""#),
            _ => (0, "null"),
        };
        reply(200, &[], &format!(r#"{{"data":{{"id":"{token}","ttl":{ttl},"expire_time":{end},"renewable":false}}}}"#))
    })
    .await;
    let (tell, mut tokens) = watch::channel(None);
    let login = method("token_file", &format!("token_file_path = \"{}\"", path.display()));
    let running = tokio::spawn(run(login, upstream.api(Whose::Own), tell));
    timeout(PATIENCE, tokens.changed()).await.unwrap().unwrap();
    assert_eq!(tokens.borrow_and_update().as_ref().unwrap().plain().unwrap().expose(), "first");
    sleep(Duration::from_millis(3200)).await;
    // Looked up again as its end comes near, but not as fast as that goes, and nobody begins anew.
    let lookups = upstream.seen().len();
    assert!((2..=4).contains(&lookups) && !tokens.has_changed().unwrap(), "{lookups}");
    write(&path, "over");
    sleep(Duration::from_millis(2200)).await;
    assert!(!upstream.seen().is_empty() && !tokens.has_changed().unwrap());
    write(&path, "endless");
    timeout(PATIENCE, tokens.changed()).await.unwrap().unwrap();
    assert_eq!(tokens.borrow_and_update().as_ref().unwrap().plain().unwrap().expose(), "endless");
    running.abort();
}

#[tokio::test]
async fn a_wrapped_secret_id_that_stays_where_it_is_is_unwrapped_once() {
    let folder = tempfile::tempdir().unwrap();
    let (role, secret) = (folder.path().join("role"), folder.path().join("secret"));
    write(&role, "r");
    write(&secret, "wrapping1");
    let unwrapped = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&unwrapped);
    let upstream = Upstream::start(move |request| match request.uri().path() {
        "/v1/sys/wrapping/lookup" => reply(200, &[], r#"{"data":{"creation_path":"auth/approle/role/x/secret-id"}}"#),
        "/v1/sys/wrapping/unwrap" => {
            count.fetch_add(1, SeqCst);
            reply(200, &[], r#"{"data":{"secret_id":"s"}}"#)
        }
        _ => reply(200, &[], r#"{"auth":{"client_token":"t","lease_duration":60}}"#),
    })
    .await;
    let api = upstream.api(Whose::Own);
    let settings = format!(
        "role_id_file_path = \"{}\", secret_id_file_path = \"{}\", remove_secret_id_file_after_reading = false, secret_id_response_wrapping_path = \"auth/approle/role/x/secret-id\"",
        role.display(),
        secret.display()
    );
    let mut login = method("approle", &settings);
    for _ in 0..3 {
        login.log_in(&api).await.unwrap();
    }
    assert_eq!(unwrapped.load(SeqCst), 1);
    write(&secret, "wrapping2");
    login.log_in(&api).await.unwrap();
    assert_eq!(unwrapped.load(SeqCst), 2);
}
