//! Which cluster, and how it is asked.

use bulla_core::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Kubernetes;
use super::cluster::Cluster;
use crate::auth::jose::{Keys, is_open};
use crate::barrier::View;
use crate::logical::{Call, Error, Response, Result};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub kubernetes_host: String,
    pub kubernetes_ca_cert: String,
    #[serde(serialize_with = "expose", deserialize_with = "conceal")]
    pub token_reviewer_jwt: SecretString,
    pub pem_keys: Vec<String>,
    pub issuer: String,
    pub disable_iss_validation: bool,
    pub disable_local_ca_jwt: bool,
    pub local_verification: bool,
    pub jwks_url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kubernetes_host: String::new(),
            kubernetes_ca_cert: String::new(),
            token_reviewer_jwt: SecretString::default(),
            pem_keys: Vec::new(),
            issuer: String::new(),
            disable_iss_validation: true,
            disable_local_ca_jwt: false,
            local_verification: false,
            jwks_url: String::new(),
        }
    }
}

/// Into storage, which encrypts.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl Config {
    /// What `iss` of tokens must be; empty if it is not looked at.
    pub fn expected_issuer(&self) -> &str {
        if self.disable_iss_validation { "" } else { &self.issuer }
    }
}

const KEY: &str = "config";

pub async fn find(storage: &View) -> Result<Option<Config>> {
    Ok(storage.read(KEY).await?)
}

pub async fn read(call: &Call<'_>) -> Result<Response> {
    let config = find(call.storage).await?.ok_or_else(Error::not_found)?;
    let mut shown = object! {
        "disable_iss_validation": config.disable_iss_validation,
        "disable_local_ca_jwt": config.disable_local_ca_jwt,
        "issuer": config.issuer,
        "kubernetes_ca_cert": config.kubernetes_ca_cert,
        "kubernetes_host": config.kubernetes_host,
        "pem_keys": config.pem_keys,
        "token_reviewer_jwt_set": !config.token_reviewer_jwt.expose().is_empty(),
    };
    // The peer has not got these.
    if config.local_verification || !config.jwks_url.is_empty() {
        shown.extend(object! { "jwks_url": config.jwks_url, "local_verification": config.local_verification });
    }
    Ok(Response::data(shown))
}

/// Everything is written anew: what is not given is as at the beginning.
pub async fn write(method: &Kubernetes, call: &Call<'_>) -> Result<Response> {
    let input = &call.input;
    let text = |name: &str| -> Result<String> { Ok(input.text(name)?.unwrap_or_default()) };
    let config = Config {
        kubernetes_host: text("kubernetes_host")?,
        kubernetes_ca_cert: text("kubernetes_ca_cert")?,
        token_reviewer_jwt: text("token_reviewer_jwt")?.into(),
        pem_keys: input.texts("pem_keys")?.unwrap_or_default(),
        issuer: text("issuer")?,
        disable_iss_validation: input.bool("disable_iss_validation")?.unwrap_or(true),
        disable_local_ca_jwt: input.bool("disable_local_ca_jwt")?.unwrap_or_default(),
        local_verification: input.bool("local_verification")?.unwrap_or_default(),
        jwks_url: text("jwks_url")?,
    };
    let bad = |error: &str| Error::bad_request(error);
    if config.kubernetes_host.is_empty() {
        return Err(bad("no host provided"));
    }
    if config.disable_local_ca_jwt && config.kubernetes_ca_cert.is_empty() {
        return Err(bad("kubernetes_ca_cert must be given when disable_local_ca_jwt is true"));
    }
    if !config.jwks_url.is_empty() && !config.local_verification {
        return Err(bad("jwks_url is for local_verification alone"));
    }
    if !config.jwks_url.is_empty() && !config.pem_keys.is_empty() {
        return Err(bad("jwks_url and pem_keys are two ways to say the same; give one"));
    }
    Keys::from_pem(&config.pem_keys).map_err(bad)?;
    let authorities = method.authorities(&config).await.map_err(Error::bad_request)?;
    let cluster = Cluster::new(config, authorities, method.limits).map_err(Error::bad_request)?;
    call.storage.write(KEY, &cluster.config).await?;
    let config = &cluster.config;
    let mut answer = Response::empty();
    if is_open(&cluster.host) {
        let host = &config.kubernetes_host;
        answer = answer.warn(format!(
            "{host} is not https: whoever is on the way there can log in as anybody, and reads the token that logins are reviewed with"
        ));
    }
    if reqwest::Url::parse(&config.jwks_url).is_ok_and(|url| is_open(&url)) {
        let url = &config.jwks_url;
        answer = answer.warn(format!("{url} is not https: whoever is on the way there can log in as anybody"));
    }
    Ok(answer)
}
