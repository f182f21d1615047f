//! Logins of pods.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_server::auth::jose::Limits;
use bulla_server::auth::kubernetes::Kubernetes;
use bulla_server::core::mount::{Catalog, Class};
use bulla_server::logical::Declared;
use bulla_test_support::fake::{Answer, Fake, Request};
use bulla_test_support::service_accounts::{ServiceAccounts, UNUSED_AUTHORITY, old_token, service_account_token};
use serde_json::{Value, json};

use crate::ours::Ours;
use crate::signer::{Signer, now, part, rsa};

/// A cluster that takes every token at its word, knows the labels of its namespaces, and has the key of all tests.
pub fn cluster() -> Fake {
    Fake::answering(|request| {
        let answer = match request.path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => review(request),
            "/openid/v1/jwks" => json!({ "keys": [rsa().jwk("k")] }),
            "/api/v1/namespaces/ns" => json!({ "metadata": { "name": "ns", "labels": { "team": "a", "x": "y" } } }),
            _ => return Answer(404, vec![], json!({ "kind": "Status", "status": "Failure" }).to_string()),
        };
        Answer(201 - u16::from(request.method == "GET"), json_type(), answer.to_string())
    })
}

fn json_type() -> Vec<(&'static str, String)> {
    vec![("Content-Type", "application/json".to_owned())]
}

fn review(request: &Request) -> Value {
    let review: Value = serde_json::from_str(&request.body).unwrap();
    let claims = review["spec"]["token"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let uid = match &claims["kubernetes.io"]["serviceaccount"]["uid"] {
        Value::Null => &claims["kubernetes.io/serviceaccount/service-account.uid"],
        uid => uid,
    };
    let user = json!({ "username": claims["sub"], "uid": uid });
    let status = if claims["sub"] == "system:serviceaccount:ns:gone" {
        json!({ "authenticated": false, "error": "gone" })
    } else {
        json!({ "authenticated": true, "user": user, "audiences": claims["aud"] })
    };
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status })
}

/// What the token of the service account `a` in `ns` says, with changes.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://kubernetes.default.svc", "aud": ["vault"], "sub": "system:serviceaccount:ns:a",
        "iat": now() - 10, "nbf": now() - 10, "exp": now() + 600,
        "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "a", "uid": "u" }, "pod": { "name": "p", "uid": "v" } },
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn token(changes: &Value) -> String {
    rsa().token("RS256", &claims(changes))
}

fn of(namespace: &str, name: &str) -> Value {
    json!({
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": "u" } },
    })
}

/// Texts of the exchange.
pub fn tokens() -> BTreeMap<String, String> {
    let old = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:ns:a",
        "kubernetes.io/serviceaccount/namespace": "ns", "kubernetes.io/serviceaccount/secret.name": "sec",
        "kubernetes.io/serviceaccount/service-account.name": "a", "kubernetes.io/serviceaccount/service-account.uid": "u",
    });
    let with_header = |header: Value| rsa().token_with("RS256", &header, &claims(&json!({})));
    let lies = json!({ "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "a", "uid": "u" } }, "sub": "system:serviceaccount:ns:b" });
    let no_uid = json!({ "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "a" } } });
    [
        ("sa_good", token(&json!({}))),
        ("sa_old", rsa().token("RS256", &old)),
        ("sa_other_audience", token(&json!({ "aud": ["z"] }))),
        ("sa_expired", token(&json!({ "exp": now() - 1000 }))),
        ("sa_early", token(&json!({ "nbf": now() + 1000 }))),
        ("sa_other_name", token(&of("ns", "z"))),
        ("sa_like_name", token(&of("ns", "build-7"))),
        ("sa_other_namespace", token(&of("elsewhere", "a"))),
        ("sa_gone", token(&of("ns", "gone"))),
        ("sa_lies", token(&lies)),
        ("sa_no_uid", token(&no_uid)),
        ("sa_nobody", token(&json!({ "kubernetes.io": null }))),
        ("sa_odd", token(&json!({ "kubernetes.io": 5 }))),
        ("sa_pss", rsa().token("PS256", &claims(&json!({})))),
        ("sa_none", format!("{}.{}.", part(br#"{"alg":"none"}"#), part(claims(&json!({})).to_string().as_bytes()))),
        ("sa_symmetric", with_header(json!({ "alg": "HS256" }))),
        ("sa_forged", Signer::for_algorithm("ES256").token("ES256", &claims(&json!({})))),
        ("authority", UNUSED_AUTHORITY.replace('\n', "\\n")),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

const LIMITS: Limits = Limits { time: Duration::from_millis(900), pause: Duration::from_millis(300), ..Limits::USUAL };

/// A server whose own pod has what is in a folder, and is one of the cluster of the test.
fn server(folder: &Path, config: &Value) -> Ours {
    server_in("127.0.0.1", folder, config)
}

/// The same in a cluster whose API server has this address.
fn server_in(home: &'static str, folder: &Path, config: &Value) -> Ours {
    let folder = folder.to_owned();
    let own = Catalog::default().with(Class::Auth, "kubernetes", move |_, _| {
        Arc::new(Declared::new(Kubernetes::with(folder.clone(), Some(home.to_owned()), LIMITS)))
    });
    let ours = Ours::dev_of(bulla_server::auth::add(bulla_server::engine::add(own)));
    ours.root("POST", "sys/auth/kubernetes", r#"{"type":"kubernetes"}"#);
    ours.root("POST", "auth/kubernetes/config", &config.to_string());
    let role = json!({
        "bound_service_account_names": "a,build-*,gone", "bound_service_account_namespaces": "ns", "audience": "vault",
        "token_policies": "p",
    });
    ours.root("POST", "auth/kubernetes/role/r", &role.to_string());
    ours
}

fn log_in(ours: &Ours, token: &str) -> (u16, Value) {
    ours.ask("", "POST", "auth/kubernetes/login", &json!({ "role": "r", "jwt": token }).to_string())
}

/// The reviewer's token of each request so far.
fn reviewers(cluster: &Fake) -> Vec<String> {
    let bearer = |request: &Request| {
        let line =
            request.head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"))?.to_owned();
        Some(line.split_once("Bearer ")?.1.to_owned())
    };
    cluster.seen().iter().map(|request| bearer(request).unwrap_or_default()).collect()
}

/// A file of a text.
pub fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_pod_of_the_cluster_reviews_with_the_token_that_it_has_then() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
    write(&folder.path().join("ca.crt"), UNUSED_AUTHORITY);
    write(&folder.path().join("token"), "first\n");
    let ours = server(folder.path(), &json!({ "kubernetes_host": cluster.url() }));
    let (status, answer) = log_in(&ours, &token(&json!({})));
    assert_eq!(status, 200, "{answer}");
    let meta = json!({
        "role": "r", "service_account_name": "a", "service_account_namespace": "ns", "service_account_secret_name": "",
        "service_account_uid": "u",
    });
    assert_eq!(answer["auth"]["metadata"], meta);
    let lookup = ours.ask(answer["auth"]["client_token"].as_str().unwrap(), "GET", "auth/token/lookup-self", "").1;
    assert_eq!(lookup["data"]["display_name"], "kubernetes-ns-a");
    // Kubernetes writes another: the server does not go on with the old one.
    write(&folder.path().join("token"), "second");
    assert_eq!(log_in(&ours, &token(&json!({}))).0, 200);
    // Without one, who logs in asks about himself.
    std::fs::remove_file(folder.path().join("token")).unwrap();
    let own = token(&json!({}));
    assert_eq!(log_in(&ours, &own).0, 200);
    assert_eq!(reviewers(&cluster), ["first", "second", own.as_str()]);
}

#[test]
fn the_reviewer_of_the_configuration_goes_first_and_is_never_shown() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
    write(&folder.path().join("token"), "own");
    let config = json!({
        "kubernetes_host": cluster.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY, "token_reviewer_jwt": "the-reviewer",
    });
    let ours = server(folder.path(), &config);
    assert_eq!(log_in(&ours, &token(&json!({}))).0, 200);
    assert_eq!(reviewers(&cluster), ["the-reviewer"]);
    let shown = ours.root("GET", "auth/kubernetes/config", "");
    assert_eq!(shown["data"]["token_reviewer_jwt_set"], true);
    assert!(!shown.to_string().contains("the-reviewer"), "{shown}");
}

#[test]
fn the_servers_own_token_goes_to_its_own_cluster_alone() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
    write(&folder.path().join("token"), "own");
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem();
    let both = format!("{UNUSED_AUTHORITY}{other}");
    // What the pod has, what the configuration has, and whether that is the pod's own cluster.
    for (pod, given, is_home) in [
        (UNUSED_AUTHORITY, UNUSED_AUTHORITY, true),
        (both.as_str(), other.as_str(), true),
        (UNUSED_AUTHORITY, other.as_str(), false),
        (UNUSED_AUTHORITY, both.as_str(), false),
    ] {
        write(&folder.path().join("ca.crt"), pod);
        let ours = server(folder.path(), &json!({ "kubernetes_host": cluster.url(), "kubernetes_ca_cert": given }));
        let caller = token(&json!({}));
        assert_eq!(log_in(&ours, &caller).0, 200);
        let expected = if is_home { "own" } else { &caller };
        assert_eq!(reviewers(&cluster).last().unwrap(), expected);
    }
    // Another host that has a certificate of the same authorities.
    write(&folder.path().join("ca.crt"), UNUSED_AUTHORITY);
    let ours = server_in("10.96.0.1", folder.path(), &json!({ "kubernetes_host": cluster.url() }));
    let caller = token(&json!({}));
    assert_eq!(log_in(&ours, &caller).0, 200);
    assert_eq!(*reviewers(&cluster).last().unwrap(), caller);
}

#[test]
fn the_word_of_the_cluster_counts() {
    let (accounts, folder) = (ServiceAccounts::start(), tempfile::tempdir().unwrap());
    let config = json!({
        "kubernetes_host": accounts.0.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY, "disable_local_ca_jwt": true,
    });
    let ours = server(folder.path(), &config);
    assert_eq!(log_in(&ours, &service_account_token("ns", "a", "vault")).0, 200);
    // Good for the server itself, as clocks may differ; the cluster knows.
    let (status, answer) = log_in(&ours, &old_token("ns", "a", "vault"));
    assert_eq!((status, &answer["errors"][0]), (403, &json!("permission denied")));
    // Not signed by the cluster.
    assert_eq!(log_in(&ours, &token(&json!({}))).0, 403);
    let mut changed = service_account_token("ns", "a", "vault");
    changed.pop();
    assert_eq!(log_in(&ours, &changed).0, 403);
}

#[test]
fn tokens_are_verified_here_and_nobody_is_asked() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
    write(&folder.path().join("ca.crt"), UNUSED_AUTHORITY);
    write(&folder.path().join("token"), "own");
    let base = json!({
        "kubernetes_host": cluster.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY, "local_verification": true,
        "issuer": "https://kubernetes.default.svc", "disable_iss_validation": false,
    });
    let by_key = {
        let mut config = base.clone();
        config["pem_keys"] = json!([rsa().pem()]);
        config
    };
    for (config, asked) in [(&base, 1), (&by_key, 0)] {
        let before = cluster.seen().len();
        let ours = server(folder.path(), config);
        for _ in 0..5 {
            let (status, answer) = log_in(&ours, &token(&json!({})));
            assert_eq!(status, 200, "{answer}");
        }
        assert_eq!(cluster.seen().len() - before, asked);
        assert!(cluster.seen().iter().all(|request| request.path == "/openid/v1/jwks"));
        let other = Signer::for_algorithm("ES256");
        for bad in [
            other.token("ES256", &claims(&json!({}))),
            token(&json!({ "aud": ["z"] })),
            token(&json!({ "aud": null })),
            token(&json!({ "iss": "https://elsewhere" })),
            token(&json!({ "exp": null })),
            token(&json!({ "exp": now() - 100 })),
            token(&json!({ "nbf": now() + 100 })),
            token(&json!({ "sub": "system:serviceaccount:ns:build-1" })),
            token(&json!({ "sub": null })),
            token(&json!({ "kubernetes.io": { "namespace": "ns", "serviceaccount": { "name": "a" } } })),
            token(&json!({ "kubernetes.io": null })),
            token(&of("elsewhere", "a")),
            token(&of("ns", "z")),
            tokens()["sa_none"].clone(),
            tokens()["sa_symmetric"].clone(),
            tokens()["sa_pss"].clone(),
            tokens()["sa_old"].clone(),
        ] {
            let (status, answer) = log_in(&ours, &bad);
            assert_eq!(status, 403, "{answer} {bad}");
        }
        // Without an audience a token for anybody would do.
        ours.root("POST", "auth/kubernetes/role/r", r#"{"audience":""}"#);
        let (status, answer) = log_in(&ours, &token(&json!({})));
        assert!(status == 400 && answer.to_string().contains("no audience"), "{answer}");
    }
    // The API server is told who asks.
    assert!(reviewers(&cluster).iter().all(|reviewer| reviewer == "own"));
}

#[test]
fn labels_are_asked_for_when_the_namespace_is_believed() {
    let (cluster, folder) = (cluster(), tempfile::tempdir().unwrap());
    write(&folder.path().join("ca.crt"), UNUSED_AUTHORITY);
    write(&folder.path().join("token"), "own");
    let config = json!({ "kubernetes_host": cluster.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY });
    let ours = server(folder.path(), &config);
    let select = |labels: Value| {
        let role = json!({
            "bound_service_account_names": "*", "bound_service_account_namespaces": "other*",
            "bound_service_account_namespace_selector": json!({ "matchLabels": labels }).to_string(),
        });
        ours.root("POST", "auth/kubernetes/role/r", &role.to_string());
    };
    select(json!({ "team": "a", "x": "y" }));
    assert_eq!(log_in(&ours, &token(&json!({}))).0, 200);
    assert_eq!(log_in(&ours, &token(&of("other-one", "b"))).0, 200);
    for labels in [json!({ "team": "b" }), json!({ "team": "a", "z": "" })] {
        select(labels);
        assert_eq!(log_in(&ours, &token(&json!({}))).0, 403);
    }
    select(json!({ "team": "a" }));
    for namespace in ["nowhere", "ns/../ns", "../../secrets", "ns?x", "NS", ""] {
        assert_eq!(log_in(&ours, &token(&of(namespace, "a"))).0, 403, "{namespace}");
    }
    let paths = ["/apis/authentication.k8s.io/v1/tokenreviews", "/api/v1/namespaces/ns", "/api/v1/namespaces/nowhere"];
    for request in cluster.seen() {
        assert!(paths.contains(&request.path.as_str()), "{}", request.path);
    }
}

#[test]
fn a_cluster_that_misbehaves_logs_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = cluster();
    let there = format!("{}/apis/authentication.k8s.io/v1/tokenreviews", elsewhere.url());
    let status =
        |status: Value| move |_: &Request| Answer(201, json_type(), json!({ "status": status.clone() }).to_string());
    let good = json!({ "authenticated": true, "user": { "username": "system:serviceaccount:ns:a", "uid": "u" }, "audiences": ["vault"] });
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed
    };
    let bad: Vec<(&str, Fake)> = vec![
        ("silent", Fake::silent()),
        ("redirect", Fake::answering(move |_| Answer(307, vec![("Location", there.clone())], String::new()))),
        ("huge", Fake::answering(|_| Answer(201, vec![], " ".repeat(5_000_000)))),
        ("garbage", Fake::answering(|_| Answer(201, vec![], "<html>".to_owned()))),
        ("refuses", Fake::answering(|_| Answer(401, vec![], json!({ "message": "Unauthorized" }).to_string()))),
        (
            "another uid",
            Fake::answering(status(with("user", json!({ "username": "system:serviceaccount:ns:a", "uid": "v" })))),
        ),
        (
            "another name",
            Fake::answering(status(with("user", json!({ "username": "system:serviceaccount:ns:b", "uid": "u" })))),
        ),
        ("no audience", Fake::answering(status(with("audiences", json!([]))))),
        ("no", Fake::answering(status(with("authenticated", json!(false))))),
    ];
    for (what, fake) in &bad {
        let config = json!({ "kubernetes_host": fake.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY, "disable_local_ca_jwt": true });
        let ours = server(folder.path(), &config);
        let started = Instant::now();
        let (status, answer) = log_in(&ours, &token(&json!({})));
        assert_eq!((status, &answer["errors"]), (403, &json!(["permission denied"])), "{what}");
        assert!(started.elapsed() < 3 * LIMITS.time, "{what}");
    }
    // The reviewer's token goes nowhere else.
    assert!(elsewhere.seen().is_empty());
    let right = Fake::answering(status(good));
    let config =
        json!({ "kubernetes_host": right.url(), "kubernetes_ca_cert": UNUSED_AUTHORITY, "disable_local_ca_jwt": true });
    assert_eq!(log_in(&server(folder.path(), &config), &token(&json!({}))).0, 200);
}

#[test]
fn a_configuration_that_could_not_work_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = json!({ "kubernetes_host": "https://10.0.0.1", "kubernetes_ca_cert": UNUSED_AUTHORITY });
    let ours = server(folder.path(), &good);
    for (name, value) in [
        ("kubernetes_host", json!("")),
        ("kubernetes_host", json!("ftp://x")),
        ("kubernetes_host", json!("https://user:password@x")),
        ("kubernetes_ca_cert", json!("no certificate")),
        // Not in a pod.
        ("kubernetes_ca_cert", json!("")),
        ("pem_keys", json!(["x"])),
        ("jwks_url", json!("https://x/keys")),
    ] {
        let mut config = good.clone();
        config[name] = value.clone();
        let (status, answer) = ours.ask(crate::ours::ROOT, "POST", "auth/kubernetes/config", &config.to_string());
        assert_eq!(status, 400, "{name} {value} {answer}");
    }
    for host in ["10.0.0.1", "10.0.0.1:6443", "k.example", "https://k.example/prefix/"] {
        let mut config = good.clone();
        config["kubernetes_host"] = json!(host);
        ours.root("POST", "auth/kubernetes/config", &config.to_string());
    }
}
