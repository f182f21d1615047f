//! Does what programs do with vaultrs, against the server at `VAULT_ADDR` with the root token `VAULT_TOKEN`. Run against OpenBao it shows that it is
//! right, run against bulla that the client works there. Does the `PARTS`, and prints a line for each that went well.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vaultrs::api::kv2::requests::{SetSecretMetadataRequest, SetSecretRequestOptions};
use vaultrs::api::token::requests::{CreateTokenRequest, SetTokenRoleRequest};
use vaultrs::api::transit::KeyType;
use vaultrs::api::transit::requests::{CreateKeyRequest, DataKeyType};
use vaultrs::auth::{approle, userpass};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;
use vaultrs::{kv1, kv2, sys, token, transit};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "there is a provider already")?;
    let root = client(&std::env::var("VAULT_TOKEN")?)?;
    for part in std::env::var("PARTS")?.split(',') {
        match part {
            "kv1" => plain(&root).await?,
            "kv2" => versioned(&root).await?,
            "transit" => keys(&root).await?,
            "system" => policies_and_mounts(&root).await?,
            "tokens" => tokens(&root).await?,
            "approle" => roles(&root).await?,
            "userpass" => users(&root).await?,
            "wrapping" => wrapping(&root).await?,
            "health" => health(&root).await?,
            other => return Err(format!("no part {other}").into()),
        }
        println!("{part}");
    }
    Ok(())
}

fn client(token: &str) -> Result<VaultClient> {
    let settings = VaultClientSettingsBuilder::default().address(std::env::var("VAULT_ADDR")?).token(token).build()?;
    Ok(VaultClient::new(settings)?)
}

/// The call must have been answered with this status.
fn refused<T>(result: std::result::Result<T, ClientError>, status: u16) {
    match result {
        Err(ClientError::APIError { code, .. }) => assert_eq!(code, status),
        // An answer under an error's status that has data.
        Err(other) => {
            assert!(format!("{other:?}").contains(&format!("code: {status},")), "refused otherwise: {other:?}")
        }
        Ok(_) => panic!("not refused"),
    }
}

async fn plain(root: &VaultClient) -> Result<()> {
    sys::mount::enable(root, "rs-one", "kv", None).await?;
    kv1::set(root, "rs-one", "a/b", &HashMap::from([("x", "1"), ("é", "<&>")])).await?;
    let read: HashMap<String, String> = kv1::get(root, "rs-one", "a/b").await?;
    assert_eq!((read["x"].as_str(), read["é"].as_str()), ("1", "<&>"));
    assert_eq!(kv1::list(root, "rs-one", "a").await?.data.keys, ["b"]);
    kv1::delete(root, "rs-one", "a/b").await?;
    refused(kv1::get::<Value>(root, "rs-one", "a/b").await, 404);
    Ok(())
}

async fn versioned(root: &VaultClient) -> Result<()> {
    sys::mount::enable(root, "rs-two", "kv-v2", None).await?;
    assert_eq!(kv2::set(root, "rs-two", "k", &json!({ "n": 1 })).await?.version, 1);
    let cas = |cas| SetSecretRequestOptions { cas };
    refused(kv2::set_with_options(root, "rs-two", "k", &json!({ "n": 2 }), cas(0)).await, 400);
    assert_eq!(kv2::set_with_options(root, "rs-two", "k", &json!({ "n": 2 }), cas(1)).await?.version, 2);
    assert_eq!(kv2::read::<Value>(root, "rs-two", "k").await?, json!({ "n": 2 }));
    assert_eq!(kv2::read_version::<Value>(root, "rs-two", "k", 1).await?, json!({ "n": 1 }));
    assert_eq!(kv2::list(root, "rs-two", "").await?, ["k"]);
    kv2::delete_versions(root, "rs-two", "k", vec![1]).await?;
    kv2::undelete_versions(root, "rs-two", "k", vec![1]).await?;
    kv2::destroy_versions(root, "rs-two", "k", vec![1]).await?;
    let mut about = SetSecretMetadataRequest::builder();
    about.max_versions(3_u64).custom_metadata(HashMap::from([("owner".to_owned(), "me".to_owned())]));
    kv2::set_metadata(root, "rs-two", "k", Some(&mut about)).await?;
    let read = kv2::read_metadata(root, "rs-two", "k").await?;
    assert_eq!((read.current_version, read.max_versions, read.versions.len()), (2, 3, 2));
    assert!(read.versions["1"].destroyed);
    kv2::delete_latest(root, "rs-two", "k").await?;
    refused(kv2::read::<Value>(root, "rs-two", "k").await, 404);
    kv2::delete_metadata(root, "rs-two", "k").await?;
    kv2::config::set(root, "rs-two", None).await?;
    assert!(!kv2::config::read(root, "rs-two").await?.cas_required);
    Ok(())
}

async fn keys(root: &VaultClient) -> Result<()> {
    sys::mount::enable(root, "rs-transit", "transit", None).await?;
    let text = STANDARD.encode("hello");
    transit::key::create(root, "rs-transit", "k", None).await?;
    let first = transit::data::encrypt(root, "rs-transit", "k", &text, None).await?.ciphertext;
    assert!(first.starts_with("vault:v1:"));
    transit::key::rotate(root, "rs-transit", "k").await?;
    let second = transit::data::rewrap(root, "rs-transit", "k", &first, None).await?.ciphertext;
    assert!(second.starts_with("vault:v2:"));
    for ciphertext in [first, second] {
        assert_eq!(transit::data::decrypt(root, "rs-transit", "k", &ciphertext, None).await?.plaintext, text);
    }
    let mut signing = CreateKeyRequest::builder();
    signing.key_type(KeyType::Ed25519);
    transit::key::create(root, "rs-transit", "s", Some(&mut signing)).await?;
    assert!(transit::data::sign(root, "rs-transit", "s", &text, None).await?.signature.starts_with("vault:v1:"));
    let made = transit::generate::data_key(root, "rs-transit", "k", DataKeyType::Plaintext, None).await?;
    assert!(made.plaintext.is_some_and(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 32)));
    assert_eq!(
        transit::generate::hash(root, "rs-transit", &text, None).await?.sum,
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(transit::key::list(root, "rs-transit").await?.keys, ["k", "s"]);
    refused(transit::key::delete(root, "rs-transit", "k").await, 400);
    refused(transit::data::decrypt(root, "rs-transit", "k", "vault:v1:AAAA", None).await, 400);
    Ok(())
}

async fn policies_and_mounts(root: &VaultClient) -> Result<()> {
    let rules = r#"path "rs-two/data/+" { capabilities = ["read"] }"#;
    sys::policy::set(root, "rs", rules).await?;
    assert_eq!(sys::policy::read(root, "rs").await?.rules, rules);
    assert!(sys::policy::list(root).await?.policies.contains(&"rs".to_owned()));
    let mounts = sys::mount::list(root).await?;
    assert_eq!(mounts["rs-transit/"].mount_type, "transit");
    assert!(sys::auth::list(root).await?.contains_key("token/"));
    sys::mount::enable(root, "rs-gone", "kv", None).await?;
    sys::mount::disable(root, "rs-gone").await?;
    assert!(!sys::mount::list(root).await?.contains_key("rs-gone/"));
    Ok(())
}

async fn health(root: &VaultClient) -> Result<()> {
    assert!(!sys::health(root).await?.sealed);
    assert_eq!(format!("{:?}", root.status().await?), "OK");
    Ok(())
}

async fn tokens(root: &VaultClient) -> Result<()> {
    let mut wanted = CreateTokenRequest::builder();
    wanted
        .policies(vec!["rs".to_owned()])
        .ttl("1h")
        .display_name("mine")
        .meta(HashMap::from([("a".to_owned(), "b".to_owned())]));
    let made = token::new(root, Some(&mut wanted)).await?;
    assert_eq!(made.policies, ["default", "rs"]);
    let own = client(&made.client_token)?;
    let seen = own.lookup().await?;
    assert_eq!(
        (seen.display_name.as_str(), seen.policies),
        ("token-mine", vec!["default".to_owned(), "rs".to_owned()])
    );
    assert_eq!(own.renew(Some("30m")).await?.lease_duration, 1800);
    kv2::set(root, "rs-two", "seen", &json!({ "a": "b" })).await?;
    assert_eq!(kv2::read::<Value>(&own, "rs-two", "seen").await?, json!({ "a": "b" }));
    refused(kv2::set(&own, "rs-two", "seen", &json!({})).await, 403);
    assert_eq!(token::lookup_accessor(root, &made.accessor).await?.display_name, "token-mine");
    let mut role = SetTokenRoleRequest::builder();
    role.allowed_policies(vec!["rs".to_owned()]);
    token::role::set(root, "rs-role", Some(&mut role)).await?;
    assert!(token::role::list(root).await?.keys.contains(&"rs-role".to_owned()));
    let by_role = token::new_role(root, "rs-role", None).await?;
    token::revoke_accessor(root, &by_role.accessor).await?;
    refused(token::lookup(root, &by_role.client_token).await, 403);
    own.revoke().await?;
    refused(own.lookup().await, 403);
    Ok(())
}

async fn roles(root: &VaultClient) -> Result<()> {
    sys::auth::enable(root, "rs-approle", "approle", None).await?;
    approle::role::set(root, "rs-approle", "r", None).await?;
    let id = approle::role::read_id(root, "rs-approle", "r").await?.role_id;
    let secret = approle::role::secret::generate(root, "rs-approle", "r", None).await?;
    assert_eq!(approle::role::secret::list(root, "rs-approle", "r").await?.keys, [secret.secret_id_accessor.clone()]);
    let logged_in = approle::login(root, "rs-approle", &id, &secret.secret_id).await?;
    assert_eq!(client(&logged_in.client_token)?.lookup().await?.path, "auth/rs-approle/login");
    approle::role::secret::delete(root, "rs-approle", "r", &secret.secret_id).await?;
    refused(approle::login(root, "rs-approle", &id, &secret.secret_id).await, 400);
    assert_eq!(approle::role::list(root, "rs-approle").await?.keys, ["r"]);
    approle::role::delete(root, "rs-approle", "r").await?;
    Ok(())
}

async fn users(root: &VaultClient) -> Result<()> {
    sys::auth::enable(root, "rs-userpass", "userpass", None).await?;
    userpass::user::set(root, "rs-userpass", "u", "correct", None).await?;
    userpass::user::update_policies(root, "rs-userpass", "u", "rs").await?;
    refused(userpass::login(root, "rs-userpass", "u", "wrong").await, 400);
    assert_eq!(userpass::login(root, "rs-userpass", "u", "correct").await?.policies, ["default", "rs"]);
    userpass::user::update_password(root, "rs-userpass", "u", "other").await?;
    userpass::login(root, "rs-userpass", "u", "other").await?;
    assert_eq!(userpass::user::list(root, "rs-userpass").await?.keys, ["u"]);
    userpass::user::delete(root, "rs-userpass", "u").await?;
    sys::auth::disable(root, "rs-userpass").await?;
    Ok(())
}

async fn wrapping(root: &VaultClient) -> Result<()> {
    let endpoint = vaultrs::api::token::requests::LookupTokenSelfRequest::builder().build()?;
    let wrapped = vaultrs::api::wrap(root, endpoint).await?;
    assert_eq!(sys::wrapping::lookup(root, &wrapped.info.token).await?.creation_path, "auth/token/lookup-self");
    let first = sys::wrapping::unwrap::<Value>(root, Some(&wrapped.info.token)).await?;
    assert_eq!(first["policies"], json!(["root"]));
    refused(sys::wrapping::unwrap::<Value>(root, Some(&wrapped.info.token)).await, 400);
    Ok(())
}
