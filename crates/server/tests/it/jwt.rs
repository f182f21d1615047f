//! Logins with signed tokens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_test_support::bao::Bao;
use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::program;
use serde_json::{Value, json};

use crate::ours::Ours;
use crate::signer::{now, part, rsa};

/// Serves the key of all tests, and is its issuer.
pub fn key_set() -> Fake {
    let own = Arc::new(std::sync::Mutex::new(String::new()));
    let name = Arc::clone(&own);
    let fake = Fake::answering(move |request| {
        let url = name.lock().unwrap().clone();
        let body = match request.path.as_str() {
            "/jwks" => json!({ "keys": [rsa().jwk("k")] }),
            "/.well-known/openid-configuration" => json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") }),
            _ => return Answer(404, vec![], "{}".to_owned()),
        };
        Answer(200, vec![("Content-Type", "application/json".to_owned())], body.to_string())
    });
    *own.lock().unwrap() = fake.url();
    fake
}

/// What the good token says, with changes; `null` takes something away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "me", "sub": "bob", "aud": ["a", "b"], "iat": now() - 10, "exp": now() + 3600, "user": "u",
        "groups": ["g1", "g2"], "n": 5, "yes": true, "deep": { "x": "y" },
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

/// Texts of the exchange: tokens, good and bad ones, and the public key, escaped for JSON.
pub fn tokens() -> BTreeMap<String, String> {
    let token = |changes: Value| rsa().token("RS256", &claims(&changes));
    let with_header = |header: Value| rsa().token_with("RS256", &header, &claims(&json!({})));
    let good = token(json!({}));
    let payload = good.split('.').nth(1).unwrap();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let whole = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let symmetric = format!("{}.{payload}", part(br#"{"alg":"HS256"}"#));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, rsa().pem().as_bytes());
    let pem = rsa().pem().replace('\n', "\\n");
    [
        ("jwt_good", good.clone()),
        ("jwt_nameless", with_header(json!({ "alg": "RS256" }))),
        ("jwt_other_key", with_header(json!({ "alg": "RS256", "kid": "other" }))),
        ("jwt_other_audience", token(json!({ "aud": "z" }))),
        ("jwt_one_audience", token(json!({ "aud": "a" }))),
        ("jwt_no_audience", token(json!({ "aud": null }))),
        ("jwt_expired", token(json!({ "exp": now() - 1000 }))),
        ("jwt_early", token(json!({ "nbf": now() + 1000 }))),
        ("jwt_future", token(json!({ "iat": now() + 1000 }))),
        ("jwt_timeless", token(json!({ "iat": null, "exp": null }))),
        ("jwt_odd_end", token(json!({ "exp": "x" }))),
        ("jwt_endless", token(json!({ "exp": null }))),
        ("jwt_no_user", token(json!({ "user": null }))),
        ("jwt_number_user", token(json!({ "user": 5 }))),
        ("jwt_other_number", token(json!({ "n": 6 }))),
        ("jwt_no_number", token(json!({ "n": null }))),
        ("jwt_object_number", token(json!({ "n": {} }))),
        ("jwt_one_group", token(json!({ "groups": "g2" }))),
        ("jwt_number_group", token(json!({ "groups": [5] }))),
        ("jwt_object_group", token(json!({ "groups": {} }))),
        ("jwt_no_group", token(json!({ "groups": null }))),
        ("jwt_other_group", token(json!({ "groups": ["x"] }))),
        ("jwt_deep_list", token(json!({ "deep": { "x": [1] } }))),
        ("jwt_other_subject", token(json!({ "sub": "al", "aud": null }))),
        ("jwt_cut", format!("{signed}.{}", part(&whole[..200]))),
        ("jwt_none", format!("{}.{payload}.", part(br#"{"alg":"none"}"#))),
        ("jwt_symmetric", format!("{symmetric}.{}", part(hmac::sign(&secret, symmetric.as_bytes()).as_ref()))),
        ("jwt_renamed", with_header(json!({ "alg": "PS256" }))),
        ("jwt_critical", with_header(json!({ "alg": "RS256", "crit": ["x"], "x": 1 }))),
        ("jwt_pss", rsa().token("PS256", &claims(&json!({})))),
        ("pem", pem),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

fn ready(config: &Value) -> Ours {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/jwt", r#"{"type":"jwt"}"#);
    ours.root("POST", "auth/jwt/config", &config.to_string());
    let role = json!({ "role_type": "jwt", "user_claim": "user", "bound_audiences": "a", "token_policies": "p" });
    ours.root("POST", "auth/jwt/role/r", &role.to_string());
    ours
}

fn log_in(ours: &Ours, token: &str) -> (u16, Value) {
    ours.ask("", "POST", "auth/jwt/login", &json!({ "role": "r", "jwt": token }).to_string())
}

#[test]
fn a_token_logs_in_and_is_renewed_as_the_role_says_then() {
    let ours = ready(&json!({ "jwt_validation_pubkeys": [rsa().pem()] }));
    let tokens = tokens();
    let (status, answer) = log_in(&ours, &tokens["jwt_good"]);
    assert_eq!(status, 200, "{answer}");
    let (begin, end) = tokens["jwt_good"].split_at(20);
    for spaced in [format!("{begin}{end}\n"), format!(" \t{begin}\r\n{end}\u{a0}")] {
        assert_eq!(log_in(&ours, &spaced).0, 200, "{spaced:?}");
    }
    assert_eq!(log_in(&ours, &format!("{begin}-{end}")).0, 400);
    let token = answer["auth"]["client_token"].as_str().unwrap();
    let lookup = ours.ask(token, "GET", "auth/token/lookup-self", "").1;
    assert_eq!(lookup["data"]["display_name"], "jwt-u");
    assert_eq!(lookup["data"]["meta"], json!({ "role": "r" }));
    ours.root("POST", "auth/jwt/role/r", r#"{"role_type":"jwt","token_ttl":"7m","token_policies":"q"}"#);
    let (status, answer) = ours.ask(token, "POST", "auth/token/renew-self", "");
    assert_eq!((status, &answer["auth"]["lease_duration"]), (200, &json!(420)), "{answer}");
    assert_eq!(answer["auth"]["policies"], json!(["default", "p"]));
    ours.root("DELETE", "auth/jwt/role/r", "");
    assert_eq!(ours.ask(token, "POST", "auth/token/renew-self", "").0, 500);
    assert_eq!(log_in(&ours, &tokens["jwt_good"]).0, 400);
}

#[test]
fn another_key_in_the_configuration_counts_at_once() {
    let keys = key_set();
    let ours = ready(&json!({ "jwks_url": format!("{}/jwks", keys.url()) }));
    let good = &tokens()["jwt_good"];
    assert_eq!(log_in(&ours, good).0, 200);
    let other = crate::signer::Signer::for_algorithm("ES256");
    ours.root("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [other.pem()] }).to_string());
    assert_eq!(log_in(&ours, good).0, 400);
    assert_eq!(log_in(&ours, &other.token("ES256", &claims(&json!({})))).0, 200);
    let only = json!({ "jwt_validation_pubkeys": [other.pem()], "jwt_supported_algs": "RS256" });
    ours.root("POST", "auth/jwt/config", &only.to_string());
    let (status, answer) = log_in(&ours, &other.token("ES256", &claims(&json!({}))));
    assert_eq!(status, 400);
    assert!(answer["errors"][0].as_str().unwrap().contains("unexpected algorithm"), "{answer}");
}

#[test]
fn a_far_side_that_fails_logs_nobody_in_and_is_not_quoted() {
    let down = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&down);
    let fake = Fake::answering(move |_| {
        if state.load(Ordering::SeqCst) {
            Answer(500, vec![], "a secret of the inner network".to_owned())
        } else {
            Answer(200, vec![], json!({ "keys": [] }).to_string())
        }
    });
    let ours = ready(&json!({ "jwks_url": fake.url() }));
    down.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        let (status, answer) = log_in(&ours, &tokens()["jwt_good"]);
        assert_eq!(status, 400);
        assert!(!answer.to_string().contains("secret") && !answer.to_string().contains(&fake.url()), "{answer}");
    }
    // One at the configuration, and one in each pause.
    assert!(fake.seen().len() <= 4, "{}", fake.seen().len());
}

#[test]
fn bounds_hold_whatever_else_is_written() {
    let ours = ready(&json!({ "jwt_validation_pubkeys": [rsa().pem()] }));
    let tokens = tokens();
    let write = |role: Value| ours.ask(crate::ours::ROOT, "POST", "auth/jwt/role/r", &role.to_string());
    // Exact claims that become patterns are read as such.
    assert_eq!(write(json!({ "role_type": "jwt", "bound_claims": { "n": 5 } })).0, 204);
    assert_eq!(log_in(&ours, &tokens["jwt_good"]).0, 200);
    assert_eq!(write(json!({ "role_type": "jwt", "bound_claims_type": "glob" })).0, 400);
    let globs = json!({ "role_type": "jwt", "bound_claims_type": "glob", "bound_claims": { "groups": ["z", "g*"], "/deep/x": "*" } });
    assert_eq!(write(globs).0, 204);
    assert_eq!(log_in(&ours, &tokens["jwt_good"]).0, 200);
    assert_eq!(log_in(&ours, &tokens["jwt_other_group"]).0, 400);
    assert_eq!(log_in(&ours, &tokens["jwt_deep_list"]).0, 400);
    assert_eq!(write(json!({ "role_type": "jwt", "bound_claims": {}, "bound_audiences": "" })).0, 400);
    assert_eq!(write(json!({ "role_type": "jwt", "token_policies_template_claims": true })).0, 400);
    // A network that is not the role's.
    assert_eq!(write(json!({ "role_type": "jwt", "bound_claims": {}, "token_bound_cidrs": "10.0.0.0/8" })).0, 204);
    assert_eq!(log_in(&ours, &tokens["jwt_good"]).0, 403);
    // No way to a root token.
    let root = json!({ "role_type": "jwt", "token_bound_cidrs": "", "token_policies": "root" });
    assert_eq!(write(root).0, 204);
    assert_eq!(log_in(&ours, &tokens["jwt_good"]).0, 400);
}

#[test]
fn a_token_that_openbao_issues_logs_in_over_tls() {
    let bao = Bao::with_tls();
    let (address, folder) = (bao.0.address, bao.0.folder.path());
    let authority = std::fs::read_to_string(folder.join("vault-ca.pem")).unwrap();
    let run = |token: &str, words: &[&str]| {
        let mut command = std::process::Command::new(program("venv/bin/bao"));
        command.args(words).env("BAO_ADDR", format!("https://{address}")).env("BAO_TOKEN", token).env("HOME", folder);
        let output = command.env("BAO_CACERT", folder.join("vault-ca.pem")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let root = |words: &[&str]| run(bulla_test_support::bao::ROOT, words);
    root(&["write", "identity/oidc/config", &format!("issuer=https://{address}")]);
    root(&["write", "identity/oidc/key/k", "allowed_client_ids=*", "algorithm=ES384"]);
    root(&["write", "identity/oidc/role/r", "key=k"]);
    let audience = root(&["read", "-field=client_id", "identity/oidc/role/r"]);
    root(&["auth", "enable", "userpass"]);
    root(&["write", "auth/userpass/users/bob", "password=pw"]);
    let policy = folder.join("policy.hcl");
    crate::kubernetes::write(&policy, r#"path "identity/oidc/token/r" { capabilities = ["read"] }"#);
    root(&["policy", "write", "default", policy.to_str().unwrap()]);
    let bob = run("", &["login", "-no-store", "-field=token", "-method=userpass", "username=bob", "password=pw"]);
    let token = run(&bob, &["read", "-field=token", "identity/oidc/token/r"]);

    let issuer = format!("https://{address}/v1/identity/oidc");
    let ours = ready(&json!({ "oidc_discovery_url": issuer, "oidc_discovery_ca_pem": authority }));
    // The issuer is not bound by where its keys are, as in OpenBao; whoever writes that is told.
    let config = |bound: &str| {
        let config = json!({ "oidc_discovery_url": issuer, "oidc_discovery_ca_pem": authority, "bound_issuer": bound });
        ours.ask(crate::ours::ROOT, "POST", "auth/jwt/config", &config.to_string())
    };
    assert_eq!(config(&issuer).0, 204);
    let (status, warned) = config("");
    assert!(status == 200 && warned["warnings"][0].as_str().unwrap().contains("bound_issuer"), "{warned}");
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": audience });
    ours.root("POST", "auth/jwt/role/r", &role.to_string());
    let (status, answer) = log_in(&ours, &token);
    assert_eq!(status, 200, "{answer}");
    // Whom nobody vouches for is not asked.
    let (other, set) =
        (crate::kubernetes::tokens()["authority"].replace("\\n", "\n"), format!("{issuer}/.well-known/keys"));
    for config in [
        json!({ "oidc_discovery_url": issuer }),
        json!({ "oidc_discovery_url": issuer, "oidc_discovery_ca_pem": other }),
        json!({ "jwks_url": set, "jwks_ca_pem": other }),
    ] {
        let (status, answer) = ours.ask(crate::ours::ROOT, "POST", "auth/jwt/config", &config.to_string());
        assert_eq!(status, 400, "{answer}");
    }
    ours.root("POST", "auth/jwt/config", &json!({ "jwks_url": set, "jwks_ca_pem": authority }).to_string());
    assert_eq!(log_in(&ours, &token).0, 200);
}
