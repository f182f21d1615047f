//! The cluster: its namespaces by the kubeconfig, and the controller behind the API server's proxy.
//!
//! The API server keeps a client's credentials to itself, so the controller cannot know who asks. Where it wants to (it answers 401),
//! the request is made once more with a token in `X-Bulla-Authorization`: the one of `--controller-token`, or else the user's own.
//! A controller that does not ask never sees one.

use std::time::Duration;

use bulla_format::sealed::Algorithm;
use k8s_openapi::api::core::v1::Service;
use kube::client::{Body, ConfigExt};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster};
use kube::{Api, Client, Config};
use tower::{Layer, ServiceExt};

use super::args::{ClusterArgs, SealArgs};
use super::certificate::causes;
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;

/// What the controller takes a token from.
const AUTHORIZATION: &str = "x-bulla-authorization";
/// The namespace where nothing says another.
const DEFAULT_NAMESPACE: &str = "default";
/// Where a pod finds its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Whether a namespace was asked for, or only found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// By the flag.
    Flag,
    /// By the kubeconfig, the pod, or nobody.
    Elsewhere,
}

/// The namespace for what names none.
///
/// # Errors
/// A kubeconfig that cannot be read.
pub(crate) fn namespace(app: &App, args: &ClusterArgs) -> Result<(String, Said), Failure> {
    if let Some(namespace) = args.namespace.as_ref().filter(|namespace| !namespace.is_empty()) {
        return Ok((namespace.clone(), Said::Flag));
    }
    let found = match kubeconfig(app, args)? {
        Some(config) => {
            let context = args.context.as_ref().or(config.current_context.as_ref());
            let context = config.contexts.iter().find(|named| Some(&named.name) == context);
            context.and_then(|named| named.context.as_ref()?.namespace.clone())
        }
        None => std::fs::read_to_string(POD_NAMESPACE).ok().map(|namespace| namespace.trim().to_owned()),
    };
    let found = found.filter(|namespace| !namespace.is_empty());
    Ok((found.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), Said::Elsewhere))
}

/// TLS with the system's authorities.
pub(crate) fn tls() -> rustls::ClientConfig {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// The sealing controller of a cluster.
pub(crate) struct Controller {
    config: Config,
    namespace: String,
    service: String,
    token: Option<String>,
}

/// What the controller answered.
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Controller {
    /// The one that the flags name. Nothing is asked yet.
    ///
    /// # Errors
    /// [`Code::NoEncryptionKey`]: there is no way to a cluster.
    pub(crate) fn new(app: &App, args: &SealArgs) -> Result<Self, Failure> {
        let config = app.block_on(config(app, &args.cluster))??;
        Ok(Self {
            config,
            namespace: args.certificate.controller_namespace.clone(),
            service: args.certificate.controller_name.clone(),
            token: args.certificate.controller_token.clone().filter(|token| !token.is_empty()),
        })
    }

    /// Its name for messages.
    pub(crate) fn name(&self) -> String {
        format!("the controller {}/{}", self.namespace, self.service)
    }

    /// Its newest certificate, or hybrid public key.
    ///
    /// # Errors
    /// [`Code::NoEncryptionKey`].
    pub(crate) async fn certificate(&self, algorithm: Algorithm) -> Result<Vec<u8>, Failure> {
        let path = match algorithm {
            Algorithm::Rsa => "/v1/cert.pem".to_owned(),
            Algorithm::Hybrid => format!("/v1/cert.pem?algorithm={algorithm}"),
        };
        let answer = self.ask("GET", &path, Vec::new()).await?;
        if answer.status != 200 {
            return Err(self.refused("cannot fetch certificate", &answer));
        }
        Ok(answer.body)
    }

    /// Sends an object to `/v1/verify` or `/v1/rotate`.
    ///
    /// # Errors
    /// When there is no answer. A status that says no is one.
    pub(crate) async fn post(&self, path: &str, object: Vec<u8>) -> Result<Answer, Failure> {
        self.ask("POST", path, object).await
    }

    /// A message about an answer.
    pub(crate) fn refused(&self, doing: &str, answer: &Answer) -> Failure {
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.trim().chars().take(500).filter(|char| !char.is_control()).collect();
        let failure =
            Failure::new(Code::NoEncryptionKey, format!("{doing}: {} answered {}: {text}", self.name(), answer.status));
        match answer.status {
            401 => failure.with_hint(
                "the controller wants to know who asks, and a client certificate does not reach it: pass --controller-token \"$(kubectl create token NAME --audience bulla.dev/sealing)\"",
            ),
            403 => failure.with_hint(
                "whoever asks needs `create` on sealedsecrets/verify or sealedsecrets/rotate of bitnami.com in the object's namespace, and `create` on services/proxy in the controller's",
            ),
            429 => failure.with_hint("the controller takes so many requests in a time; try again"),
            _ => failure,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        let client = Client::try_from(self.config.clone()).map_err(|error| unreachable(&error))?;
        let port = self.port(&client).await?;
        let base = format!("/api/v1/namespaces/{}/services/http:{}:{port}/proxy{path}", self.namespace, self.service);
        let answer = send(&client, method, &base, &body, None).await?;
        if answer.status != 401 || is_status(&answer.body) {
            return Ok(answer);
        }
        let token = match &self.token {
            Some(token) => Some(format!("Bearer {token}")),
            None => own_token(&self.config).await?,
        };
        match token {
            Some(token) => send(&client, method, &base, &body, Some(&token)).await,
            None => Ok(answer),
        }
    }

    async fn port(&self, client: &Client) -> Result<String, Failure> {
        let services: Api<Service> = Api::namespaced(client.clone(), &self.namespace);
        let service = services.get(&self.service).await.map_err(|error| {
            let what = format!("cannot get sealed secret service {}/{}: {}", self.namespace, self.service, said(&error));
            Failure::new(Code::NoEncryptionKey, what).with_hint(
                "--controller-name and --controller-namespace say where the controller is; --cert takes a file, offline",
            )
        })?;
        let port = service.spec.and_then(|spec| spec.ports?.into_iter().next());
        Ok(port.map_or_else(String::new, |port| port.name.unwrap_or_else(|| port.port.to_string())))
    }
}

async fn send(client: &Client, method: &str, uri: &str, body: &[u8], token: Option<&str>) -> Result<Answer, Failure> {
    let mut request = http::Request::builder().method(method).uri(uri).header("Accept", "application/x-pem-file, */*");
    if !body.is_empty() {
        request = request.header("Content-Type", "application/json");
    }
    if let Some(token) = token {
        let mut value = http::HeaderValue::from_str(token)
            .map_err(|_| Failure::generic("the token for the controller has characters that no token has"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Body::from(body.to_vec())).map_err(|error| Failure::generic(error.to_string()))?;
    let answer = client.send(request).await.map_err(|error| unreachable(&error))?;
    let status = answer.status().as_u16();
    let body = http_body_util::Limited::new(answer.into_body(), 64 << 20);
    let body = http_body_util::BodyExt::collect(body).await.map_err(|error| {
        Failure::new(Code::NoEncryptionKey, format!("the answer of the API server broke off: {error}"))
    })?;
    Ok(Answer { status, body: body.to_bytes().to_vec() })
}

/// Whether the API server itself answered.
fn is_status(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|value| value["kind"] == "Status")
}

/// The header that shows the user to the API server, found by letting the client's own layer put it on: the kubeconfig may have it made
/// by a program.
async fn own_token(config: &Config) -> Result<Option<String>, Failure> {
    let Some(layer) = config.auth_layer().map_err(|error| unreachable(&error))? else { return Ok(None) };
    // Answers with the header that it is asked with.
    let mirror = layer.layer(tower::service_fn(|request: http::Request<Body>| async move {
        let mut answer = http::Response::new(Body::empty());
        if let Some(header) = request.headers().get(http::header::AUTHORIZATION) {
            answer.headers_mut().insert(http::header::AUTHORIZATION, header.clone());
        }
        Ok::<_, tower::BoxError>(answer)
    }));
    let answer = mirror.oneshot(http::Request::new(Body::empty())).await;
    let answer = answer.map_err(|error| Failure::generic(format!("cannot get a token: {error}")))?;
    let header = answer.headers().get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    Ok(header.filter(|text| text.starts_with("Bearer ")).map(str::to_owned))
}

fn unreachable(error: &kube::Error) -> Failure {
    Failure::new(Code::NoEncryptionKey, format!("the cluster cannot be reached: {}", said(error)))
        .with_hint("--kubeconfig and --context say which cluster; --cert takes a file, offline")
}

/// What the API server said, or why it could not be asked.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        _ => causes(error),
    }
}

/// The kubeconfig, as it is. Nothing if there is no file.
fn kubeconfig(app: &App, args: &ClusterArgs) -> Result<Option<Kubeconfig>, Failure> {
    let unreadable = |error: &kube::config::KubeconfigError| {
        Failure::new(Code::CouldNotReadInput, format!("the kubeconfig cannot be read: {}", causes(error)))
    };
    let named = args.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = named {
        return Kubeconfig::read_from(path).map(Some).map_err(|error| unreadable(&error));
    }
    if app.env.var("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
        return Kubeconfig::from_env().map_err(|error| unreadable(&error));
    }
    let Some(path) = app.env.home().map(|home| home.join(".kube/config")).filter(|path| path.exists()) else {
        return Ok(None);
    };
    Kubeconfig::read_from(path).map(Some).map_err(|error| unreadable(&error))
}

async fn config(app: &App, args: &ClusterArgs) -> Result<Config, Failure> {
    let found = kubeconfig(app, args)?;
    let mut config = match found {
        None if args.server.is_none() => Config::incluster().map_err(|_| {
            Failure::new(Code::NoEncryptionKey, "no cluster: there is no kubeconfig, and this is no pod")
                .with_hint("--cert takes a certificate's file or URL; --kubeconfig says which cluster")
        })?,
        found => {
            let mut kubeconfig = found.unwrap_or_default();
            let options = apply(&mut kubeconfig, args)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
                Failure::new(
                    Code::NoEncryptionKey,
                    format!("the kubeconfig does not say how to reach a cluster: {}", causes(&error)),
                )
            })?
        }
    };
    if let Some(time) = &args.request_timeout {
        let time = timeout(time)?;
        config.read_timeout = time;
        config.connect_timeout = time.or(config.connect_timeout);
    }
    Ok(config)
}

/// As kubectl: nothing, or `0`, is no limit; a number alone is seconds.
fn timeout(text: &str) -> Result<Option<Duration>, Failure> {
    if text.is_empty() || text.trim_end_matches('s') == "0" {
        return Ok(None);
    }
    crate::args::duration(text)
        .map(Some)
        .map_err(|error| Failure::generic(format!("--request-timeout {text}: {error}")))
}

/// Puts the flags over the kubeconfig's entries that they are about.
fn apply(kubeconfig: &mut Kubeconfig, args: &ClusterArgs) -> Result<KubeConfigOptions, Failure> {
    const FLAGS: &str = "flags";
    let context_name = args.context.clone().or_else(|| kubeconfig.current_context.clone());
    let context = kubeconfig.contexts.iter_mut().find(|named| Some(&named.name) == context_name.as_ref());
    if context.is_none() && args.context.is_some() {
        return Err(Failure::generic(format!("the kubeconfig has no context {:?}", context_name.unwrap_or_default())));
    }
    let context = context.and_then(|named| named.context.clone());
    let cluster =
        args.cluster.clone().or_else(|| Some(context.as_ref()?.cluster.clone())).unwrap_or_else(|| FLAGS.to_owned());
    let user = args.user.clone().or_else(|| context.as_ref()?.user.clone()).unwrap_or_else(|| FLAGS.to_owned());

    if !kubeconfig.clusters.iter().any(|named| named.name == cluster) {
        kubeconfig.clusters.push(NamedCluster {
            name: cluster.clone(),
            cluster: Some(kube::config::Cluster::default()),
            ..Default::default()
        });
    }
    if !kubeconfig.auth_infos.iter().any(|named| named.name == user) {
        kubeconfig.auth_infos.push(NamedAuthInfo {
            name: user.clone(),
            auth_info: Some(AuthInfo::default()),
            ..Default::default()
        });
    }
    for named in kubeconfig.clusters.iter_mut().filter(|named| named.name == cluster) {
        over_cluster(named.cluster.get_or_insert_default(), args);
    }
    for named in kubeconfig.auth_infos.iter_mut().filter(|named| named.name == user) {
        over_user(named.auth_info.get_or_insert_default(), args);
    }
    let name = FLAGS.to_owned();
    kubeconfig.contexts.retain(|named| named.name != name);
    kubeconfig.contexts.push(kube::config::NamedContext {
        name: name.clone(),
        context: Some(kube::config::Context {
            cluster: cluster.clone(),
            user: Some(user.clone()),
            ..Default::default()
        }),
        ..Default::default()
    });
    Ok(KubeConfigOptions { context: Some(name), cluster: Some(cluster), user: Some(user) })
}

fn over_cluster(cluster: &mut kube::config::Cluster, args: &ClusterArgs) {
    over(&mut cluster.server, args.server.as_ref());
    over(&mut cluster.tls_server_name, args.tls_server_name.as_ref());
    over(&mut cluster.proxy_url, args.proxy_url.as_ref());
    if over(&mut cluster.certificate_authority, args.certificate_authority.as_ref()) {
        cluster.certificate_authority_data = None;
    }
    if args.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    if args.disable_compression {
        cluster.disable_compression = Some(true);
    }
}

fn over_user(user: &mut AuthInfo, args: &ClusterArgs) {
    if let Some(token) = args.token.clone().filter(|token| !token.is_empty()) {
        *user = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    }
    if over(&mut user.client_certificate, args.client_certificate.as_ref()) {
        user.client_certificate_data = None;
    }
    if over(&mut user.client_key, args.client_key.as_ref()) {
        user.client_key_data = None;
    }
    over(&mut user.username, args.username.as_ref());
    if let Some(password) = args.password.clone().filter(|password| !password.is_empty()) {
        user.password = Some(password.into());
    }
    over(&mut user.impersonate, args.impersonate.as_ref());
    over(&mut user.impersonate_uid, args.as_uid.as_ref());
    if !args.as_group.is_empty() {
        user.impersonate_groups = Some(args.as_group.clone());
    }
}

fn over(field: &mut Option<String>, flag: Option<&String>) -> bool {
    let said = flag.filter(|text| !text.is_empty());
    if let Some(text) = said {
        *field = Some(text.clone());
    }
    said.is_some()
}
