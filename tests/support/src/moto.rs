//! A moto server, AWS in one process, and what tests make in it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::{Server, http, program};

/// The region of what is made.
pub const REGION: &str = "eu-west-1";
/// Its account.
pub const ACCOUNT: &str = "123456789012";

/// A moto server: AWS in one process.
pub struct Moto(Server);

impl Moto {
    /// One that is running already, if some test holds it. The last to let go stops it.
    pub fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Moto>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(moto) = running.upgrade() {
            return moto;
        }
        let moto = Arc::new(Self::start());
        *running = Arc::downgrade(&moto);
        moto
    }

    /// One of the caller's own.
    pub fn start() -> Self {
        let ready = |address| http(address, "GET", "/moto-api/data.json", &[], "").0 == 200;
        Self(Server::start(|address, _| Self::command(address), ready))
    }

    /// What starts one there.
    pub fn command(address: SocketAddr) -> Command {
        let mut command = Command::new(program("venv/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        command
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// An environment with credentials for it.
    pub fn env(&self) -> BTreeMap<String, String> {
        env(&self.url())
    }

    /// Makes a key; its ARN.
    pub fn create_key(&self) -> String {
        self.kms("CreateKey", &json!({}))["KeyMetadata"]["Arn"].as_str().unwrap().to_owned()
    }

    /// An operation of its KMS; the answer.
    pub fn kms(&self, operation: &str, input: &Value) -> Value {
        let headers = [
            ("Authorization", authorization("kms")),
            ("X-Amz-Target", format!("TrentService.{operation}")),
            ("Content-Type", "application/x-amz-json-1.1".to_owned()),
        ];
        let body = self.post("/", &headers, &input.to_string());
        if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() }
    }

    /// An action of its IAM; the answer.
    pub fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let headers =
            [("Authorization", authorization("iam")), ("Content-Type", "application/x-www-form-urlencoded".to_owned())];
        let mut body = format!("Action={action}&Version=2010-05-08");
        for (name, value) in parameters {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            body.push_str(&format!("&{name}={encoded}"));
        }
        self.post("/", &headers, &body)
    }

    fn post(&self, path: &str, headers: &[(&str, String)], body: &str) -> String {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (status, answer) = http(self.address(), "POST", path, &headers, body);
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

/// What moto reads to know which service and region are meant.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIATEST/20240101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// An environment with credentials for a server at `endpoint`.
pub fn env(endpoint: &str) -> BTreeMap<String, String> {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
