//! The server's configuration file, in Vault's form: HCL or JSON.
//!
//! What this server does not have is an error that names what it has, if leaving it out would make the server less safe or something else
//! than was asked for; settings without effect here are listed, to be warned of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::core::audit::DeviceConfig;
use crate::core::lockout::{ByKind, Limits};
use crate::core::mount::Times;
use crate::hcl::{self, Body, Value};
use crate::http::Opened;
use crate::logical::parse_seconds;

mod storage;

pub use storage::{Migration, Storage, parse_migration};

/// 768 h, as the peer has it.
const TTL: i64 = 768 * 3600;

/// A configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it keeps things.
    pub storage: Storage,
    /// What opens it.
    pub seals: Vec<Seal>,
    /// Where it writes what is done.
    pub audit: Vec<DeviceConfig>,
    /// When names are locked out.
    pub lockouts: ByKind,
    /// How long things live where nobody says.
    pub times: Times,
    /// The cluster's name.
    pub cluster_name: String,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// Settings that have no effect.
    pub ignored: Vec<String>,
}

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
}

/// What opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// A key in the configuration: its id and where it is (`file://PATH`, `env://NAME`), and those of the one before it.
    Static {
        /// Its id.
        id: String,
        /// Where it is.
        key: String,
        /// The same of the one before it.
        previous: Option<(String, String)>,
    },
    /// Vault's transit engine: `address/v1/mount/keys/key`.
    Transit(String),
    /// A key of AWS KMS, by its ARN.
    AwsKms(String),
    /// A key file of bulla's.
    Local(PathBuf),
}

/// Reads a configuration.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn parse(text: &str) -> Result<Config, String> {
    let body = hcl::parse(text).map_err(|error| format!("the configuration cannot be read: {error}"))?;
    let mut config = Config {
        listeners: Vec::new(),
        storage: Storage::Memory,
        seals: Vec::new(),
        audit: Vec::new(),
        lockouts: ByKind::default(),
        times: Times { default_ttl: TTL, max_ttl: TTL },
        cluster_name: String::new(),
        pid_file: None,
        ignored: Vec::new(),
    };
    let mut storage = None;
    for item in &body.items {
        let keys: Vec<&str> = item.keys.iter().map(String::as_str).collect();
        match (keys.as_slice(), &item.value) {
            (["listener", kind], Value::Body(inner)) => {
                config.listeners.push(listener(kind, inner, &mut config.ignored)?);
            }
            (["storage" | "backend", kind], Value::Body(inner)) if storage.is_none() => {
                storage = Some(storage::read(kind, inner, &mut config.ignored)?);
            }
            (["storage" | "backend", _], _) => return Err("there are two storages; a server has one".to_owned()),
            (["seal", kind], Value::Body(inner)) => {
                config.seals.extend(seal(kind, inner, &mut config.ignored)?);
            }
            (["audit", kind, path], Value::Body(inner)) => {
                config.audit.push(audit(kind, path, inner, &mut config.ignored)?);
            }
            (["audit", kind], Value::Body(inner)) => {
                config.audit.push(audit(kind, kind, inner, &mut config.ignored)?);
            }
            (["user_lockout", kind], Value::Body(inner)) => {
                let limits = user_lockout(kind, inner, &mut config.ignored)?;
                config.lockouts.0.insert(kind.to_lowercase(), limits);
            }
            (["default_lease_ttl"], value) => config.times.default_ttl = seconds("default_lease_ttl", value)?,
            (["max_lease_ttl"], value) => config.times.max_ttl = seconds("max_lease_ttl", value)?,
            (["cluster_name"], value) => config.cluster_name = value.text().unwrap_or_default(),
            (["pid_file"], value) => config.pid_file = value.text().map(PathBuf::from),
            (["ha_storage", ..], _) => {
                return Err("ha_storage is not supported: this server is one process on one storage".to_owned());
            }
            ([name, ..], _) => config.ignored.push((*name).to_owned()),
            ([], _) => {}
        }
    }
    config.storage = storage.ok_or("there is no storage: write storage \"embedded\" { path = \"/var/lib/bulla\" }")?;
    if config.listeners.is_empty() {
        return Err("there is no listener: write listener \"tcp\" { address = \"127.0.0.1:8200\" … }".to_owned());
    }
    if config.times.default_ttl > config.times.max_ttl {
        return Err("default_lease_ttl is more than max_lease_ttl".to_owned());
    }
    Ok(config)
}

fn text(body: &Body, key: &str) -> Option<String> {
    body.value(key).and_then(Value::text).filter(|text| !text.is_empty())
}

fn is_on(body: &Body, key: &str) -> Result<bool, String> {
    match text(body, key).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(format!("{key} is true or false")),
    }
}

fn seconds(name: &str, value: &Value) -> Result<i64, String> {
    let seconds = value.text().ok_or(()).and_then(|text| parse_seconds(&text).map_err(drop));
    seconds.ok().filter(|seconds| *seconds > 0).ok_or_else(|| format!("{name} is a duration, like \"768h\""))
}

/// Notes the settings of a block that are none of `known`.
///
/// # Errors
/// For one that is about TLS or a limit: somebody relies on it.
fn note_unknown(block: &str, body: &Body, known: &[&str], ignored: &mut Vec<String>) -> Result<(), String> {
    for name in body.items.iter().map(|item| item.keys.join(" ")) {
        if known.contains(&name.as_str()) {
            continue;
        }
        if name.starts_with("tls_") || name.starts_with("max_") || name.contains("limit") {
            return Err(format!(
                "{block}: {name} is not supported by this server, and to ignore it could be less safe than it looks; take it out, or spell it right"
            ));
        }
        ignored.push(format!("{block}: {name}"));
    }
    Ok(())
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
];

fn listener(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Listener, String> {
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
    Ok(Listener { address, tls, insecure, opened })
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

/// What a block does not say is as the peer has it; `all` is not looked at for it.
fn user_lockout(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Limits, String> {
    let block = format!("user_lockout {kind:?}");
    if !ByKind::KINDS.contains(&kind.to_lowercase().as_str()) && !matches!(kind, "all" | "ldap") {
        return Err(format!("{block}: no method of this kind locks out; \"all\", \"approle\" and \"userpass\" do"));
    }
    let known = &["lockout_threshold", "lockout_duration", "lockout_counter_reset", "disable_lockout"];
    note_unknown(&block, body, known, ignored)?;
    if is_on(body, "disable_lockout")? {
        return Ok(Limits::OFF);
    }
    let mut limits = Limits::default();
    if let Some(text) = text(body, "lockout_threshold") {
        let threshold = text.parse::<u64>().ok().filter(|threshold| *threshold > 0);
        limits.threshold = threshold
            .ok_or_else(|| format!("{block}: lockout_threshold is a number from 1; disable_lockout turns it off"))?;
    }
    let duration = |key: &str, otherwise| match body.value(key) {
        None => Ok(otherwise),
        Some(value) => seconds(&format!("{block}: {key}"), value)
            .map(|seconds| std::time::Duration::from_secs(seconds.unsigned_abs())),
    };
    limits.duration = duration("lockout_duration", limits.duration)?;
    limits.reset = duration("lockout_counter_reset", limits.reset)?;
    Ok(limits)
}

/// None for a seal that is off, and for people's shares.
fn seal(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Option<Seal>, String> {
    if is_on(body, "disabled")? {
        return Ok(None);
    }
    let need = |key: &str| text(body, key).ok_or_else(|| format!("seal {kind:?} needs {key}"));
    let known: &[&str] = match kind {
        "static" => &["disabled", "current_key_id", "current_key", "previous_key_id", "previous_key"],
        "transit" => &["disabled", "address", "mount_path", "key_name"],
        "awskms" => &["disabled", "kms_key_id"],
        "local" => &["disabled", "path"],
        _ => &["disabled"],
    };
    let unknown = note_unknown(&format!("seal {kind:?}"), body, known, ignored);
    let seal = match kind {
        "shamir" => return unknown.map(|()| None),
        "static" => Seal::Static {
            id: need("current_key_id")?,
            key: need("current_key")?,
            previous: text(body, "previous_key_id").zip(text(body, "previous_key")),
        },
        "transit" => {
            let address = need("address")?;
            let mount = text(body, "mount_path").unwrap_or_else(|| "transit".to_owned());
            Seal::Transit(format!(
                "{}/v1/{}/keys/{}",
                address.trim_end_matches('/'),
                mount.trim_matches('/'),
                need("key_name")?
            ))
        }
        "awskms" => Seal::AwsKms(need("kms_key_id")?),
        "local" => Seal::Local(need("path")?.into()),
        other => {
            return Err(format!(
                "seal {other:?} is not supported; \"shamir\", \"static\", \"transit\", \"awskms\" and \"local\" are"
            ));
        }
    };
    unknown.map(|()| Some(seal))
}

fn audit(kind: &str, path: &str, body: &Body, ignored: &mut Vec<String>) -> Result<DeviceConfig, String> {
    note_unknown(&format!("audit {path:?}"), body, &["options", "description"], ignored)?;
    let mut options = BTreeMap::new();
    for item in body.all("options") {
        let Value::Body(inner) = &item.value else { return Err(format!("audit {path:?}: options is a block")) };
        for option in &inner.items {
            let ([name], Some(text)) = (option.keys.as_slice(), option.value.text()) else {
                return Err(format!("audit {path:?}: each option is a text"));
            };
            options.insert(name.clone(), text);
        }
    }
    let path = format!("{}/", path.trim_matches('/'));
    Ok(DeviceConfig {
        path,
        kind: kind.to_owned(),
        description: text(body, "description").unwrap_or_default(),
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_the_peer_is_read() {
        let config = parse(
            r#"
            ui = true
            listener "tcp" { address = "0.0.0.0:8200" tls_cert_file = "/c" tls_key_file = "/k" }
            storage "embedded" { path = "/var/lib/bulla" }
            seal "static" { current_key_id = "1" current_key = "file:///key" }
            audit "file" "main" { description = "d" options { file_path = "stdout" log_raw = false } }
            max_lease_ttl = "24h"
            default_lease_ttl = 3600
            "#,
        )
        .unwrap();
        assert_eq!(config.storage, Storage::Embedded("/var/lib/bulla".into()));
        assert_eq!(config.listeners[0].tls, Some(("/c".into(), "/k".into())));
        assert_eq!((config.times.default_ttl, config.times.max_ttl), (3600, 86_400));
        assert_eq!(config.audit[0].path, "main/");
        assert_eq!(config.audit[0].options["log_raw"], "false");
        assert_eq!(config.ignored, ["ui"]);
        let json = r#"{"listener":{"tcp":{"address":"127.0.0.1:1","tls_disable":"true"}},"storage":{"inmem":{}}}"#;
        let config = parse(json).unwrap();
        assert_eq!(config.storage, Storage::Memory);
        assert!(config.listeners[0].tls.is_none());
    }

    #[test]
    fn what_everybody_may_ask_is_opened_by_a_listener_that_says_so() {
        let of = |settings: &str| {
            let text = format!("listener \"tcp\" {{ tls_disable = true\n{settings} }}\nstorage \"inmem\" {{}}");
            parse(&text).map(|config| config.listeners[0].opened)
        };
        assert_eq!(of(""), Ok(Opened::default()));
        assert_eq!(of("disable_unauthed_rekey_endpoints = true"), Ok(Opened::default()));
        let opened =
            of("disable_unauthed_rekey_endpoints = false\ndisable_unauthed_generate_root_endpoints = \"false\"");
        assert_eq!(opened, Ok(Opened { generate_root: true, rekey: true, metrics: false }));
        let opened = of("telemetry { unauthenticated_metrics_access = true }");
        assert_eq!(opened, Ok(Opened { metrics: true, ..Opened::default() }));
        assert!(of("telemetry { unauthenticated_metrics_access = \"perhaps\" }").is_err());
        assert!(of("disable_unauthed_rekey_endpoints = \"no\"").is_err());
    }

    #[test]
    fn who_is_locked_out_when_is_configured_by_method() {
        let of = |block: &str| {
            let listener = "listener \"tcp\" { tls_disable = true }\nstorage \"inmem\" {}\n";
            parse(&format!("{listener}{block}")).map(|config| config.lockouts)
        };
        let lockouts = of(
            "user_lockout \"all\" { lockout_threshold = \"3\" lockout_duration = \"10m\" }\nuser_lockout \"approle\" { disable_lockout = true }",
        )
        .unwrap();
        let limits = lockouts.of("userpass");
        assert_eq!((limits.threshold, limits.duration.as_secs(), limits.reset.as_secs()), (3, 600, 900));
        assert_eq!(lockouts.of("approle"), Limits::OFF);
        for bad in [
            "user_lockout \"jwt\" {}",
            "user_lockout \"all\" { lockout_threshold = 0 }",
            "user_lockout \"all\" { lockout_limit = 1 }",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_there_names_what_is() {
        let listener = "listener \"tcp\" { tls_disable = true }\n";
        for (text, expected) in [
            ("storage \"raft\" { path = \"x\" }", "storage \"embedded\""),
            ("storage \"mysql\" {}", "not supported yet"),
            ("storage \"postgresql\" { ha_enabled = true }", "ha_enabled"),
            ("storage \"postgresql\" { max_parallel = 2 }", "max_parallel"),
            ("storage \"postgresql\" { table = \"a b\" }", "NAME"),
            ("storage \"inmem\" {}\nseal \"pkcs11\" {}", "\"transit\""),
            ("", "there is no storage"),
            ("storage \"inmem\" {}\nha_storage \"consul\" {}", "ha_storage"),
            ("storage \"inmem\" {}\nmax_lease_ttl = \"x\"", "max_lease_ttl is a duration"),
        ] {
            let error = parse(&format!("{listener}{text}")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(parse("storage \"inmem\" {}\nlistener \"tcp\" {}").unwrap_err().contains("tls_cert_file"));
    }

    #[test]
    fn a_setting_that_nobody_knows_is_an_error_where_somebody_may_rely_on_it() {
        let of = |listener: &str, rest: &str| {
            parse(&format!("listener \"tcp\" {{ tls_disable = true\n{listener} }}\nstorage \"inmem\" {{ {rest} }}"))
        };
        for bad in [
            "tls_cert_flie = \"x\"",
            "tls_min_version = \"tls13\"",
            "max_request_size = 10",
            "tls_client_ca_file = \"x\"",
        ] {
            assert!(of(bad, "").unwrap_err().contains("not supported"), "{bad}");
        }
        assert!(of("tls_min_version = \"tls12\"", "").unwrap().ignored.is_empty());
        let config = of("proxy_protocol_behavior = \"x\"", "pat = 1").unwrap();
        assert_eq!(config.ignored, ["listener 127.0.0.1:8200: proxy_protocol_behavior", "storage \"inmem\": pat"]);
    }

    #[test]
    fn plain_http_stays_on_the_machine_unless_somebody_says_so() {
        let listener = |address: &str, insecure| Listener {
            address: address.to_owned(),
            tls: None,
            insecure,
            opened: Opened::default(),
        };
        assert!(listener("127.0.0.1:8200", false).check().is_ok());
        assert!(listener("[::1]:8200", false).check().is_ok());
        assert!(listener("[::1]:8200", true).warning().is_none());
        for address in ["0.0.0.0:8200", "[::]:8200", "10.0.0.1:8200", "vault:8200", ":8200"] {
            assert!(listener(address, false).check().is_err(), "{address}");
            assert!(listener(address, true).check().is_ok());
            assert!(listener(address, true).warning().is_some_and(|text| text.contains("WITHOUT TLS")), "{address}");
        }
    }
}
