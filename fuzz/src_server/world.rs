//! A server in memory, the same one for each input: what an input does to it is gone with it.
//!
//! It is made once, through its own HTTP, and copied from its storage. What is secret in it is random.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bulla_core::SecretBytes;
use bulla_core::json::{Object, Value};
use bulla_server::auth::{approle::AppRole, token::Token, userpass::Userpass};
use bulla_server::core::lockout::ByKind;
use bulla_server::core::mount::{Catalog, Class, Times};
use bulla_server::core::{Core, Options};
use bulla_server::http::Opened;
use bulla_server::logical::Declared;
use bulla_server::storage::{Batch, Entry, Memory, Scan, Storage};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};

/// Everything that can be asked of it without leaving the process: no method that fetches keys elsewhere. (Audit devices
/// come from the configuration alone.)
fn catalog() -> Catalog {
    bulla_server::engine::add(Catalog::default())
        .with(Class::Auth, "approle", |_, link| Arc::new(Declared::new(AppRole::new(link))))
        .with(Class::Auth, "userpass", |_, link| Arc::new(Declared::new(Userpass::new(link))))
        .with_builtin(Class::Auth, "token", |_, link| Arc::new(Declared::new(Token::new(link))))
}

fn options() -> Options {
    Options {
        times: Times { default_ttl: 3600, max_ttl: 7200 },
        lockouts: ByKind::default(),
        audit: Vec::new(),
        cluster_name: "fuzz".to_owned(),
        catalog: catalog(),
    }
}

/// Somebody with a token.
#[derive(Clone, Debug)]
pub struct Person {
    /// How inputs call him.
    pub name: &'static str,
    /// The token's text.
    pub token: String,
}

/// A secret, and who may read it.
#[derive(Clone, Debug)]
pub struct Canary {
    /// Its text.
    pub text: String,
    /// The people who may; whoever has all rights is not named.
    pub readers: &'static [&'static str],
}

/// What is known of the server.
pub struct World {
    /// All entries of its storage.
    pub entries: Vec<Entry>,
    /// Who is there.
    pub people: Vec<Person>,
    /// What should stay where it is.
    pub canaries: Vec<Canary>,
    /// Names that stand for texts in an input.
    pub texts: Vec<(&'static str, String)>,
    /// The token of a wrapped answer, which nobody has.
    pub waiting: String,
    share: SecretBytes,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its JSON, or nothing.
    pub fn json(&self) -> Object {
        bulla_core::json::parse_object(&self.body).unwrap_or_default()
    }

    /// The text at the end of this path in its JSON.
    pub fn text(&self, path: &[&str]) -> Option<String> {
        let (last, folders) = path.split_last()?;
        let mut object = self.json();
        for folder in folders {
            let Some(Value::Object(inner)) = object.remove(*folder) else { return None };
            object = inner;
        }
        object.get(*last)?.as_str().map(ToOwned::to_owned)
    }
}

/// Who keeps a canary where (nobody: whoever made the world), and who may read it there.
const CANARIES: [(&str, &str, &[&str]); 9] = [
    ("", "secret/data/hidden/x", &[]),
    ("", "secret/data/app/x/locked", &[]),
    ("", "secret/data/shared/not/x", &[]),
    ("", "team/denied/x", &[]),
    ("", "team/denied", &[]),
    ("", "team-b/x", &["bob"]),
    ("alice", "cubbyhole/x", &["alice"]),
    ("bob", "cubbyhole/x", &["bob"]),
    ("admin", "cubbyhole/a/b", &[]),
];

/// What is allowed and denied in each of the ways there are to write it.
const POLICIES: [(&str, &str); 4] = [
    (
        "alice",
        r#"
        path "team/*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan"] }
        path "team/denied" { capabilities = ["deny"] }
        path "team/denied/*" { capabilities = ["deny"] }
        path "secret/data/app/*" { capabilities = ["create", "read", "update", "patch", "delete"] }
        path "secret/data/app/+/locked" { capabilities = ["deny"] }
        path "secret/metadata/app/*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan"] }
        path "secret/subkeys/app/open/*" { capabilities = ["read"] }
        path "transit/+/k" { capabilities = ["update"] }
        path "transit/datakey/plaintext/k" { capabilities = ["update"] }
        path "auth/token/create" { capabilities = ["update"] }
        path "auth/approle/role/r/secret-id" { capabilities = ["update"] min_wrapping_ttl = "1s" }
        path "sys/wrapping/*" { capabilities = ["update"] }
        "#,
    ),
    (
        "bob",
        r#"
        path "team-b/*" { capabilities = ["create", "read", "update", "delete", "list"] }
        path "secret/data/+/public" { capabilities = ["read"] }
        path "secret/+/shared/*" { capabilities = ["read", "list"] allowed_parameters { "version" = [] } }
        path "secret/+/shared/not/*" { capabilities = ["deny"] }
        path "auth/userpass/users/+" { capabilities = ["read", "list"] }
        path "sys/internal/*" { capabilities = ["read"] }
        "#,
    ),
    ("reader", r#"path "team/app" { capabilities = ["read"] }"#),
    // Who made the world. (A root token would be as good.)
    ("admin", r#"path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"] }"#),
];

impl World {
    /// The one world.
    pub fn the_one() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| run(Self::make()))
    }

    /// A server that is opened from what is in `entries`.
    pub async fn open(&self, entries: Vec<Entry>) -> Result<Arc<Core>, bulla_server::logical::Error> {
        let storage = Arc::new(Memory::default());
        let writes = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        storage.commit(Batch { conditions: Vec::new(), writes }).await.expect("memory takes everything");
        let core = Core::new(storage, Vec::new(), options());
        core.unseal(self.share.clone()).await?;
        Ok(core)
    }

    async fn make() -> Self {
        let storage = Arc::new(Memory::default());
        let core = Core::new(Arc::clone(&storage) as Arc<dyn Storage>, Vec::new(), options());
        let dev = bulla_server::dev::start(&core, None).await.expect("a server starts");
        let maker = Maker { core: &core, root: dev.root_token.expose().to_owned() };
        for (path, body) in [
            ("sys/mounts/team", r#"{"type":"kv"}"#),
            ("sys/mounts/team-b", r#"{"type":"kv"}"#),
            ("sys/mounts/transit", r#"{"type":"transit"}"#),
            ("sys/auth/approle", r#"{"type":"approle"}"#),
            ("sys/auth/userpass", r#"{"type":"userpass"}"#),
            ("transit/keys/k", "{}"),
            ("transit/keys/sign", r#"{"type":"ed25519"}"#),
            ("auth/userpass/users/u", r#"{"password":"p","token_policies":"reader"}"#),
            ("auth/approle/role/r", r#"{"token_policies":"reader","secret_id_ttl":"1h"}"#),
            ("sys/quotas/rate-limit/logins", r#"{"path":"auth/approle","role":"r","rate":100000}"#),
            ("team/app", r#"{"a":"b","n":12345678901234567890}"#),
            ("secret/data/app/open/x", r#"{"data":{"a":{"b":1}}}"#),
            ("secret/data/any/public", r#"{"data":{"a":1}}"#),
            ("secret/data/shared/x", r#"{"data":{"a":1}}"#),
        ] {
            maker.ask(Method::POST, path, "", body).await;
        }
        for (name, text) in POLICIES {
            let mut body = Object::new();
            body.insert("policy".to_owned(), text.into());
            let body = Value::Object(body).to_vec();
            let body = str::from_utf8(&body).expect("JSON is UTF-8");
            maker.ask(Method::PUT, &format!("sys/policies/acl/{name}"), "", body).await;
        }
        let mut people = Vec::new();
        for (name, fields) in [
            ("alice", r#""policies":["alice"]"#),
            ("bob", r#""policies":["bob"]"#),
            ("batch", r#""policies":["alice"],"type":"batch""#),
            ("twice", r#""policies":["alice"],"num_uses":2"#),
            ("admin", r#""policies":["admin"]"#),
        ] {
            let made = maker.ask(Method::POST, "auth/token/create", "", &format!("{{{fields},\"ttl\":\"1h\"}}")).await;
            people.push(Person { name, token: made.text(&["auth", "client_token"]).expect("a token was made") });
        }
        let mut canaries = Vec::new();
        for (who, path, readers) in CANARIES {
            let text = random();
            let body = if path.starts_with("secret/") {
                format!(r#"{{"data":{{"canary":"{text}"}}}}"#)
            } else {
                format!(r#"{{"canary":"{text}"}}"#)
            };
            let token = people.iter().find(|person| person.name == who).map_or("", |person| &person.token);
            maker.ask(Method::POST, path, token, &body).await;
            canaries.push(Canary { text, readers });
        }
        // An answer that waits for somebody who is not there.
        let text = random();
        let waiting = maker.wrapped("sys/wrapping/wrap", &format!(r#"{{"canary":"{text}"}}"#)).await;
        canaries.push(Canary { text, readers: &[] });
        let role = maker.ask(Method::GET, "auth/approle/role/r/role-id", "", "").await;
        let secret = maker.ask(Method::POST, "auth/approle/role/r/secret-id", "", "").await;
        let texts = vec![
            ("role", role.text(&["data", "role_id"]).expect("a role has an id")),
            ("secret", secret.text(&["data", "secret_id"]).expect("a secret id was made")),
            ("share", bulla_server::core::hex(dev.unseal_key.expose())),
        ];
        let entries = storage.scan("", usize::MAX).await.expect("memory gives everything");
        Self { entries, people, canaries, texts, waiting, share: dev.unseal_key }
    }
}

/// Who makes the world.
struct Maker<'a> {
    core: &'a Arc<Core>,
    root: String,
}

impl Maker<'_> {
    async fn ask(&self, method: Method, path: &str, token: &str, body: &str) -> Answer {
        let token = if token.is_empty() { &self.root } else { token };
        let headers = [("x-vault-token", token)];
        let answer = self.send(method, path, &headers, body).await;
        let shown = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "the world cannot be made: {path}: {} {shown}", answer.status);
        answer
    }

    async fn wrapped(&self, path: &str, body: &str) -> String {
        let headers = [("x-vault-token", self.root.as_str()), ("x-vault-wrap-ttl", "1h")];
        let answer = self.send(Method::POST, path, &headers, body).await;
        answer.text(&["wrap_info", "token"]).expect("an answer was wrapped")
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let uri = format!("/v1/{path}").parse().expect("a path of ours is one");
        let header = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a header of ours is one");
            (name, HeaderValue::from_str(value).expect("a header of ours is one"))
        };
        ask(self.core, method, uri, headers.iter().map(header).collect(), body.as_bytes().to_vec()).await
    }
}

/// What a server answers to a request that came over a connection.
pub async fn ask(core: &Arc<Core>, method: Method, uri: Uri, headers: HeaderMap, body: Vec<u8>) -> Answer {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let opened = Opened { generate_root: true, rekey: true, metrics: true };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4321));
    let (head, body) = bulla_server::http::answer(core, request, address, &opened.into()).await.into_parts();
    let body = body.collect().await.expect("a body that is there comes").to_bytes().to_vec();
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

/// Runs something to its end.
pub fn run<T>(what: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let make = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime is made");
    RUNTIME.get_or_init(make).block_on(what)
}

fn random() -> String {
    bulla_server::core::random::text(24).expect("the system has random numbers")
}
