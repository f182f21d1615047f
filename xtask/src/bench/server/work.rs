//! What is asked, and what has to be there for it.

use std::sync::Arc;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::load::{Client, Requests};

/// How many KV entries there are from the beginning.
pub const ENTRIES: usize = 1000;

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    Read,
    Encrypt,
    Write,
    Token,
    Login,
}

impl Work {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "KV v2 read",
            Self::Encrypt => "transit encrypt",
            Self::Write => "KV v2 write",
            Self::Token => "service token create",
            Self::Login => "AppRole login",
        }
    }

    /// Whether it writes nothing.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Encrypt)
    }
}

/// What was made on a server.
pub struct Setup {
    root: String,
    app: String,
    role: String,
    secret: String,
}

impl Setup {
    /// Initialises a server and makes what requests need.
    pub async fn make(client: &Client) -> Result<Self> {
        let text = |value: &Value, at: &str| {
            value.pointer(at).and_then(Value::as_str).map(str::to_owned).with_context(|| format!("{at} in an answer"))
        };
        let made = client.ask(request("PUT", "sys/init", "", &json!({"recovery_shares": 1, "recovery_threshold": 1}))?);
        let root = text(&made.await?, "/root_token")?;
        let rules = r#"path "secret/data/*" { capabilities = ["create", "read", "update"] } path "transit/encrypt/*" { capabilities = ["update"] }"#;
        // A server that has just been initialised may still be getting ready.
        let ready = std::time::Instant::now();
        while let Err(error) = client.ask(request("GET", "sys/mounts", &root, &Value::Null)?).await {
            if ready.elapsed().as_secs() > 30 {
                return Err(error);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        for (path, body) in [
            ("sys/mounts/secret", json!({"type": "kv", "options": {"version": "2"}})),
            ("sys/mounts/transit", json!({"type": "transit"})),
            ("transit/keys/k", json!({})),
            ("sys/policies/acl/app", json!({"policy": rules})),
            ("sys/auth/approle", json!({"type": "approle"})),
            ("auth/approle/role/app", json!({"token_policies": "app", "token_ttl": "1h"})),
        ] {
            client.ask(request("POST", path, &root, &body)?).await?;
        }
        let role = client.ask(request("GET", "auth/approle/role/app/role-id", &root, &Value::Null)?).await?;
        let secret = client.ask(request("POST", "auth/approle/role/app/secret-id", &root, &json!({}))?).await?;
        let app = client.ask(request("POST", "auth/token/create", &root, &json!({"policies": ["app"], "ttl": "24h"}))?);
        let app = text(&app.await?, "/auth/client_token")?;
        let (role, secret) = (text(&role, "/data/role_id")?, text(&secret, "/data/secret_id")?);
        let setup = Self { root, app, role, secret };
        // KV version 2 is made ready after its mount has answered.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        client.run(8, std::time::Duration::MAX, ENTRIES, &setup.more_entries(0)).await?;
        Ok(setup)
    }

    /// Requests of a kind.
    pub fn requests(&self, work: Work) -> Requests {
        let Self { root, app, role, secret } = self;
        let (root, app) = (root.clone(), app.clone());
        match work {
            Work::Read => self.reads_of(ENTRIES),
            Work::Encrypt => {
                let body = json!({"plaintext": "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlIQ=="});
                Arc::new(move |_| request("POST", "transit/encrypt/k", &app, &body))
            }
            Work::Write => Arc::new(move |number| request("POST", &entry(number % ENTRIES), &app, &value(number))),
            Work::Token => {
                let body = json!({"policies": ["app"], "ttl": "1h"});
                Arc::new(move |_| request("POST", "auth/token/create", &root, &body))
            }
            Work::Login => {
                let body = json!({"role_id": role, "secret_id": secret});
                Arc::new(move |_| request("POST", "auth/approle/login", "", &body))
            }
        }
    }

    /// Readings of any of the first `count` entries.
    pub fn reads_of(&self, count: usize) -> Requests {
        let app = self.app.clone();
        // A step that shares no factor with the counts comes by all of them, and by no two neighbours.
        Arc::new(move |number| request("GET", &entry(number.wrapping_mul(7919) % count), &app, &Value::Null))
    }

    /// New entries, from this one on.
    pub fn more_entries(&self, from: usize) -> Requests {
        let app = self.app.clone();
        Arc::new(move |number| request("POST", &entry(from + number), &app, &value(number)))
    }

    /// Tokens that stay.
    pub fn leases(&self) -> Requests {
        let (root, body) = (self.root.clone(), json!({"policies": ["app"], "ttl": "24h"}));
        Arc::new(move |_| request("POST", "auth/token/create-orphan", &root, &body))
    }
}

fn entry(number: usize) -> String {
    format!("secret/data/team-{}/app-{number}", number % 100)
}

fn value(number: usize) -> Value {
    json!({"data": {"username": "app", "password": format!("password-{number:020}")}})
}

fn request(method: &str, path: &str, token: &str, body: &Value) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(format!("/v1/{path}")).header("host", "127.0.0.1");
    if !token.is_empty() {
        request = request.header("x-vault-token", token);
    }
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(serde_json::to_vec(body)?) };
    Ok(request.body(Full::new(body))?)
}
