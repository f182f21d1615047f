//! The key to seal to: from a file, a URL, or the controller.

use std::path::Path;
use std::time::Duration;

use bulla_core::file;
use bulla_format::sealed::{Algorithm, Certificate, KeyError, PublicKey};
use jiff::Timestamp;

use super::args::SealArgs;
use super::cluster::{self, Controller};
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// A certificate has some kilobytes; a bundle of all a cluster ever had, some hundreds.
const LIMIT: u64 = 1 << 20;

/// The certificate's bytes, and where they are from.
///
/// # Errors
/// [`Code::NoEncryptionKey`]: it cannot be had.
pub(crate) fn fetch(app: &App, args: &SealArgs) -> Result<(String, Vec<u8>), Failure> {
    match args.certificate.cert.as_deref().filter(|place| !place.is_empty()) {
        None => {
            let controller = Controller::new(app, args)?;
            let text = app.block_on(controller.certificate(args.algorithm))??;
            Ok((controller.name(), text))
        }
        Some(place) => Ok((place.to_owned(), from_place(app, place)?)),
    }
}

/// The key to seal to, fit to be used now.
///
/// # Errors
/// [`Code::NoEncryptionKey`]: none, expired, or of another algorithm than was asked for.
pub(crate) fn key(app: &App, args: &SealArgs) -> Result<PublicKey, Failure> {
    let (place, text) = fetch(app, args)?;
    parse(&place, &text, args.algorithm)
}

/// Reads what [`fetch`] gave.
///
/// # Errors
/// As [`key`].
pub(crate) fn parse(place: &str, text: &[u8], algorithm: Algorithm) -> Result<PublicKey, Failure> {
    let refused = |what: String| Failure::new(Code::NoEncryptionKey, format!("{place}: {what}"));
    match algorithm {
        Algorithm::Rsa => {
            let certificates = Certificate::from_pem(text).map_err(|error| explained(place, text, &error))?;
            let Some(first) = certificates.first() else {
                return Err(refused("there is no certificate in it".to_owned()));
            };
            first.check_validity(Timestamp::now()).map_err(|error| explained(place, text, &error))?;
            Ok(first.public_key().clone())
        }
        Algorithm::Hybrid => PublicKey::from_pem(text).map_err(|error| {
            refused(format!("{error}; {} needs a hybrid public key", Algorithm::Hybrid))
                .with_hint("leave --algorithm out to seal with RSA, as the certificate says")
        }),
    }
}

fn explained(place: &str, text: &[u8], error: &KeyError) -> Failure {
    let failure = Failure::new(Code::NoEncryptionKey, format!("{place}: {error}"));
    match error {
        KeyError::Expired(when) => {
            let what = format!("{place}: failed to encrypt using an expired certificate: it expired on {when}");
            Failure::new(Code::NoEncryptionKey, what).with_hint("fetch the current one: bulla seal --fetch-cert")
        }
        _ if PublicKey::from_pem(text).is_ok() => {
            Failure::new(Code::NoEncryptionKey, format!("{place}: it is a key for {}", Algorithm::Hybrid))
                .with_hint("say so: --algorithm x25519-mlkem768")
        }
        KeyError::NotACertificate => {
            failure.with_hint("nothing says until when a bare key may be used; take the controller's certificate")
        }
        _ => failure,
    }
}

fn from_place(app: &App, place: &str) -> Result<Vec<u8>, Failure> {
    let path = match place.split_once("://") {
        Some(("http" | "https", _)) => return from_url(app, place),
        Some(("file", path)) if path.starts_with('/') => path,
        Some(("file", rest)) => {
            rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).ok_or_else(|| {
                Failure::new(Code::NoEncryptionKey, format!("{place}: a file's URL has the form file:///path"))
            })?
        }
        Some((scheme, _)) => {
            return Err(Failure::new(
                Code::NoEncryptionKey,
                format!("{place}: {scheme} is no scheme that is known: https, http, file"),
            ));
        }
        None => place,
    };
    let text =
        file::read(Path::new(path), LIMIT).map_err(|error| Failure::new(Code::NoEncryptionKey, error.to_string()))?;
    Ok(text.expose().to_vec())
}

fn from_url(app: &App, url: &str) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::new(Code::NoEncryptionKey, format!("cannot fetch {url:?}: {what}"));
    if url.starts_with("http://") {
        term::warn(&format!("{url} is not encrypted: whoever is in between can put a key of theirs in its place"));
    }
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(cluster::tls())
        // What began encrypted stays so.
        .https_only(url.starts_with("https://"))
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let exchange = async {
        let mut answer = client.get(url).send().await.map_err(|error| failed(causes(&error)))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(failed(answer.status().to_string()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(causes(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() as u64 > LIMIT {
                return Err(failed("more than 1 MiB".to_owned()));
            }
        }
        Ok(body)
    };
    app.block_on(exchange)?
}

/// An error with all that is behind it.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    text
}
