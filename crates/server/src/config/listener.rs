//! `listener` blocks.

use std::path::PathBuf;

use bulla_core::hcl::{Body, Value};

use super::{is_on, note_unknown, text};
use crate::core::is_cidr;
use crate::http::{Forwarded, Opened, Others};

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `HOST:PORT`.
    pub address: String,
    /// The certificate and its key; none is plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whether plain HTTP is allowed where others can listen.
    pub insecure: bool,
    /// What everybody may ask there.
    pub opened: Opened,
    /// Which proxies are believed that say whose request it is.
    pub forwarded: Option<Forwarded>,
}

impl Listener {
    fn is_loopback(&self) -> bool {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What the operator should hear about a listener that [may be used](Self::check) and can be overheard.
    pub fn warning(&self) -> Option<String> {
        (self.tls.is_none() && !self.is_loopback()).then(|| {
            format!(
                "listener {}: WITHOUT TLS, where others can listen: every token and secret, unseal keys too, can be read and changed on the network",
                self.address
            )
        })
    }

    /// Whether what is said there stays on this machine, is encrypted, or may be heard by others.
    ///
    /// # Errors
    /// If it may be heard and nobody said so.
    pub fn check(&self) -> Result<(), String> {
        if self.tls.is_some() || self.is_loopback() || self.insecure {
            return Ok(());
        }
        Err(format!(
            "listener {}: without TLS every token and secret can be read on the network; give tls_cert_file and tls_key_file, listen on 127.0.0.1, or, if something before it does TLS, write allow_plaintext_on_the_network = true",
            self.address
        ))
    }
}

/// What a listener may say.
const LISTENER: &[&str] = &[
    "address",
    "tls_cert_file",
    "tls_key_file",
    "tls_disable",
    "tls_require_and_verify_client_cert",
    "tls_disable_client_certs",
    "tls_min_version",
    "allow_plaintext_on_the_network",
    "disable_unauthed_rekey_endpoints",
    "disable_unauthed_generate_root_endpoints",
    "telemetry",
    "x_forwarded_for_authorized_addrs",
    "x_forwarded_for_hop_skips",
    "x_forwarded_for_reject_not_present",
    "x_forwarded_for_reject_not_authorized",
];

/// Reads a block.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn read(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Listener, String> {
    if kind != "tcp" {
        return Err(format!("listener {kind:?} is not supported; \"tcp\" is"));
    }
    let address = text(body, "address").unwrap_or_else(|| "127.0.0.1:8200".to_owned());
    note_unknown(&format!("listener {address}"), body, LISTENER, ignored)?;
    // 1.2 is what it begins with in any case.
    if let Some(version) = text(body, "tls_min_version").filter(|version| version != "tls12") {
        return Err(format!("listener {address}: tls_min_version {version:?} is not supported; \"tls12\" is"));
    }
    let files = text(body, "tls_cert_file").zip(text(body, "tls_key_file"));
    if is_on(body, "tls_require_and_verify_client_cert")? {
        return Err("tls_require_and_verify_client_cert is not supported by this server yet".to_owned());
    }
    let tls = match (is_on(body, "tls_disable")?, files) {
        (true, _) => None,
        (false, Some((certificate, key))) => Some((certificate.into(), key.into())),
        (false, None) => {
            return Err(format!("listener {address}: write tls_cert_file and tls_key_file, or tls_disable = true"));
        }
    };
    let insecure = is_on(body, "allow_plaintext_on_the_network")?;
    // Off unless it is written: with them whoever reaches the listener can cancel what people are at.
    let is_opened = |key: &str| Ok::<_, String>(text(body, key).is_some() && !is_on(body, key)?);
    let opened = Opened {
        generate_root: is_opened("disable_unauthed_generate_root_endpoints")?,
        rekey: is_opened("disable_unauthed_rekey_endpoints")?,
        metrics: telemetry(&address, body, ignored)?,
    };
    let forwarded = forwarded(&address, body)?;
    Ok(Listener { address, tls, insecure, opened, forwarded })
}

/// Which proxies are believed.
fn forwarded(address: &str, body: &Body) -> Result<Option<Forwarded>, String> {
    let bad = |what: String| format!("listener {address}: {what}");
    let Some(given) = body.value("x_forwarded_for_authorized_addrs") else {
        // Somebody relies on it.
        let other = LISTENER.iter().find(|name| name.starts_with("x_forwarded_for_") && body.value(name).is_some());
        return match other {
            Some(name) => Err(bad(format!("{name} has no effect without x_forwarded_for_authorized_addrs"))),
            None => Ok(None),
        };
    };
    let proxies = match given {
        Value::List(_) => given.texts(),
        _ => given.text().map(|text| text.split(',').map(|one| one.trim().to_owned()).collect()),
    };
    let proxies = proxies.filter(|proxies: &Vec<String>| !proxies.is_empty() && proxies.iter().all(|one| is_cidr(one)));
    let proxies =
        proxies.ok_or_else(|| bad("x_forwarded_for_authorized_addrs are addresses or networks".to_owned()))?;
    let skipped = match text(body, "x_forwarded_for_hop_skips") {
        None => 0,
        Some(text) => text.parse().map_err(|_| bad("x_forwarded_for_hop_skips is a number from 0".to_owned()))?,
    };
    let others = |key: &str| {
        let refused = text(body, key).is_none() || is_on(body, key)?;
        Ok::<_, String>(if refused { Others::Refused } else { Others::Direct })
    };
    Ok(Some(Forwarded {
        proxies,
        skipped,
        without: others("x_forwarded_for_reject_not_present")?,
        elsewhere: others("x_forwarded_for_reject_not_authorized")?,
    }))
}

/// Whether everybody may read what the server counts.
fn telemetry(address: &str, body: &Body, ignored: &mut Vec<String>) -> Result<bool, String> {
    let mut is_opened = false;
    for item in body.all("telemetry") {
        let Value::Body(inner) = &item.value else {
            return Err(format!("listener {address}: telemetry is a block"));
        };
        let block = format!("listener {address}: telemetry");
        note_unknown(&block, inner, &["unauthenticated_metrics_access"], ignored)?;
        is_opened |= is_on(inner, "unauthenticated_metrics_access")?;
    }
    Ok(is_opened)
}
