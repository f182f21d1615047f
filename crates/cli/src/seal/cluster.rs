//! The cluster: its namespaces by the kubeconfig, and the controller behind the API server's proxy.
//!
//! The API server keeps a client's credentials to itself, so the controller cannot know who asks. Where it wants to (it answers 401),
//! the request is made once more with a token in `X-Bulla-Authorization`: the one of `--controller-token`, or else the user's own.
//! A controller that does not ask never sees one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulla_format::sealed::Algorithm;
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::api::core::v1::Service;
use kube::client::{Body, ConfigExt};
use kube::config::{AuthInfo, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use kube::{Api, Client, Config};
use tower::{Layer, ServiceExt};

use super::args::{ClusterArgs, SealArgs};
use super::certificate::causes;
use crate::app::App;
use crate::args::given;
use crate::error::Failure;
use crate::exit::Code;

/// What the controller takes a token from.
const AUTHORIZATION: &str = "x-bulla-authorization";
/// The namespace where nothing says another.
const DEFAULT_NAMESPACE: &str = "default";
/// Where a pod finds its token, its namespace and the authority of the API server.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

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
    let config = kubeconfig(app, args)?;
    let context = match &config {
        Some(config) => context_of(config, args)?,
        None if given(args.context.as_ref()).is_some() => context_of(&Kubeconfig::default(), args)?,
        None => None,
    };
    let of_context = context.as_ref().and_then(|context| context.namespace.clone());
    let found = of_context.filter(|namespace| !namespace.is_empty()).or_else(|| pod_namespace(app));
    // A context has a namespace for what names none. Without one nobody knows where it will be applied.
    match found.or_else(|| context.map(|_| DEFAULT_NAMESPACE.to_owned())) {
        Some(namespace) => Ok((namespace, Said::Elsewhere)),
        None => Err(Failure::new(Code::CouldNotReadInput, "secret must declare a namespace")
            .with_hint("say it with --namespace; there is no kubeconfig that does")),
    }
}

/// The context that is meant. Nothing if none is named.
fn context_of(config: &Kubeconfig, args: &ClusterArgs) -> Result<Option<Context>, Failure> {
    let Some(name) = given(args.context.as_ref()).or_else(|| given(config.current_context.as_ref())) else {
        return Ok(None);
    };
    let context = config.contexts.iter().find(|named| named.name == name).ok_or_else(|| {
        Failure::new(Code::CouldNotReadInput, format!("the kubeconfig has no context {name:?}"))
            .with_hint("`kubectl config get-contexts` shows them; --context names one")
    })?;
    Ok(context.context.clone())
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

/// The namespace of the pod that this is; nothing if it is none.
fn pod_namespace(app: &App) -> Option<String> {
    pod_server(app)?;
    let of_account = || std::fs::read_to_string(format!("{SERVICE_ACCOUNT}/namespace")).ok();
    let found = app.env.text("POD_NAMESPACE").or_else(of_account)?;
    Some(found.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

/// The API server's address, if this is a pod.
fn pod_server(app: &App) -> Option<String> {
    let (host, port) = (app.env.text("KUBERNETES_SERVICE_HOST")?, app.env.text("KUBERNETES_SERVICE_PORT")?);
    let is_pod = Path::new(SERVICE_ACCOUNT).join("token").is_file();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    is_pod.then(|| format!("https://{host}:{port}"))
}

/// What a pod has, as a kubeconfig, so that flags can be put over it.
fn pod_kubeconfig(app: &App) -> Option<Kubeconfig> {
    const POD: &str = "pod";
    let cluster = kube::config::Cluster {
        server: Some(pod_server(app)?),
        certificate_authority: Some(format!("{SERVICE_ACCOUNT}/ca.crt")),
        ..Default::default()
    };
    let user = AuthInfo { token_file: Some(format!("{SERVICE_ACCOUNT}/token")), ..AuthInfo::default() };
    let context = Context { cluster: POD.to_owned(), user: Some(POD.to_owned()), ..Default::default() };
    Some(Kubeconfig {
        clusters: vec![NamedCluster { name: POD.to_owned(), cluster: Some(cluster), ..Default::default() }],
        auth_infos: vec![NamedAuthInfo { name: POD.to_owned(), auth_info: Some(user), ..Default::default() }],
        contexts: vec![NamedContext { name: POD.to_owned(), context: Some(context), ..Default::default() }],
        current_context: Some(POD.to_owned()),
        ..Kubeconfig::default()
    })
}

/// The kubeconfig, as it is. Nothing if there is no file, or none that says anything.
fn kubeconfig(app: &App, args: &ClusterArgs) -> Result<Option<Kubeconfig>, Failure> {
    let unreadable = |error: &kube::config::KubeconfigError| {
        Failure::new(Code::CouldNotReadInput, format!("the kubeconfig cannot be read: {}", causes(error)))
    };
    let named = args.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = named {
        return Kubeconfig::read_from(path).map(Some).map_err(|error| unreadable(&error));
    }
    let paths: Vec<PathBuf> = match app.env.var("KUBECONFIG") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => app.env.home().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    // As kubectl: of the files that are not named by a flag, one that is not there says nothing.
    let mut all: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| !path.as_os_str().is_empty() && path.exists()) {
        let next = Kubeconfig::read_from(path).map_err(|error| unreadable(&error))?;
        all = Some(all.unwrap_or_default().merge(next).map_err(|error| unreadable(&error))?);
    }
    Ok(all.filter(|config| !config.contexts.is_empty() || !config.clusters.is_empty()))
}

/// A client for the cluster that the flags and the kubeconfig name, or that this pod is in.
///
/// # Errors
/// [`Code::NoEncryptionKey`]: there is no way to a cluster.
pub(crate) async fn client(app: &App, args: &ClusterArgs) -> Result<Client, Failure> {
    Client::try_from(config(app, args).await?).map_err(|error| unreachable(&error))
}

async fn config(app: &App, args: &ClusterArgs) -> Result<Config, Failure> {
    let found = match kubeconfig(app, args)? {
        None if given(args.server.as_ref()).is_none() => pod_kubeconfig(app),
        found => Some(found.unwrap_or_default()),
    };
    let mut kubeconfig = found.ok_or_else(|| {
        Failure::new(Code::NoEncryptionKey, "no cluster: there is no kubeconfig, and this is no pod")
            .with_hint("--cert takes a certificate's file or URL; --kubeconfig says which cluster")
    })?;
    let options = apply(&mut kubeconfig, args)?;
    let own_proxy = proxy_of(&kubeconfig, &options);
    let no_way = |what: String| {
        Failure::new(Code::NoEncryptionKey, format!("the kubeconfig does not say how to reach a cluster: {what}"))
    };
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| no_way(causes(&error)))?;
    config.proxy_url = match own_proxy {
        Some(proxy) => Some(proxy.parse().map_err(|error| no_way(format!("the proxy {proxy:?}: {error}")))?),
        None => environment_proxy(app, &config.cluster_url),
    };
    if let Some(time) = &args.request_timeout {
        let time = timeout(time)?;
        config.read_timeout = time;
        config.connect_timeout = time.or(config.connect_timeout);
    }
    Ok(config)
}

/// The proxy that the kubeconfig or a flag names.
fn proxy_of(kubeconfig: &Kubeconfig, options: &KubeConfigOptions) -> Option<String> {
    let cluster = kubeconfig.clusters.iter().find(|named| Some(&named.name) == options.cluster.as_ref())?;
    given(cluster.cluster.as_ref()?.proxy_url.as_ref()).map(str::to_owned)
}

/// The proxy that the environment names for an address, less those of `NO_PROXY`.
///
/// Not left to the client, which holds `NO_PROXY` against the proxy's own address.
fn environment_proxy(app: &App, server: &http::Uri) -> Option<http::Uri> {
    let var = |name: &str| app.env.text(name).or_else(|| app.env.text(&name.to_lowercase()));
    let matcher = Matcher::builder()
        .http(var("HTTP_PROXY").unwrap_or_default())
        .https(var("HTTPS_PROXY").unwrap_or_default())
        .no(var("NO_PROXY").unwrap_or_default())
        .build();
    // As Go: nothing on this machine is behind a proxy.
    let is_local = matches!(server.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let named = matcher.intercept(server).filter(|_| !is_local)?;
    let said = if server.scheme_str() == Some("http") { var("HTTP_PROXY") } else { var("HTTPS_PROXY") }?;
    // As it was said: it may have a user in it.
    Some(said.parse().ok().filter(|uri: &http::Uri| uri.scheme().is_some()).unwrap_or_else(|| named.uri().clone()))
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
    let context = context_of(kubeconfig, args)?;
    let named = |flag: Option<&String>| given(flag).map(str::to_owned);
    let of_context = context.as_ref().map(|context| context.cluster.clone());
    let cluster = named(args.cluster.as_ref()).or(of_context).unwrap_or_else(|| FLAGS.to_owned());
    let of_context = context.as_ref().and_then(|context| context.user.clone());
    let user = named(args.user.as_ref()).or(of_context).unwrap_or_else(|| FLAGS.to_owned());

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
    kubeconfig.contexts.push(NamedContext {
        name: name.clone(),
        context: Some(Context { cluster: cluster.clone(), user: Some(user.clone()), ..Default::default() }),
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
