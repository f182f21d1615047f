//! Logging in to Vault with what a platform gives, against the real OpenBao.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_core::{KeyErrorKind, KeyId, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use bulla_test_support::bao::{Bao, with_root};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bao::Keys;
use crate::fake::{Answer, Fake};
use crate::vault::{failure, open, round_trip};

#[tokio::test]
async fn an_app_role_logs_in_once_for_many_keys_and_again_when_its_token_is_gone() {
    let bao = Bao::start();
    let env = bao.app_role(&json!({ "token_ttl": "1h" }));
    let registry = Registry::new(Arc::new(env), Options::default());
    let service = registry.open(&bao.key()).unwrap();
    let wrapped = service.wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (service, wrapped) = (registry.open(service.id()).unwrap(), wrapped.clone());
            tokio::spawn(async move { service.unwrap(&wrapped).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let logins = bao.logged_in("approle");
    assert_eq!(logins.len(), 1, "one token serves all");
    bao.call("POST", "auth/token/revoke-accessor", &json!({ "accessor": logins[0] }));
    service.unwrap(&wrapped).await.unwrap();
    assert_eq!(bao.logged_in("approle").len(), 1, "the revoked one is gone, a new one is there");
}

#[tokio::test]
async fn a_token_of_few_uses_and_short_life_is_replaced_as_it_runs_out() {
    let bao = Bao::shared();
    for limits in [json!({ "token_num_uses": 2 }), json!({ "token_ttl": "1s" })] {
        let service = open(&bao.app_role(&limits), &bao.key());
        let wrapped = service.wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1300) {
            service.unwrap(&wrapped).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_secret_of_an_app_role_can_be_a_file_and_is_not_shown() {
    let bao = Bao::shared();
    let mut env = bao.app_role(&json!({}));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("secret-id");
    let secret = env.remove("BULLA_VAULT_SECRET_ID").unwrap();
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    env.insert("BULLA_VAULT_SECRET_ID_FILE".into(), file.to_str().unwrap().into());
    round_trip(&open(&env, &bao.key())).await;

    std::fs::write(&file, "wrong-secret-id").unwrap();
    let error = failure(open(&env, &bao.key()).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("auth/") && !format!("{error:?}").contains("wrong-secret-id"), "{error:?}");

    std::fs::remove_file(&file).unwrap();
    let error = failure(open(&env, &bao.key()).wrap(&SecretBytes::random(32).unwrap()).await);
    assert!(error.hint().unwrap().contains("BULLA_VAULT_SECRET_ID_FILE"), "{error:?}");
}

#[tokio::test]
async fn the_service_account_of_a_pod_logs_in() {
    let bao = Bao::shared();
    let jwt = service_account_token("default", "app");
    let expected = jwt.clone();
    // The one request that the server's auth method makes to a cluster.
    let cluster = Fake::answering(move |request| {
        assert_eq!(request.path, "/apis/authentication.k8s.io/v1/tokenreviews");
        let review: Value = serde_json::from_str(&request.body).unwrap();
        let status = if review["spec"]["token"] == json!(expected) {
            let user = json!({ "username": "system:serviceaccount:default:app", "uid": "uid-of-app", "groups": [] });
            json!({ "authenticated": true, "user": user, "audiences": review["spec"]["audiences"] })
        } else {
            json!({ "authenticated": false, "error": "invalid bearer token" })
        };
        let answer = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status });
        Answer(201, vec![("Content-Type", "application/json".into())], answer.to_string())
    });
    let mount = bao.auth("kubernetes");
    let config = json!({
        "kubernetes_host": cluster.url(), "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": true,
        "kubernetes_ca_cert": UNUSED_AUTHORITY,
    });
    bao.call("POST", &format!("auth/{mount}/config"), &config);
    let role = json!({
        "bound_service_account_names": "app", "bound_service_account_namespaces": "default",
        "token_policies": bao.policy(), "audience": "https://kubernetes.default.svc",
    });
    bao.call("POST", &format!("auth/{mount}/role/sops"), &role);

    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, &jwt).unwrap();
    let env = |role: &str| {
        BTreeMap::from([
            ("BULLA_VAULT_AUTH".to_owned(), "kubernetes".to_owned()),
            ("BULLA_VAULT_AUTH_MOUNT".to_owned(), mount.clone()),
            ("BULLA_VAULT_ROLE".to_owned(), role.to_owned()),
            ("BULLA_VAULT_JWT_FILE".to_owned(), file.to_str().unwrap().to_owned()),
            ("VAULT_ADDR".to_owned(), bao.url()),
        ])
    };
    let id = bao.key();
    round_trip(&open(&env("sops"), &id)).await;
    assert_eq!(cluster.seen().len(), 1, "one login serves both");

    let error = failure(open(&env("other"), &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    std::fs::write(&file, service_account_token("default", "intruder")).unwrap();
    let error = failure(open(&env("sops"), &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
}

#[tokio::test]
async fn a_login_is_not_sent_to_a_server_that_only_a_file_names() {
    let stranger = Fake::answering(|_| Answer(200, vec![], "{}".into()));
    let bao = Bao::shared();
    let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", stranger.url())).unwrap();
    let error = failure(open(&bao.app_role(&json!({})), &id).unwrap(&WrappedKey::new("vault:v1:AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(error.hint().unwrap().contains("SOPS_HC_VAULT_ALLOWLIST"), "{error:?}");

    let mut env = with_root();
    env.insert("SOPS_HC_VAULT_ALLOWLIST".into(), bao.url());
    round_trip(&open(&env, &bao.key())).await;
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("vault:v1:AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    assert!(stranger.seen().is_empty());
}

/// The auth method demands a certificate authority, also for a cluster that it talks to without TLS. Its key was thrown away.
const UNUSED_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBejCCAR+gAwIBAgIUaPGx/gw6VnulJcDUDwEMr/YtfQkwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyMzEzMjUzMVoYDzIxMjYxMDMwMTMy
NTMxWjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AAS3+mIOh20vGmNM+BOEHOEdVTptTZ+mnj89FxbYse26sJgzQ5M6nQ/y6UH1zWN6
CccAXLF/a+e8wTGTuC9RCvCAo1MwUTAdBgNVHQ4EFgQUQIxoQBRN7gxaZ4DgNICC
sPDwcAYwHwYDVR0jBBgwFoAUQIxoQBRN7gxaZ4DgNICCsPDwcAYwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAuwEHZf1w4eQMjo3T/+8hehDamuhU
ezXUTI2XW/i89MQCIQDzo2Rmnmm+n4ky63jMIv3CZ9CnojZeYG5fOrZlTlZk3g==
-----END CERTIFICATE-----
";

/// A token as Kubernetes projects it into a pod, but for its signature, which the cluster is asked to check.
fn service_account_token(namespace: &str, name: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"],
        "sub": format!("system:serviceaccount:{namespace}:{name}"), "iat": now, "nbf": now, "exp": now + 600,
        "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": format!("uid-of-{name}") } },
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(&json!({ "alg": "RS256", "kid": "k" })),
        part(&claims),
        URL_SAFE_NO_PAD.encode("signature")
    )
}
