//! The key to seal to: from a file, a URL, or the controller.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
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

/// That what [`fetch`] gave is a key to seal to. One that has expired is the cluster's all the same, and is only reported.
///
/// # Errors
/// As [`key`].
pub(crate) fn check(place: &str, text: &[u8], algorithm: Algorithm) -> Result<(), Failure> {
    let first = Certificate::from_pem(text).ok().and_then(|all| all.into_iter().next());
    match first.map(|certificate| certificate.check_validity(Timestamp::now())) {
        Some(Err(KeyError::Expired(when))) if algorithm == Algorithm::Rsa => {
            term::warn(&format!("{place}: the certificate expired on {when}; nothing can be sealed to it"));
            Ok(())
        }
        _ => parse(place, text, algorithm).map(drop),
    }
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
    let refused = |what: &str| Failure::new(Code::NoEncryptionKey, format!("{place}: {what}"));
    let path = match place.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => match (scheme.to_ascii_lowercase().as_str(), rest) {
            ("http" | "https", rest) if rest.starts_with("//") => return from_url(app, place),
            ("file", rest) => {
                let path = match rest.strip_prefix("//") {
                    Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
                    None => rest,
                };
                let path = Some(path).filter(|path| path.starts_with('/')).and_then(unescaped);
                PathBuf::from(path.ok_or_else(|| refused("a file's URL has the form file:///path"))?)
            }
            // A colon may stand in a file's name.
            _ if Path::new(place).exists() => PathBuf::from(place),
            (scheme, _) => return Err(refused(&format!("{scheme} is no scheme that is known: https, http, file"))),
        },
        _ => PathBuf::from(place),
    };
    let text = file::read(&path, LIMIT).map_err(|error| Failure::new(Code::NoEncryptionKey, error.to_string()))?;
    Ok(text.expose().to_vec())
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// A URL's path with `%20` and its like read.
fn unescaped(path: &str) -> Option<OsString> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits =
                str::from_utf8(after.get(..2)?).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    Some(OsString::from_vec(bytes))
}

fn from_url(app: &App, url: &str) -> Result<Vec<u8>, Failure> {
    let failed = |what: String| Failure::new(Code::NoEncryptionKey, format!("cannot fetch {url:?}: {what}"));
    let is_plain = url.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http:"));
    if is_plain {
        term::warn(&format!("{url} is not encrypted: whoever is in between can put a key of theirs in its place"));
    }
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(cluster::tls())
        // What began encrypted stays so.
        .https_only(!is_plain)
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
