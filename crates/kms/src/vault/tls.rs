//! Whom we believe to be a server, and who we say we are, from the variables of Vault's client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_core::{Env, KeyErrorKind};
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::settings::switch;
use super::variable;
use crate::failure::Failure;

/// The TLS configuration that the environment describes.
pub(super) fn config(env: &dyn Env) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("TLS", error))?;
    let builder = if switch(env, variable::SKIP_VERIFY)? {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(env)?)
    };
    with_identity(builder, env)
}

fn bad(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    Failure::new(KeyErrorKind::BadConfig, format!("{what}: {error}"))
}

/// The authorities to trust: those of the variables alone, or else the system's.
fn roots(env: &dyn Env) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = env.path(variable::CACERT) {
        add(&mut roots, &format!("{}: {}", variable::CACERT, path.display()), &read(variable::CACERT, &path)?)?;
    } else if let Some(text) = env.text(variable::CACERT_BYTES) {
        add(&mut roots, variable::CACERT_BYTES, text.as_bytes())?;
    } else if let Some(folder) = env.path(variable::CAPATH) {
        let files = files(&folder).map_err(|e| bad(format!("{}: {}", variable::CAPATH, folder.display()), e))?;
        for file in files {
            add(&mut roots, &format!("{}: {}", variable::CAPATH, file.display()), &read(variable::CAPATH, &file)?)?;
        }
        if roots.is_empty() {
            return Err(bad(format!("{}: {}", variable::CAPATH, folder.display()), "no file in it"));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, place: &str, pem: &[u8]) -> Result<(), Failure> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| bad(place, "malformed PEM"))?;
        roots.add(certificate).map_err(|error| bad(place, error))?;
    }
    if roots.len() == before { Err(bad(place, "no PEM certificate")) } else { Ok(()) }
}

fn read(variable: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| bad(format!("{variable}: reading {}", path.display()), error))
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    env: &dyn Env,
) -> Result<ClientConfig, Failure> {
    let (certificate, key) = match (env.path(variable::CLIENT_CERT), env.path(variable::CLIENT_KEY)) {
        (None, None) => return Ok(builder.with_no_client_auth()),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => {
            return Err(bad(
                variable::CLIENT_CERT,
                format!("set without {} or the other way round", variable::CLIENT_KEY),
            ));
        }
    };
    let place = format!("{}: {}", variable::CLIENT_CERT, certificate.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(variable::CLIENT_CERT, &certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| bad(&place, "malformed PEM"))?;
    let pem = zeroize::Zeroizing::new(read(variable::CLIENT_KEY, &key)?);
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| bad(format!("{}: {}", variable::CLIENT_KEY, key.display()), "no PEM private key"))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| bad(place, error))
}

/// Believes every certificate: what `VAULT_SKIP_VERIFY` asks for. Signatures of the handshake are still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
