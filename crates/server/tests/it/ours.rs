//! A server of ours in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bulla_listen::Security;
use bulla_server::core::audit::DeviceConfig;
use bulla_server::core::mount::{Catalog, Times};
use bulla_server::core::{Core, Options};
use bulla_server::http::{Rules, serve};
use bulla_server::logical::TokenText;
use bulla_server::seal::AutoSeal;
use bulla_server::storage::{Memory, Storage};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The token of who may do everything.
pub const ROOT: &str = "root-token-of-the-test";

/// A server that ends with its test.
pub struct Ours {
    pub address: SocketAddr,
    pub core: Arc<Core>,
    pub runtime: Runtime,
    _stop: watch::Sender<bool>,
}

impl Ours {
    /// In memory, unsealed, with [`ROOT`].
    pub fn dev() -> Self {
        Self::dev_of(bulla_server::catalog())
    }

    /// The same, with other engines than usual.
    pub fn dev_of(catalog: Catalog) -> Self {
        let ours = Self::of(catalog, Arc::new(Memory::default()), Vec::new(), Vec::new(), Rules::default());
        let root = TokenText::new(ROOT.to_owned());
        ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
        ours
    }

    pub fn sealed(storage: Arc<dyn Storage>, seals: Vec<Arc<dyn AutoSeal>>, audit: Vec<DeviceConfig>) -> Self {
        Self::of(bulla_server::catalog(), storage, seals, audit, Rules::default())
    }

    /// The same, with what is particular to its listener.
    pub fn opened(
        storage: Arc<dyn Storage>,
        seals: Vec<Arc<dyn AutoSeal>>,
        audit: Vec<DeviceConfig>,
        rules: impl Into<Rules>,
    ) -> Self {
        Self::of(bulla_server::catalog(), storage, seals, audit, rules.into())
    }

    fn of(
        catalog: Catalog,
        storage: Arc<dyn Storage>,
        seals: Vec<Arc<dyn AutoSeal>>,
        audit: Vec<DeviceConfig>,
        rules: Rules,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let options = Options {
            times: Times { default_ttl: 768 * 3600, max_ttl: 768 * 3600 },
            lockouts: bulla_server::core::lockout::ByKind::default(),
            audit,
            cluster_name: String::new(),
            catalog,
        };
        let core = Core::new(storage, seals, options);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(serve(listener, Arc::clone(&core), Security::Plain, rules, stopped));
        Self { address, core, runtime, _stop: stop }
    }

    /// A request; the status and the answer.
    pub fn ask(&self, token: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let headers = [("X-Vault-Token", token)];
        let (status, body) = bulla_test_support::http(self.address, method, &format!("/v1/{path}"), &headers, body);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// A request by who may do everything, that must go well.
    pub fn root(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask(ROOT, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }
}

/// An audit file.
pub fn audit_file(path: &Path) -> DeviceConfig {
    let options = [("file_path".to_owned(), path.to_str().unwrap().to_owned())].into();
    DeviceConfig { path: "f/".to_owned(), kind: "file".to_owned(), description: String::new(), options }
}
