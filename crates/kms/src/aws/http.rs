//! The HTTP client that AWS requests go through: our resolver, the proxy and the certificates of the environment.
//!
//! One for all regions, roles and profiles, so that connections and certificates are shared.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use bulla_core::{Env, KeyErrorKind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::dns::Resolver;
use crate::failure::Failure;

/// Makes the client. `AWS_CA_BUNDLE` replaces the system's certificates; `HTTPS_PROXY` and `NO_PROXY` count for `https`
/// addresses (the metadata services of instances and containers are never asked through a proxy).
pub(super) fn client(env: &dyn Env, resolver: Resolver) -> Result<SharedHttpClient, Failure> {
    let http = Http { resolver, tls: tls(env)?, proxy: proxy(env)?, connectors: Mutex::default() };
    Ok(SharedHttpClient::new(http))
}

fn tls(env: &dyn Env) -> Result<TlsContext, Failure> {
    let bad = |what: String| Failure::new(KeyErrorKind::BadConfig, what);
    let mut store = TrustStore::default();
    if let Some(path) = env.path("AWS_CA_BUNDLE") {
        let pem = std::fs::read(&path).map_err(|e| bad(format!("AWS_CA_BUNDLE: reading {}: {e}", path.display())))?;
        // Checked here because the SDK panics on what it cannot parse.
        let mut certificates = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            certificate
                .map_err(|e| e.to_string())
                .and_then(|certificate| certificates.add(certificate).map_err(|e| e.to_string()))
                .map_err(|e| bad(format!("AWS_CA_BUNDLE: {} holds a malformed certificate: {e}", path.display())))?;
        }
        if certificates.is_empty() {
            return Err(bad(format!("AWS_CA_BUNDLE: {} holds no PEM certificate", path.display())));
        }
        store = TrustStore::empty().with_pem_certificate(pem);
    }
    TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| bad(format!("setting up TLS for AWS: {error}")))
}

fn proxy(env: &dyn Env) -> Result<ProxyConfig, Failure> {
    let either = |upper: &str, lower: &str| env.text(upper).or_else(|| env.text(lower));
    let Some(url) = either("HTTPS_PROXY", "https_proxy") else {
        return Ok(ProxyConfig::disabled());
    };
    // The address is not quoted: it may hold a password.
    let proxy = ProxyConfig::https(url.as_str())
        .map_err(|_| Failure::new(KeyErrorKind::BadConfig, "HTTPS_PROXY is not the URL of a proxy"))?;
    // As in Go, none for this machine's own addresses.
    let own = "localhost,127.0.0.0/8,::1";
    Ok(proxy.no_proxy(match either("NO_PROXY", "no_proxy") {
        Some(rules) => format!("{rules},{own}"),
        None => own.to_owned(),
    }))
}

struct Http {
    resolver: Resolver,
    tls: TlsContext,
    proxy: ProxyConfig,
    connectors: Mutex<Vec<(Timeouts, SharedHttpConnector)>>,
}

/// What the SDK may ask a connector to be different in.
type Timeouts = (Option<Duration>, Option<Duration>);

impl HttpClient for Http {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = connectors.iter().find(|(known, _)| *known == timeouts) {
            return connector.clone();
        }
        let mut builder = Connector::builder().connector_settings(settings.clone()).proxy_config(self.proxy.clone());
        builder.set_sleep_impl(components.sleep_impl());
        let connector = builder
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(self.tls.clone())
            .build_with_resolver(self.resolver.clone());
        let connector = SharedHttpConnector::new(connector);
        connectors.push((timeouts, connector.clone()));
        connector
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some(Cow::Borrowed("1.x"))))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::io::Write as _;

    use super::*;

    fn failure(name: &str, value: &str) -> String {
        let env = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let key = bulla_core::KeyId::parse_aws_kms("arn:aws:kms:eu-west-1:1:key/k", BTreeMap::new(), None).unwrap();
        client(&env, Resolver::default()).unwrap_err().of(&key).to_string()
    }

    #[test]
    fn a_bundle_that_is_missing_empty_or_broken_is_named() {
        assert!(failure("AWS_CA_BUNDLE", "/no/such/bundle").contains("/no/such/bundle"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        assert!(failure("AWS_CA_BUNDLE", &path).contains("no PEM certificate"));
        writeln!(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").unwrap();
        assert!(failure("AWS_CA_BUNDLE", &path).contains("malformed"));
    }

    #[test]
    fn a_proxy_that_is_no_url_is_refused_without_quoting_its_password() {
        let text = failure("HTTPS_PROXY", "user:hunter2 at proxy");
        assert!(text.contains("HTTPS_PROXY") && !text.contains("hunter2"), "{text}");
    }
}
