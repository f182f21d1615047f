//! A real OpenBao in memory, and what tests make in it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Value, json};

use crate::patience::Patience;
use crate::{Server, http, program};

/// The token of who may do everything.
pub const ROOT: &str = "root-token-of-the-test";

/// An OpenBao server in memory.
pub struct Bao(pub Server);

impl Bao {
    /// One that is running already, if some test holds it. The last to let go stops it.
    pub fn shared() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Bao>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bao) = running.upgrade() {
            return bao;
        }
        let bao = Arc::new(Self::start());
        *running = Arc::downgrade(&bao);
        bao
    }

    /// One of the caller's own.
    pub fn start() -> Self {
        let ready = |address| http(address, "GET", "/v1/sys/health", &[], "").0 == 200;
        Self(Server::start(Self::command, ready))
    }

    /// One of the caller's own that is not initialized: `settings` of its listener, and what else stands in its configuration.
    pub fn with_config(listener: &str, rest: &str) -> Self {
        let ready = |address| http(address, "GET", "/v1/sys/seal-status", &[], "").0 == 200;
        let command = |address: SocketAddr, folder: &Path| {
            let path = folder.join("config.hcl");
            let text = format!(
                "listener \"tcp\" {{ address = \"{address}\" tls_disable = true\n{listener} }}\nstorage \"inmem\" {{}}\n{rest}"
            );
            std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
            let mut command = Command::new(program("venv/bin/bao"));
            command.arg("server").arg(format!("-config={}", path.display())).env("HOME", folder);
            command
        };
        Self(Server::start(command, ready))
    }

    /// One whose storage is in `folder`, where one before it may have left it; `rest` is what else stands in its configuration.
    pub fn on(folder: &Path, rest: &str) -> Self {
        let ready = |address| http(address, "GET", "/v1/sys/seal-status", &[], "").0 == 200;
        let data = folder.join("raft");
        std::fs::create_dir_all(&data).unwrap();
        let command = |address: SocketAddr, folder: &Path| {
            let path = folder.join("config.hcl");
            let cluster = crate::unused_address();
            let text = format!(
                "listener \"tcp\" {{ address = \"{address}\" cluster_address = \"{cluster}\" tls_disable = true }}\nstorage \"raft\" {{ path = \"{}\" node_id = \"one\" }}\napi_addr = \"http://{address}\"\ncluster_addr = \"http://{cluster}\"\n{rest}",
                data.display()
            );
            std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
            let mut command = Command::new(program("venv/bin/bao"));
            command.arg("server").arg(format!("-config={}", path.display())).env("HOME", folder);
            command
        };
        Self(Server::start(command, ready))
    }

    /// One of the caller's own that is reached from elsewhere too, on its port of each address of this machine.
    pub fn for_others() -> Self {
        let ready = |address| http(address, "GET", "/v1/sys/health", &[], "").0 == 200;
        let command = |address: SocketAddr, folder: &Path| {
            Self::command(SocketAddr::from(([0, 0, 0, 0], address.port())), folder)
        };
        Self(Server::start(command, ready))
    }

    /// One with a certificate authority of its own, and a transit engine.
    pub fn with_tls() -> Self {
        let command = |address: SocketAddr, folder: &Path| {
            let mut command = Self::command(address, folder);
            command.arg("-dev-tls").arg(format!("-dev-tls-cert-dir={}", folder.display()));
            command
        };
        let bao = Self(Server::start(command, |address| TcpStream::connect(address).is_ok()));
        let folder = bao.0.folder.path();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(program("venv/bin/bao"));
            command.args(arguments).env("BAO_ADDR", format!("https://{}", bao.0.address)).env("BAO_TOKEN", ROOT);
            command.env("BAO_CACERT", folder.join("vault-ca.pem")).env("HOME", folder);
            command.output().unwrap()
        };
        let patience = Patience::default();
        while !run(&["secrets", "list"]).status.success() {
            assert!(patience.is_left(), "the server is not ready");
        }
        assert!(run(&["secrets", "enable", "transit"]).status.success());
        bao
    }

    fn command(address: SocketAddr, folder: &Path) -> Command {
        let mut command = Command::new(program("venv/bin/bao"));
        command.args(["server", "-dev", "-dev-no-store-token"]).env("HOME", folder);
        command.arg(format!("-dev-root-token-id={ROOT}")).arg(format!("-dev-listen-address={address}"));
        command
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        self.0.url()
    }

    /// Mounts an engine at a path that ends like `path`. Gives the whole path.
    pub fn mount(&self, path: &str) -> String {
        let mount = format!("m{}/{path}", unique());
        self.call("POST", &format!("sys/mounts/{mount}"), &json!({ "type": "transit" }));
        mount
    }

    /// Mounts an engine of a kind. Gives its path.
    pub fn mount_of(&self, kind: &str) -> String {
        let mount = format!("m{}/{kind}", unique());
        self.call("POST", &format!("sys/mounts/{mount}"), &json!({ "type": kind }));
        mount
    }

    /// Makes a key: its path below `/v1/`.
    pub fn make_key(&self) -> String {
        let path = format!("{}/keys/k", self.mount("transit"));
        self.call("POST", &path, &json!({}));
        path
    }

    /// Mounts an auth method; its mount.
    pub fn auth(&self, method: &str) -> String {
        let mount = format!("login/{method}-{}", unique());
        self.call("POST", &format!("sys/auth/{mount}"), &json!({ "type": method }));
        mount
    }

    /// A policy that may use all keys.
    pub fn policy(&self) -> &'static str {
        let rules = r#"path "+/transit/encrypt/k" { capabilities = ["update"] } path "+/transit/decrypt/k" { capabilities = ["update"] }"#;
        self.call("POST", "sys/policies/acl/keys", &json!({ "policy": rules }));
        "keys"
    }

    /// Makes an `AppRole` with `limits`; the environment that logs in as it.
    pub fn app_role(&self, limits: &Value) -> BTreeMap<String, String> {
        let mount = self.auth("approle");
        let mut role = limits.clone();
        role["token_policies"] = json!(self.policy());
        self.call("POST", &format!("auth/{mount}/role/sops"), &role);
        let read = |answer: Value, field: &str| answer["data"][field].as_str().unwrap().to_owned();
        let role_id = self.call("GET", &format!("auth/{mount}/role/sops/role-id"), &Value::Null);
        let secret_id = self.call("POST", &format!("auth/{mount}/role/sops/secret-id"), &json!({}));
        BTreeMap::from([
            ("BULLA_VAULT_AUTH".to_owned(), "approle".to_owned()),
            ("BULLA_VAULT_AUTH_MOUNT".to_owned(), mount),
            ("BULLA_VAULT_ROLE_ID".to_owned(), read(role_id, "role_id")),
            ("BULLA_VAULT_SECRET_ID".to_owned(), read(secret_id, "secret_id")),
            ("VAULT_ADDR".to_owned(), self.url()),
        ])
    }

    /// The accessors of the tokens that logins by `method` hold.
    pub fn logged_in(&self, method: &str) -> Vec<String> {
        let accessors = self.call("LIST", "auth/token/accessors", &Value::Null);
        let accessors =
            accessors["data"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned());
        accessors
            .filter(|accessor| {
                let token = self.call("POST", "auth/token/lookup-accessor", &json!({ "accessor": accessor }));
                token["data"]["path"].as_str().unwrap().contains(method)
            })
            .collect()
    }

    /// A request by who may do everything; the answer.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call_in("", method, path, body)
    }

    /// The same in a namespace.
    pub fn call_in(&self, namespace: &str, method: &str, path: &str, body: &Value) -> Value {
        let headers = [("X-Vault-Token", ROOT), ("X-Vault-Namespace", namespace)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = http(self.0.address, method, &format!("/v1/{path}"), &headers, &body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }
}

/// The environment of who may do everything.
pub fn with_root() -> BTreeMap<String, String> {
    BTreeMap::from([("VAULT_TOKEN".to_owned(), ROOT.to_owned())])
}

fn unique() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
