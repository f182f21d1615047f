//! Vault: what is read, as whom, and for how long, against the real `OpenBao`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bulla_store::limit::Rate;
use bulla_store::vault::{Addresses, Authorities, Connection, Login, Method, Query, Rules, Vault, VaultSession};
use bulla_store::{Session, Store, StoreError, StoreErrorKind};
use bulla_test_support::bao::Bao;
use bulla_test_support::service_accounts::{Broker, ServiceAccounts, old_token, service_account_token};
use serde_json::{Value, json};

/// A server with the service account `app` of the namespace `shop`, and who may ask it.
pub(crate) struct World {
    pub(crate) bao: Arc<Bao>,
    accounts: ServiceAccounts,
    pub(crate) mount: String,
    pub(crate) vault: Vault,
}

/// What is allowed to be asked.
pub(crate) fn rules(patterns: &[&str]) -> Rules {
    Rules {
        default_address: None,
        addresses: Addresses(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()),
        files: None,
        authorities: None,
        rate: Rate { per_second: 1000, burst: 1000, under_way: 100 },
    }
}

pub(crate) fn get(path: &str) -> Query {
    Query::new(Method::Get, path, None::<&Value>).unwrap()
}

pub(crate) fn post(path: &str, arguments: &Value) -> Query {
    Query::new(Method::Post, path, Some(arguments)).unwrap()
}

impl World {
    pub(crate) fn start() -> Self {
        Self::with(Bao::shared(), &json!({}))
    }

    /// The role `app` may read everything but `secret/data/closed`; `limits` are its tokens'.
    pub(crate) fn with(bao: Arc<Bao>, limits: &Value) -> Self {
        let accounts = ServiceAccounts::start();
        let mount = accounts.auth(&bao);
        let rules_of_role = r#"path "*" { capabilities = ["read", "create", "update"] } path "secret/data/closed" { capabilities = ["deny"] } path "sys/leases/revoke" { capabilities = ["deny"] }"#;
        bao.call("POST", "sys/policies/acl/shop", &json!({ "policy": rules_of_role }));
        let mut role = limits.clone();
        for (name, value) in [
            ("bound_service_account_names", "app"),
            ("bound_service_account_namespaces", "shop"),
            ("token_policies", "shop"),
            ("audience", "vault"),
        ] {
            role[name] = json!(value);
        }
        bao.call("POST", &format!("auth/{mount}/role/app"), &role);
        let vault = Vault::new(rules(&[&bao.url()]));
        Self { bao, accounts, mount, vault }
    }

    pub(crate) fn login(&self) -> Login {
        Login {
            connection: Connection { address: Some(self.bao.url()), ..Connection::default() },
            mount: self.mount.clone(),
            role: "app".to_owned(),
            jwt: service_account_token("shop", "app", "vault").into(),
        }
    }

    pub(crate) async fn session(&self) -> VaultSession {
        self.vault.log_in(&self.login()).await.unwrap()
    }

    async fn refused(&self, change: impl FnOnce(&mut Login)) -> StoreError {
        let mut login = self.login();
        change(&mut login);
        let error = self.vault.log_in(&login).await.err().unwrap();
        assert!(!error.to_string().contains(login.jwt.expose()), "{error}");
        error
    }
}

/// What is different about a login.
type Change = Box<dyn FnOnce(&mut Login)>;

fn text(value: &bulla_core::SecretBytes) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}

#[tokio::test]
async fn both_versions_of_kv_are_read_by_their_paths() {
    let world = World::start();
    world.bao.call("POST", "sys/mounts/kv1", &json!({ "type": "kv", "options": { "version": "1" } }));
    world.bao.call("POST", "kv1/db", &json!({ "password": "one\n\"ä", "port": 5432 }));
    for password in ["first", "second"] {
        world.bao.call("POST", "secret/data/db", &json!({ "data": { "password": password } }));
    }
    let session = world.session().await;
    let one = session.read(&get("kv1/db")).await.unwrap();
    assert_eq!(
        (text(&one.value("password").unwrap()), text(&one.value("port").unwrap())),
        ("one\n\"ä".to_owned(), "5432".to_owned())
    );
    let two = session.read(&get("/v1/secret/data/db")).await.unwrap();
    assert_eq!((text(&two.value("password").unwrap()), two.version()), ("second".to_owned(), Some(2)));
    let old = session.read(&get("secret/data/db?version=1")).await.unwrap();
    assert_eq!((text(&old.value("password").unwrap()), old.version()), ("first".to_owned(), Some(1)));
    let whole: Value = serde_json::from_slice(two.whole().expose()).unwrap();
    assert_eq!(whole["data"]["data"]["password"], "second");
    assert_eq!(two.value("none").unwrap_err(), ["password"]);
    assert!(one.lease().is_none() && two.lease().is_none());
    let written = session.read(&post("secret/data/made", &json!({ "data": { "a": "b" } }))).await.unwrap();
    assert_eq!(text(&written.value("version").unwrap()), "1");
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told_apart() {
    let world = World::start();
    world.bao.call("POST", "secret/data/closed", &json!({ "data": { "a": "b" } }));
    let session = world.session().await;
    for (path, kind, says) in [
        ("secret/data/none", StoreErrorKind::NotFound, "secret/data/none"),
        ("secret/none", StoreErrorKind::NotFound, "versioned"),
        ("nowhere/none", StoreErrorKind::NotFound, "no handler"),
        ("secret/data/closed", StoreErrorKind::Denied, "no policy"),
    ] {
        let error = session.read(&get(path)).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(says), "{path}: {error:?}");
    }
}

#[tokio::test]
async fn only_the_account_of_the_role_logs_in() {
    let world = World::start();
    for (namespace, account) in [("shop", "other"), ("other", "app")] {
        let error = world.refused(|login| login.jwt = service_account_token(namespace, account, "vault").into()).await;
        assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
    }
    let cases: [(&str, Change, StoreErrorKind); 6] = [
        ("role", Box::new(|login| login.role = "none".to_owned()), StoreErrorKind::Denied),
        (
            "audience",
            Box::new(|login| login.jwt = service_account_token("shop", "app", "other").into()),
            StoreErrorKind::Denied,
        ),
        ("old", Box::new(|login| login.jwt = old_token("shop", "app", "vault").into()), StoreErrorKind::Denied),
        (
            "forged",
            Box::new(|login| login.jwt = format!("{}x", login.jwt.expose()).as_str().into()),
            StoreErrorKind::Denied,
        ),
        ("mount", Box::new(|login| login.mount = "nowhere".to_owned()), StoreErrorKind::Denied),
        ("climbing", Box::new(|login| login.mount = "x/../../sys".to_owned()), StoreErrorKind::Invalid),
    ];
    for (name, change, kind) in cases {
        let error = world.refused(change).await;
        assert_eq!(error.kind, kind, "{name}: {error}");
    }
    let session = world.session().await;
    assert!(session.is_of("shop", "app") && !session.is_of("shop", "other") && !session.is_of("other", "app"));
    assert!(world.accounts.0.seen().len() >= 2);
}

#[tokio::test]
async fn a_namespace_is_a_part_of_the_connection() {
    let world = World::start();
    world.bao.call("POST", "sys/namespaces/team", &json!({}));
    let error = world.refused(|login| login.connection.namespace = Some("team".to_owned())).await;
    assert_eq!(error.kind, StoreErrorKind::Denied, "no auth method is mounted there: {error}");
    let error = world.refused(|login| login.connection.namespace = Some("te\nam".to_owned())).await;
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_role_of_the_method_jwt_logs_in_and_is_no_account() {
    let world = World::start();
    // Keys of a cluster, as a configured public key; its private half signs with the real openssl.
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    run(&["genrsa", "-out", "key.pem", "2048"]);
    let public = String::from_utf8(run(&["rsa", "-in", "key.pem", "-pubout"])).unwrap();
    let unsigned = service_account_token("shop", "app", "vault");
    let signed = unsigned.rsplit_once('.').unwrap().0;
    std::fs::File::create(folder.path().join("signed"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, signed.as_bytes()))
        .unwrap();
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(run(&["dgst", "-sha256", "-sign", "key.pem", "signed"]));
    let mount = world.bao.auth("jwt");
    world.bao.call("POST", &format!("auth/{mount}/config"), &json!({ "jwt_validation_pubkeys": [public] }));
    let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "bound_subject": "system:serviceaccount:shop:app", "token_policies": "shop" });
    world.bao.call("POST", &format!("auth/{mount}/role/app"), &role);
    let mut login = world.login();
    (login.mount, login.jwt) = (mount, format!("{signed}.{signature}").into());
    let session = world.vault.log_in(&login).await.unwrap();
    assert!(!session.is_of("shop", "app"), "its role may be of a single pod");
    session.read(&get("auth/token/lookup-self")).await.unwrap();
}

#[tokio::test]
async fn a_lease_is_renewed_and_ends_with_its_session() {
    let (world, broker) = (World::start(), Broker::start());
    let path = broker.engine(&world.bao, "10m", "1h");
    let session = world.session().await;
    let answer = session.read(&get(&path)).await.unwrap();
    let lease = answer.lease().unwrap();
    assert!(
        lease.is_renewable && lease.duration == Duration::from_mins(10) && lease.id.starts_with(&path),
        "{lease:?}"
    );
    let user = text(&answer.value("username").unwrap());
    assert!(!text(&answer.value("password").unwrap()).is_empty());
    assert_eq!(broker.users(), (vec![user.clone()], vec![]));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let renewed = session.renew(lease).await.unwrap();
    assert!(renewed.begun > lease.begun && renewed.duration >= Duration::from_secs(599), "{renewed:?}");
    assert_eq!(session.revoke(&lease.id).await.unwrap_err().kind, StoreErrorKind::Denied, "no policy lets it");
    session.close().await.unwrap();
    // The server revokes leases when it gets round to it.
    let begun = std::time::Instant::now();
    while broker.users().1.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the user is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(broker.users(), (vec![user.clone()], vec![user]));
    let gone = world.session().await.renew(lease).await.unwrap_err();
    assert!(matches!(gone.kind, StoreErrorKind::Invalid | StoreErrorKind::NotFound), "{gone:?}");
}

#[tokio::test]
async fn a_session_is_extended_and_one_that_is_over_is_told() {
    let world = World::with(Bao::shared(), &json!({ "token_ttl": "2s", "token_max_ttl": "1h" }));
    let session = world.session().await;
    assert!(session.is_live() && session.due().unwrap() > jiff::Timestamp::now());
    let ends = session.ends().unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert!(session.due().unwrap() <= jiff::Timestamp::now());
    session.extend().await.unwrap();
    assert!(session.ends().unwrap() > ends && session.is_live());
    session.read(&get("auth/token/lookup-self")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!session.is_live());
    assert_eq!(session.read(&get("auth/token/lookup-self")).await.unwrap_err().kind, StoreErrorKind::Denied);
}

#[tokio::test]
async fn a_certificate_is_good_until_it_says() {
    let world = World::start();
    let mount = world.bao.mount_of("pki");
    world.bao.call("POST", &format!("{mount}/root/generate/internal"), &json!({ "common_name": "root" }));
    world.bao.call("POST", &format!("{mount}/roles/web"), &json!({ "allow_any_name": true, "max_ttl": "1h" }));
    let session = world.session().await;
    let answer = session
        .read(&post(&format!("{mount}/issue/web"), &json!({ "common_name": "web.shop", "ttl": "10m" })))
        .await
        .unwrap();
    let lease = answer.lease().unwrap();
    assert!(lease.id.is_empty() && !lease.is_renewable, "{lease:?}");
    let minutes = lease.duration.as_secs() / 60;
    assert!((9..=11).contains(&minutes), "{lease:?}");
    assert!(text(&answer.value("private_key").unwrap()).contains("PRIVATE KEY"));
    assert!(text(&answer.value("ca_chain").unwrap()).starts_with('['));
}

#[tokio::test]
async fn a_certificate_of_a_server_is_believed_as_the_class_and_the_administrator_say() {
    let bao = Bao::with_tls();
    let address = format!("https://{}", bao.0.address);
    let authority = bao.0.folder.path().join("vault-ca.pem");
    let pem = std::fs::read_to_string(&authority).unwrap();
    let login = |connection: Connection| Login {
        connection: Connection { address: Some(address.clone()), ..connection },
        mount: "kubernetes".to_owned(),
        role: "r".to_owned(),
        jwt: "jwt".into(),
    };
    let ask = async |rules: Rules, connection: Connection| {
        let error = Vault::new(rules).log_in(&login(connection)).await.err().unwrap();
        // It is believed if it answered, and it answers that nothing is mounted.
        (error.message.contains("HTTP status"), error)
    };
    let with = |authorities| Connection { authorities, ..Connection::default() };
    let plain = || rules(&[&address]);
    let (is_believed, error) = ask(plain(), Connection::default()).await;
    assert!(!is_believed && error.message.contains("certificate"), "{error}");
    let files = || Rules { files: Some(bao.0.folder.path().to_owned()), ..plain() };
    for (rules, connection) in [
        (plain(), with(Authorities::Pem(pem.clone()))),
        (plain(), with(Authorities::DangerAnybody)),
        (Rules { authorities: Some(authority.clone()), ..plain() }, Connection::default()),
        (files(), with(Authorities::File(authority.clone()))),
    ] {
        let (is_believed, error) = ask(rules, connection).await;
        assert!(is_believed, "{error}");
    }
    let (is_believed, error) = ask(plain(), with(Authorities::File(authority.clone()))).await;
    assert!(!is_believed && error.kind == StoreErrorKind::Denied, "{error}");
    let named = Connection { server_name: Some("other.example".to_owned()), ..with(Authorities::Pem(pem)) };
    assert!(!ask(plain(), named).await.0);
}
