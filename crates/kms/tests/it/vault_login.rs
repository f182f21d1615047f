//! Logging in to Vault with what a platform gives, against the real OpenBao.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_core::{KeyErrorKind, KeyId, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use bulla_test_support::bao::{Bao, with_root};
use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::service_accounts::{ServiceAccounts, service_account_token};
use serde_json::json;
use tempfile::TempDir;

use crate::bao::Keys;
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
    let cluster = ServiceAccounts::start();
    let jwt = service_account_token("default", "app", "https://kubernetes.default.svc");
    let mount = cluster.auth(&bao);
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
    assert_eq!(cluster.0.seen().len(), 1, "one login serves both");

    let error = failure(open(&env("other"), &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
    std::fs::write(&file, service_account_token("default", "intruder", "https://kubernetes.default.svc")).unwrap();
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
