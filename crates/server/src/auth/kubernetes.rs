//! Logins of pods, with the token of their service account.
//!
//! Whose a token is, its cluster is asked: a `TokenReview`, in the name of a reviewer. That is the server itself if it runs in the cluster (its
//! token is read anew for each login), else whose token the configuration has, else who logs in. Or nobody is asked (`local_verification`): the
//! cluster's public keys, from its key set or from the configuration, verify tokens here. Then there is no reviewer whose token could expire, and
//! a token is good until it ends, also if its pod is gone: roles must name an audience, and tokens must have an end.
//!
//! ```text
//! config      the configuration
//! role/NAME   a role
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bulla_core::{SecretString, file};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::Semaphore;

mod account;
mod cluster;
mod config;
mod login;
mod role;
mod selector;

use super::jose::{Limits, is_open};
use super::{legacy, params};
use crate::barrier::View;
use crate::json::Object;
use crate::logical::{Access, Auth, Engine, Error, Field, Input, Kind, Operation, Result, Route};
use cluster::Cluster;

/// The method.
pub struct Kubernetes {
    /// Where Kubernetes puts a pod's own token, and the authority of its cluster.
    folder: PathBuf,
    /// Where its API server is, if this is a pod: an address.
    home: Option<String>,
    limits: Limits,
    cluster: RwLock<Option<Arc<Cluster>>>,
    /// How many logins ask a cluster at once.
    places: Semaphore,
}

/// Where Kubernetes puts them.
const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The variable by which Kubernetes tells every container the address of the API server.
const HOME: &str = "KUBERNETES_SERVICE_HOST";
/// How many logins ask a cluster at once. More are told to come again.
const PLACES: usize = 64;
/// Longer than any token or list of authorities, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

const NAME: Field = Field::new("name", Kind::LowerText, "The role's name.");
static CONFIG: [Field; 9] = [
    Field::new("kubernetes_host", Kind::Text, "The address of the cluster's API server."),
    Field::new(
        "kubernetes_ca_cert",
        Kind::Text,
        "The authorities to believe there, PEM. None: those that this server's pod has.",
    ),
    Field::new(
        "token_reviewer_jwt",
        Kind::Text,
        "In whose name tokens are reviewed. None: this server's pod, or who logs in.",
    ),
    Field::new(
        "pem_keys",
        Kind::Texts,
        "The cluster's keys for tokens: public keys or certificates, PEM. Tokens are verified by them, too.",
    ),
    Field::new("disable_local_ca_jwt", Kind::Bool, "Whether what this server's pod has is not used."),
    Field::new("disable_iss_validation", Kind::Bool, "Whether `iss` of tokens is not looked at. Yes if not given."),
    Field::new("issuer", Kind::Text, "What `iss` of tokens must be, if it is looked at. None: anything."),
    Field::new(
        "local_verification",
        Kind::Bool,
        "Whether tokens are verified here, by `pem_keys` or the cluster's key set, and not reviewed. Not in the peer.",
    ),
    Field::new(
        "jwks_url",
        Kind::Text,
        "Where the cluster's key set is. None: at /openid/v1/jwks of `kubernetes_host`. Not in the peer.",
    ),
];
static ROLE: [Field; 22] = params::with([
    NAME,
    Field::new("bound_service_account_names", Kind::Texts, "Names of service accounts that may log in; * is any text."),
    Field::new("bound_service_account_namespaces", Kind::Texts, "Namespaces that they are in; * is any text."),
    Field::new(
        "bound_service_account_namespace_selector",
        Kind::Text,
        "Or labels of these: `matchLabels`, as JSON or YAML.",
    ),
    Field::new("audience", Kind::Text, "What `aud` of tokens must have."),
    Field::new(
        "alias_name_source",
        Kind::Text,
        "By what a service account is known: `serviceaccount_uid` or `serviceaccount_name`.",
    ),
    legacy::FIELDS[0],
    legacy::FIELDS[1],
    legacy::FIELDS[2],
    legacy::FIELDS[3],
    legacy::FIELDS[4],
    legacy::FIELDS[5],
]);
const LOGIN: [Field; 2] = [
    Field::new("role", Kind::Text, "The role to log in as."),
    Field::new("jwt", Kind::Text, "The service account's token."),
];

#[async_trait]
impl Engine for Kubernetes {
    const ABOUT: &'static str = "Logs in pods, with the token of their service account.";
    const HAS_ROLES: bool = true;

    fn routes() -> Vec<Route<Self>> {
        let route = Route::<Self>::new;
        vec![
            route("config", "Which cluster, and how it is asked")
                .fields(&CONFIG)
                .on(Operation::Read, |_, call| Box::pin(config::read(call)))
                .on(Operation::Update, |method, call| Box::pin(config::write(method, call))),
            route("role/?", "The names of all roles").on(Operation::List, |_, call| Box::pin(role::list(call))),
            route("role/{name}", "A role: which service accounts log in, and as what")
                .fields(&ROLE)
                .exists(|_, call| Box::pin(role::exists(call)))
                .on(Operation::Read, |_, call| Box::pin(role::read(call)))
                .on(Operation::Update, |_, call| Box::pin(role::write(call)))
                .on(Operation::Delete, |_, call| Box::pin(role::delete(call))),
            route("login", "Log in")
                .fields(&LOGIN)
                .access(Access::Open)
                .on(Operation::Update, |method, call| Box::pin(login::log_in(method, call))),
        ]
    }

    async fn login_role(&self, _: &View, data: &Object) -> Result<Option<String>> {
        Input::of(data).text("role")
    }

    async fn renew_login(&self, storage: &View, auth: Auth) -> Result<Auth> {
        let name = auth.internal.get("role").cloned().unwrap_or_default();
        match role::find(storage, &name).await? {
            Some(role) => Ok(role.params.renew_as_is(auth)),
            None => Err(Error::bad_request(format!("role {name} does not exist during renewal"))),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self::with(FOLDER.into(), std::env::var(HOME).ok(), Limits::USUAL)
    }
}

impl Kubernetes {
    /// With another folder for what its own pod has, another API server of its own, and limits of one's own for what is fetched.
    pub fn with(folder: PathBuf, home: Option<String>, limits: Limits) -> Self {
        Self { folder, home, limits, cluster: RwLock::default(), places: Semaphore::new(PLACES) }
    }

    /// The cluster of the configuration, as it is now; `None` if there is none.
    async fn cluster(&self, storage: &View) -> Result<Option<Arc<Cluster>>> {
        let Some(config) = config::find(storage).await? else { return Ok(None) };
        let authorities = self.authorities(&config).await.map_err(Error::bad_request)?;
        let known = self.cluster.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.is_of(&config, &authorities)) {
            return Ok(Some(known));
        }
        let cluster = Cluster::new(config, authorities, self.limits).map_err(Error::bad_request)?;
        let cluster = Arc::new(cluster);
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&cluster));
        Ok(Some(cluster))
    }

    /// Whose certificates the API server may have, PEM.
    async fn authorities(&self, config: &config::Config) -> std::result::Result<String, String> {
        if !config.kubernetes_ca_cert.is_empty() || config.disable_local_ca_jwt {
            return Ok(config.kubernetes_ca_cert.clone());
        }
        let pem = read(&self.folder.join("ca.crt")).await.map_err(|error| {
            format!("there is no kubernetes_ca_cert, and this server is in no pod that would have one: {error}")
        })?;
        // Nothing would be taken for the system's authorities.
        if pem.expose().trim().is_empty() {
            return Err("this server's pod has an empty ca.crt".to_owned());
        }
        Ok(pem.expose().to_owned())
    }

    /// Who reviews: whom the configuration names, or this server's pod, with its token of now. `None`: nobody, so who logs in.
    ///
    /// The pod's token is shown to the pod's own cluster alone: whoever may write a configuration could have it sent anywhere otherwise.
    async fn reviewer(&self, cluster: &Cluster) -> Option<SecretString> {
        let config = &cluster.config;
        if !config.token_reviewer_jwt.expose().is_empty() {
            return Some(config.token_reviewer_jwt.clone());
        }
        if config.disable_local_ca_jwt {
            return None;
        }
        let token = match read(&self.folder.join("token")).await {
            Ok(token) => SecretString::from(token.expose().trim()),
            Err(error) => {
                tracing::debug!(%error, "there is no token of this server's own; who logs in asks about himself");
                return None;
            }
        };
        if token.expose().is_empty() {
            return None;
        }
        if is_open(&cluster.host) || !self.is_home(&cluster.host) || !self.is_trusted(&config.kubernetes_ca_cert).await
        {
            tracing::warn!(
                host = config.kubernetes_host,
                "the cluster is not the one that this server runs in, as far as can be seen: its own token is not sent there; set token_reviewer_jwt"
            );
            return None;
        }
        Some(token)
    }

    /// Whether an address is that of the API server of this server's own pod: others of the cluster may have certificates of its authorities too.
    fn is_home(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        is_named_home(host) || self.home.as_deref().is_some_and(|home| home.trim_matches(['[', ']']) == host)
    }

    /// Whether authorities of a configuration are all this server's pod's own too. None are: the pod's are taken.
    async fn is_trusted(&self, authorities: &str) -> bool {
        if authorities.trim().is_empty() {
            return true;
        }
        let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
            CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(std::result::Result::ok).collect()
        };
        let Ok(own) = read(&self.folder.join("ca.crt")).await else { return false };
        let own = certificates(own.expose());
        certificates(authorities).iter().all(|given| own.contains(given))
    }
}

/// Whether a name is one that every pod has for its own cluster's API server. Others that begin so may be anybody's.
fn is_named_home(host: &str) -> bool {
    host.strip_prefix("kubernetes.default").is_some_and(|rest| matches!(rest, "" | ".svc" | ".svc.cluster.local"))
}

async fn read(path: &Path) -> std::result::Result<SecretString, String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || file::read(&path, LONGEST_FILE)).await;
    let bytes = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    SecretString::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_begins_like_that_of_the_own_cluster_is_anothers() {
        for (host, expected) in [
            ("kubernetes.default", true),
            ("kubernetes.default.svc", true),
            ("kubernetes.default.svc.cluster.local", true),
            ("kubernetes.default.svc.cluster.attacker.example", false),
            ("kubernetes.default.svc.cluster.local.attacker.example", false),
            ("kubernetes.default.svc.cluster.", false),
            ("kubernetes.defaults", false),
            ("x.kubernetes.default", false),
        ] {
            assert_eq!(is_named_home(host), expected, "{host}");
        }
    }
}
