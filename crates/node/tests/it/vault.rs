//! The provider `vault`, against the real `OpenBao`: who gets what, who shares, and what becomes of leases.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bulla_core::SecretString;
use bulla_node::pod::{Pod, Token, Volume};
use bulla_node::provider::{Answer, Ask, ErrorKind, Provider, ProviderError, VaultProvider};
use bulla_node::volume::{Limits, ObjectVersion};
use bulla_store::limit::Rate;
use bulla_store::shared::Bounds;
use bulla_store::vault::{Addresses, Rules, Vault};
use bulla_test_support::bao::Bao;
use bulla_test_support::service_accounts::{Broker, ServiceAccounts, service_account_token};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server that knows the accounts `app` and `other` of the namespace `shop`, of which only `app` has a role.
pub(crate) struct World {
    pub(crate) bao: Arc<Bao>,
    pub(crate) accounts: ServiceAccounts,
    mount: String,
}

const BOUNDS: Bounds =
    Bounds { fresh: Duration::from_secs(10), last_known: Duration::from_mins(10), bytes: 1 << 20, answers: 100 };

impl World {
    pub(crate) fn start(bao: Arc<Bao>) -> Self {
        let accounts = ServiceAccounts::start();
        let mount = accounts.auth(&bao);
        let policy = r#"path "secret/data/*" { capabilities = ["read"] } path "+/rabbitmq/creds/r" { capabilities = ["read"] } path "+/pki/issue/web" { capabilities = ["update"] }"#;
        bao.call("POST", "sys/policies/acl/shop-app", &json!({ "policy": policy }));
        let role = json!({
            "bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "audience": "vault",
            "token_policies": "shop-app", "token_ttl": "1h",
        });
        bao.call("POST", &format!("auth/{mount}/role/app"), &role);
        Self { bao, accounts, mount }
    }

    pub(crate) fn provider(&self, bounds: Bounds) -> VaultProvider {
        Self::provider_at(&self.bao.url(), bounds)
    }

    fn provider_at(url: &str, bounds: Bounds) -> VaultProvider {
        Self::provider_within(url, bounds, Limits::default())
    }

    fn provider_within(url: &str, bounds: Bounds, limits: Limits) -> VaultProvider {
        let rules = Rules {
            default_address: None,
            addresses: Addresses(vec![url.parse().unwrap()]),
            files: None,
            authorities: None,
            rate: Rate { per_second: 1000, burst: 1000, under_way: 100 },
        };
        VaultProvider::new(Vault::new(rules), limits, bounds)
    }

    pub(crate) fn parameters(&self, objects: &str) -> BTreeMap<String, String> {
        let all = [
            ("vaultAddress", self.bao.url()),
            ("roleName", "app".to_owned()),
            ("vaultAuthMountPath", self.mount.clone()),
            ("objects", objects.to_owned()),
        ];
        all.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// How often somebody logged in.
    fn logins(&self) -> usize {
        self.accounts.0.seen().len()
    }

    fn secret(&self, name: &str, value: &str) {
        self.bao.call("POST", &format!("secret/data/{name}"), &json!({ "data": { "password": value } }));
    }
}

/// A pod's volume, as the node service knows it.
struct Mounted {
    volume: Volume,
    place: String,
    class: String,
    versions: Vec<ObjectVersion>,
    remembered: String,
}

fn volume(pod: &str, account: &str) -> Mounted {
    let token = Token {
        token: SecretString::from(service_account_token("shop", account, "vault")),
        expires: Timestamp::now() + SignedDuration::from_mins(10),
    };
    let pod = Pod {
        namespace: "shop".to_owned(),
        name: pod.to_owned(),
        uid: format!("uid-{pod}"),
        service_account: account.to_owned(),
    };
    let place = format!("{}/mount", pod.uid);
    let volume =
        Volume { pod, class: "c".to_owned(), tokens: [("vault".to_owned(), token)].into(), secrets: BTreeMap::new() };
    Mounted { volume, place, class: "1".to_owned(), versions: Vec::new(), remembered: String::new() }
}

impl Mounted {
    async fn fetch(
        &mut self,
        provider: &VaultProvider,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Answer, ProviderError> {
        let ask = Ask {
            volume: &self.volume,
            parameters,
            target: &self.place,
            mode: 0o644,
            current: &self.versions,
            place: &self.place,
            class: &self.class,
            remembered: &self.remembered,
        };
        let answer = provider.fetch(&ask).await?;
        (self.versions, self.remembered) = (answer.versions.clone(), answer.remembered.clone());
        assert!(!self.remembered.contains("s.") && !self.remembered.contains("eyJ"), "{}", self.remembered);
        Ok(answer)
    }
}

fn text(answer: &Answer, path: &str) -> String {
    let file = answer.content.as_ref().unwrap().file(path).unwrap();
    String::from_utf8(file.contents.expose().to_vec()).unwrap()
}

const PASSWORD: &str =
    "[{objectName: password, secretPath: secret/data/NAME, secretKey: password, filePermission: 0400}]";

#[tokio::test]
async fn pods_of_one_account_that_ask_the_same_ask_once_and_others_are_refused() {
    let world = World::start(Bao::shared());
    world.secret("shared", "one");
    let (provider, parameters) = (world.provider(BOUNDS), world.parameters(&PASSWORD.replace("NAME", "shared")));
    let mut pods: Vec<Mounted> = (0..100).map(|n| volume(&format!("p{n}"), "app")).collect();
    let answers = join_all(pods.iter_mut().map(|pod| pod.fetch(&provider, &parameters))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(text(&answer, "password"), "one");
        assert_eq!(answer.content.as_ref().unwrap().file("password").unwrap().mode, 0o400);
        assert!(answer.versions[0].version.starts_with("1.") && answer.again.is_none(), "{answer:?}");
    }
    assert_eq!(world.logins(), 1);
    let different: std::collections::BTreeSet<_> = pods.iter().map(|pod| pod.versions[0].version.clone()).collect();
    assert_eq!(different.len(), 100, "who knows one volume's key can guess at no other's version");

    // The same question, at the same time, of an account that has no role.
    let refused = volume("intruder", "other").fetch(&provider, &parameters).await.unwrap_err();
    assert_eq!((refused.kind, refused.provider.as_str()), (ErrorKind::Denied, "vault"), "{refused}");

    // What is wished anew is fetched anew.
    world.secret("shared", "two");
    let mut pod = volume("late", "app");
    assert_eq!(text(&pod.fetch(&provider, &parameters).await.unwrap(), "password"), "one");
    pod.class = "2".to_owned();
    assert_eq!(text(&pod.fetch(&provider, &parameters).await.unwrap(), "password"), "two");
    assert!(pod.versions[0].version.starts_with("2."));
}

#[tokio::test]
async fn a_login_of_before_helps_no_pod_of_an_account_that_lost_its_role() {
    let world = World::start(Bao::shared());
    world.secret("lost", "one");
    let parameters = world.parameters(&PASSWORD.replace("NAME", "lost"));
    // Nothing is shared, and no value is left from before.
    let provider = world.provider(Bounds { fresh: Duration::ZERO, last_known: Duration::ZERO, ..BOUNDS });
    let mut first = volume("first", "app");
    first.fetch(&provider, &parameters).await.unwrap();
    let role = json!({
        "bound_service_account_names": "else", "bound_service_account_namespaces": "shop", "audience": "vault",
        "token_policies": "shop-app",
    });
    world.bao.call("POST", &format!("auth/{}/role/app", world.mount), &role);
    let refused = volume("late", "app").fetch(&provider, &parameters).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied, "{refused}");
    assert_eq!(first.fetch(&provider, &parameters).await.unwrap_err().kind, ErrorKind::Denied);
}

#[tokio::test]
async fn a_class_gets_no_more_than_a_volume_may_have() {
    let world = World::start(Bao::shared());
    world.secret("big", &"x".repeat(500_000));
    let rules = Limits { bytes: 600_000, ..Limits::default() };
    let provider = World::provider_within(&world.bao.url(), BOUNDS, rules);
    let object = |n: usize| format!("{{objectName: o{n}, secretPath: \"secret/data/big?n={n}\", secretKey: password}}");
    let objects = (0..4).map(object).collect::<Vec<_>>().join(", ");
    let refused = volume("p", "app").fetch(&provider, &world.parameters(&format!("[{objects}]"))).await.unwrap_err();
    assert!(refused.kind == ErrorKind::Invalid && refused.message.contains("1200000 bytes together"), "{refused}");
}

/// Hands connections on to a server, and counts the requests on them that read a secret.
async fn counting(server: SocketAddr) -> (String, Arc<AtomicUsize>) {
    const READ: &[u8] = b"GET /v1/secret/data/";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, count) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let (mut from, mut back) = client.into_split();
                let (mut answers, mut to) = TcpStream::connect(server).await.unwrap().into_split();
                let answers = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
                let (mut seen, mut part) = (Vec::new(), [0; 4096]);
                while let Ok(length @ 1..) = from.read(&mut part).await {
                    seen.extend_from_slice(&part[..length]);
                    to.write_all(&part[..length]).await.unwrap();
                }
                counted.fetch_add(seen.windows(READ.len()).filter(|window| *window == READ).count(), Ordering::Relaxed);
                drop(to);
                let _ = answers.await;
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_thousand_pods_of_ten_accounts_are_ten_logins_and_ten_readings() {
    let world = World::start(Bao::shared());
    world.secret("many", "one");
    let accounts: Vec<String> = (0..10).map(|n| format!("app-{n}")).collect();
    let role = json!({
        "bound_service_account_names": accounts.join(","), "bound_service_account_namespaces": "shop",
        "audience": "vault", "token_policies": "shop-app", "token_ttl": "1h",
    });
    world.bao.call("POST", &format!("auth/{}/role/app", world.mount), &role);
    let (url, readings) = counting(world.bao.0.address).await;
    let provider = World::provider_at(&url, BOUNDS);
    let mut parameters = world.parameters(&PASSWORD.replace("NAME", "many"));
    parameters.insert("vaultAddress".to_owned(), url);
    let mut pods: Vec<Mounted> = (0..1000).map(|n| volume(&format!("p{n}"), &accounts[n % 10])).collect();
    for answer in join_all(pods.iter_mut().map(|pod| pod.fetch(&provider, &parameters))).await {
        assert_eq!(text(&answer.unwrap(), "password"), "one");
    }
    assert_eq!(world.logins(), 10);
    // Connections are counted when they end.
    drop(provider);
    eventually("the count", || readings.load(Ordering::Relaxed) >= 10).await;
    assert_eq!(readings.load(Ordering::Relaxed), 10);
}

#[tokio::test]
async fn what_is_known_last_is_for_new_pods_of_an_account_that_was_allowed() {
    let bao = Arc::new(Bao::start());
    let world = World::start(Arc::clone(&bao));
    world.secret("a", "one");
    let provider = world.provider(Bounds { fresh: Duration::ZERO, ..BOUNDS });
    let parameters = world.parameters(&PASSWORD.replace("NAME", "a"));
    let mut first = volume("first", "app");
    first.fetch(&provider, &parameters).await.unwrap();
    bao.call("POST", "sys/seal", &json!({}));
    let late = volume("late", "app").fetch(&provider, &parameters).await.unwrap();
    assert_eq!((text(&late, "password"), late.again.is_some(), late.is_last_known), ("one".to_owned(), true, true));
    // Who has it mounted keeps that, and is told; who was not allowed, or asks for something else, gets nothing.
    assert_eq!(first.fetch(&provider, &parameters).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(volume("x", "other").fetch(&provider, &parameters).await.unwrap_err().kind, ErrorKind::Unavailable);
    let other = world.parameters(&PASSWORD.replace("NAME", "b"));
    assert_eq!(volume("y", "app").fetch(&provider, &other).await.unwrap_err().kind, ErrorKind::Unavailable);
    let never = world.provider(Bounds { fresh: Duration::ZERO, last_known: Duration::ZERO, ..BOUNDS });
    assert!(volume("z", "app").fetch(&never, &parameters).await.is_err());
}

fn leased(path: &str) -> String {
    format!(
        "[{{objectName: user, secretPath: {path}, secretKey: username}}, {{objectName: password, secretPath: {path}, secretKey: password}}, {{objectName: fixed, secretPath: secret/data/leased, secretKey: password}}]"
    )
}

async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn each_pod_has_its_own_lease_until_it_goes() {
    let (world, broker) = (World::start(Bao::shared()), Broker::start());
    world.secret("leased", "one");
    let path = broker.engine(&world.bao, "1h", "2h");
    let (provider, parameters) =
        (world.provider(Bounds { fresh: Duration::ZERO, ..BOUNDS }), world.parameters(&leased(&path)));
    let (mut a, mut b, mut c) = (volume("a", "app"), volume("b", "app"), volume("c", "app"));
    let answers = join_all([&mut a, &mut b, &mut c].map(|pod| pod.fetch(&provider, &parameters))).await;
    let users: Vec<String> = answers.iter().map(|answer| text(answer.as_ref().unwrap(), "user")).collect();
    let mut made = broker.users().0;
    made.sort();
    let mut sorted = users.clone();
    sorted.sort();
    assert_eq!(made, sorted, "one user for each pod, and one lease for both of its files");
    // A neighbour's change does not make another user.
    world.secret("leased", "two");
    let again = a.fetch(&provider, &parameters).await.unwrap();
    assert_eq!((text(&again, "user"), text(&again, "fixed")), (users[0].clone(), "two".to_owned()));
    assert!(again.again.unwrap() > Timestamp::now() + SignedDuration::from_mins(20));
    assert_eq!(broker.users().0.len(), 3);

    // A reading that is given up on the way leaves what the volume had as it was.
    assert!(tokio::time::timeout(Duration::ZERO, b.fetch(&provider, &parameters)).await.is_err());
    assert!(provider.is_held(&b.place));

    provider.gone("nobody's");
    provider.gone(&a.place);
    eventually("the end of a's user", || broker.users().1 == [users[0].clone()]).await;
    provider.gone(&b.place);
    provider.gone(&c.place);
    eventually("the end of the others", || broker.users().1.len() == 3).await;
}

#[tokio::test]
async fn a_lease_is_renewed_and_replaced_before_it_can_be_renewed_no_longer() {
    let (world, broker) = (World::start(Bao::shared()), Broker::start());
    world.secret("leased", "one");
    let path = broker.engine(&world.bao, "4s", "9s");
    let (provider, parameters) = (world.provider(BOUNDS), world.parameters(&leased(&path)));
    let mut pod = volume("p", "app");
    let first = text(&pod.fetch(&provider, &parameters).await.unwrap(), "user");
    let begun = Instant::now();
    let mut last = first.clone();
    while begun.elapsed() < Duration::from_secs(12) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let user = text(&pod.fetch(&provider, &parameters).await.unwrap(), "user");
        if begun.elapsed() < Duration::from_secs(6) {
            assert_eq!(user, first, "it is renewed past its first four seconds");
        }
        let (made, removed) = broker.users();
        assert!(made.contains(&user) && !removed.contains(&user), "{user} is mounted and gone: {removed:?}");
        last = user;
    }
    assert_ne!(last, first, "it cannot be renewed past nine seconds");
    provider.gone(&pod.place);
    eventually("the end of all", || broker.users().0.len() == broker.users().1.len()).await;
}

#[tokio::test]
async fn a_service_that_starts_again_leaves_leased_values_as_they_are() {
    let (world, broker) = (World::start(Bao::shared()), Broker::start());
    world.secret("leased", "one");
    let path = broker.engine(&world.bao, "1h", "2h");
    let parameters = world.parameters(&leased(&path));
    let mut pod = volume("p", "app");
    let first = text(&pod.fetch(&world.provider(BOUNDS), &parameters).await.unwrap(), "user");
    // Started again.
    let provider = world.provider(Bounds { fresh: Duration::ZERO, ..BOUNDS });
    let versions = pod.versions.clone();
    let answer = pod.fetch(&provider, &parameters).await.unwrap();
    assert!(answer.content.is_none() && answer.versions == versions && answer.again.is_some(), "{answer:?}");
    assert_eq!(broker.users().0, std::slice::from_ref(&first));
    // Its neighbour changed, and the value is in the volume alone: another is made.
    world.secret("leased", "two");
    let answer = pod.fetch(&provider, &parameters).await.unwrap();
    assert_eq!(text(&answer, "fixed"), "two");
    assert_ne!(text(&answer, "user"), first);
    assert_eq!(broker.users().0.len(), 2);
}

#[tokio::test]
async fn a_certificate_is_issued_once_for_each_pod() {
    let world = World::start(Bao::shared());
    let mount = world.bao.mount_of("pki");
    world.bao.call("POST", &format!("{mount}/root/generate/internal"), &json!({ "common_name": "root" }));
    world.bao.call("POST", &format!("{mount}/roles/web"), &json!({ "allow_any_name": true, "max_ttl": "1h" }));
    let object = |name: &str, key: &str| {
        format!(
            "- objectName: {name}\n  secretPath: {mount}/issue/web\n  method: PUT\n  secretArgs: {{common_name: web.shop, ttl: 10m}}\n  secretKey: {key}\n"
        )
    };
    let parameters = world.parameters(&(object("tls.crt", "certificate") + &object("tls.key", "private_key")));
    let provider = world.provider(BOUNDS);
    let (mut a, mut b) = (volume("a", "app"), volume("b", "app"));
    let (first, other) =
        (a.fetch(&provider, &parameters).await.unwrap(), b.fetch(&provider, &parameters).await.unwrap());
    assert_ne!(text(&first, "tls.key"), text(&other, "tls.key"), "no two pods have one key");
    let again = a.fetch(&provider, &parameters).await.unwrap();
    assert_eq!(text(&again, "tls.crt"), text(&first, "tls.crt"), "it is good for ten minutes");
    let due = again.again.unwrap().duration_since(Timestamp::now());
    assert!((SignedDuration::from_mins(7)..SignedDuration::from_mins(9)).contains(&due), "{due}");
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew() {
    let world = World::start(Bao::shared());
    world.secret("forgotten", "one");
    let provider = world.provider(Bounds { fresh: Duration::from_mins(5), ..BOUNDS });
    let parameters = world.parameters(&PASSWORD.replace("NAME", "forgotten"));
    let mut pod = volume("p", "app");
    for n in 0..4 {
        if n == 3 {
            world.bao.call("POST", &format!("sys/leases/revoke-prefix/auth/{}/login", world.mount), &json!({}));
        }
        // Another class is another question, and needs no other login.
        pod.class = n.to_string();
        pod.fetch(&provider, &parameters).await.unwrap();
        assert_eq!(world.logins(), if n < 3 { 1 } else { 2 });
    }
    // The last pod of an account takes its session along.
    let alive = || world.bao.logged_in(&world.mount).len();
    assert_eq!(alive(), 1);
    provider.gone(&pod.place);
    eventually("the session's end", || alive() == 0).await;
}

#[tokio::test]
async fn what_a_class_gets_wrong_is_said_and_shows_no_value() {
    let world = World::start(Bao::shared());
    world.secret("wrong", "hunter2");
    let provider = world.provider(BOUNDS);
    let object = "[{objectName: a, secretPath: secret/data/wrong, ";
    for (objects, kind, says) in [
        (format!("{object}secretKey: passwort}}]"), ErrorKind::NotFound, "it has password"),
        (format!("{object}secretKey: password, encoding: hex}}]"), ErrorKind::Invalid, "not hex"),
        ("[{objectName: ../a, secretPath: secret/data/wrong}]".to_owned(), ErrorKind::Invalid, "no path inside"),
        ("[{objectName: a, secretPath: secret/data/none}]".to_owned(), ErrorKind::NotFound, "secret/data/none"),
        ("[{objectName: a, secretPath: sys/mounts}]".to_owned(), ErrorKind::Denied, "no policy"),
    ] {
        let error = volume("p", "app").fetch(&provider, &world.parameters(&objects)).await.unwrap_err();
        assert!(error.kind == kind && error.message.contains(says), "{objects}: {error:?}");
        assert!(!error.message.contains("hunter2"), "{error}");
    }
    let mut elsewhere = world.parameters(&PASSWORD.replace("NAME", "wrong"));
    elsewhere.insert("vaultAddress".to_owned(), "http://169.254.169.254".to_owned());
    assert_eq!(volume("p", "app").fetch(&provider, &elsewhere).await.unwrap_err().kind, ErrorKind::Denied);
    let mut audience = world.parameters(&PASSWORD.replace("NAME", "wrong"));
    audience.insert("audience".to_owned(), "other".to_owned());
    let error = volume("p", "app").fetch(&provider, &audience).await.unwrap_err();
    assert!(error.message.contains("tokenRequests"), "{error}");
    let mut old = volume("p", "app");
    old.volume.tokens.get_mut("vault").unwrap().expires = Timestamp::now();
    let error = old.fetch(&provider, &world.parameters(&PASSWORD.replace("NAME", "wrong"))).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
}
