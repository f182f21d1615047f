//! `auto_auth`: how to log in, and where the token goes.

use std::path::PathBuf;
use std::time::Duration;

use bulla_core::hcl::Body;

use super::fields::{Fields, labelled};

/// How to log in, and where the token goes.
#[derive(Clone, Debug)]
pub struct AutoAuth {
    /// How to log in.
    pub method: Method,
    /// Where the token goes.
    pub sinks: Vec<SinkConfig>,
}

/// How to log in.
#[derive(Clone, Debug)]
pub struct Method {
    /// With what.
    pub kind: MethodKind,
    /// Where the method is mounted: `auth/approle`.
    pub mount: String,
    /// How long the token is to be wrapped, if it is.
    pub wrap_ttl: Option<Duration>,
    /// The wait after the first failure.
    pub min_backoff: Duration,
    /// The longest wait after failures.
    pub max_backoff: Duration,
    /// Whether a failure ends the agent.
    pub exit_on_err: bool,
    /// The namespace to log in to.
    pub namespace: Option<String>,
}

/// With what to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// A role's id and its secret.
    AppRole {
        /// The file with the id.
        role_id: PathBuf,
        /// The file with the secret, if the role needs one.
        secret_id: Option<PathBuf>,
        /// Whether that file is removed once it is read.
        remove_secret_id: bool,
        /// The path that a wrapped secret must come from; without one it is not wrapped.
        wrapping_path: Option<String>,
    },
    /// The token of a Kubernetes service account.
    Kubernetes {
        /// The role.
        role: String,
        /// The file with the token.
        token: PathBuf,
    },
    /// A signed token.
    Jwt {
        /// The role.
        role: String,
        /// The file with the token.
        path: PathBuf,
        /// Whether the file is removed once it is read.
        remove: bool,
        /// Whether, where the file is a link, that means what the link leads to.
        remove_target: bool,
    },
    /// The certificate of a client.
    Cert {
        /// The role; without one the server looks for it.
        name: Option<String>,
        /// The certificate, its key and whom to believe, if not those for all requests.
        files: CertFiles,
    },
    /// A token that is there.
    TokenFile {
        /// The file with it.
        path: PathBuf,
    },
}

impl MethodKind {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AppRole { .. } => "approle",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Jwt { .. } => "jwt",
            Self::Cert { .. } => "cert",
            Self::TokenFile { .. } => "token_file",
        }
    }
}

/// Files for logins alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertFiles {
    /// A PEM file of authorities.
    pub ca_cert: Option<String>,
    /// A PEM file with our certificate.
    pub client_cert: Option<String>,
    /// A PEM file with its key.
    pub client_key: Option<String>,
}

/// A file that the token is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkConfig {
    /// The file.
    pub path: PathBuf,
    /// Its mode, less the umask.
    pub mode: u32,
    /// Its owner, if not ourselves.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
    /// How long the token is wrapped, if it is.
    pub wrap_ttl: Option<Duration>,
}

const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// Where Kubernetes puts the token of a pod's service account.
const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

pub(super) fn read(body: &Body, notes: &mut Vec<String>) -> Result<AutoAuth, String> {
    let method = match labelled(body, "method")?.as_slice() {
        [] => return Err("no 'method' block found".to_owned()),
        [one] => method(one.label.as_deref(), &one.body, notes)?,
        _ => return Err("error parsing 'method': one and only one \"method\" block is required".to_owned()),
    };
    let mut sinks = Vec::new();
    if body.items.iter().any(|item| item.keys.first().is_some_and(|name| name == "sinks")) {
        // The peer reads none from it; that nobody gets a token nobody would notice.
        return Err("sinks is not read: write each as sink \"file\" { … }".to_owned());
    }
    for block in labelled(body, "sink")? {
        sinks.push(sink(block.label.as_deref(), &block.body, notes)?);
    }
    if method.wrap_ttl.is_some() {
        match sinks.as_slice() {
            [one] if one.wrap_ttl.is_none() => {}
            [_] => return Err("wrapping enabled both on auth method and sink".to_owned()),
            _ => return Err("wrapping enabled on auth method and 0 or many sinks defined".to_owned()),
        }
    }
    let mut fields = Fields::new("auto_auth", body);
    fields.read_elsewhere(&["method", "sink"]);
    fields.note_unknown(notes);
    Ok(AutoAuth { method, sinks })
}

fn method(label: Option<&str>, body: &Body, notes: &mut Vec<String>) -> Result<Method, String> {
    let mut fields = Fields::new("auto_auth.method", body);
    let kind = fields.text("type")?.filter(|kind| !kind.is_empty()).or(label.map(str::to_lowercase));
    let kind = kind.ok_or("error parsing 'method': method type must be specified")?;
    let block = fields.block("config")?.unwrap_or_default();
    let mut config = Fields::new(format!("auto_auth.method.{kind}"), &block);
    let read = match kind.as_str() {
        "approle" => approle(&mut config)?,
        "kubernetes" => MethodKind::Kubernetes {
            role: config.needed("role")?,
            token: config.text("token_path")?.map_or_else(|| SERVICE_ACCOUNT_TOKEN.into(), PathBuf::from),
        },
        "jwt" => {
            // How often the file is looked at. It is read when the token ends, whatever this says: nothing else would come of it.
            let _ = config.duration("jwt_read_period")?;
            MethodKind::Jwt {
                role: config.needed("role")?,
                path: config.needed("path")?.into(),
                remove: config.truth("remove_jwt_after_reading")?.unwrap_or(true),
                remove_target: config.truth("remove_jwt_follows_symlinks")?.unwrap_or(false),
            }
        }
        "cert" => {
            let mut file = |name: &'static str| Ok::<_, String>(config.text(name)?.filter(|path| !path.is_empty()));
            let (client_cert, client_key) = (file("client_cert")?, file("client_key")?);
            let (ca_cert, name) = (file("ca_cert")?, file("name")?);
            if client_cert.is_some() != client_key.is_some() {
                return Err(config.wrong("client_cert and client_key are specified together"));
            }
            // They are read again when they change, whatever this says.
            let _ = config.truth("reload")?;
            MethodKind::Cert { name, files: CertFiles { ca_cert, client_cert, client_key } }
        }
        "token_file" => MethodKind::TokenFile { path: config.needed("token_file_path")?.into() },
        other => {
            return Err(format!(
                "Unknown auth method {other:?}; there are approle, cert, jwt, kubernetes and token_file"
            ));
        }
    };
    config.note_unknown(notes);
    let mount = fields.text("mount_path")?.filter(|path| !path.is_empty()).unwrap_or_else(|| format!("auth/{kind}"));
    let method = Method {
        kind: read,
        mount: mount.trim_matches('/').to_owned(),
        wrap_ttl: fields.duration("wrap_ttl")?.filter(|ttl| !ttl.is_zero()),
        min_backoff: fields.duration("min_backoff")?.filter(|wait| !wait.is_zero()).unwrap_or(MIN_BACKOFF),
        max_backoff: fields.duration("max_backoff")?.filter(|wait| !wait.is_zero()).unwrap_or(MAX_BACKOFF),
        exit_on_err: fields.truth("exit_on_err")?.unwrap_or(false),
        namespace: fields.text("namespace")?.filter(|name| !name.is_empty()),
    };
    if method.min_backoff >= method.max_backoff {
        return Err("auth handler: min_backoff cannot be greater than max_backoff".to_owned());
    }
    fields.note_unknown(notes);
    Ok(method)
}

fn approle(config: &mut Fields<'_>) -> Result<MethodKind, String> {
    let wrapping_path = config.text("secret_id_response_wrapping_path")?;
    if wrapping_path.as_deref() == Some("") {
        return Err(config.wrong("'secret_id_response_wrapping_path' value is empty"));
    }
    Ok(MethodKind::AppRole {
        role_id: config.needed("role_id_file_path")?.into(),
        secret_id: config.text("secret_id_file_path")?.filter(|path| !path.is_empty()).map(PathBuf::from),
        remove_secret_id: config.truth("remove_secret_id_file_after_reading")?.unwrap_or(true),
        wrapping_path,
    })
}

fn sink(label: Option<&str>, body: &Body, notes: &mut Vec<String>) -> Result<SinkConfig, String> {
    let mut fields = Fields::new("auto_auth.sink", body);
    let kind = fields.text("type")?.filter(|kind| !kind.is_empty()).or(label.map(str::to_lowercase));
    match kind.as_deref() {
        Some("file") => {}
        Some(other) => return Err(format!("Unknown sink type {other:?}; there is file")),
        None => return Err("error parsing 'sink' stanzas: sink type must be specified".to_owned()),
    }
    for name in ["dh_type", "dh_path", "aad", "aad_env_var", "derive_key"] {
        if body.value(name).is_some() {
            return Err(fields.wrong(format_args!(
                "{name}: tokens are not encrypted for a Diffie-Hellman key here; with wrap_ttl a token can be used once, and a theft shows"
            )));
        }
    }
    let block = fields.block("config")?.unwrap_or_default();
    let mut config = Fields::new("auto_auth.sink.file", &block);
    let path = config.text("path")?.filter(|path| !path.is_empty());
    let id = |number: Option<i64>| number.filter(|id| *id >= 0).and_then(|id| u32::try_from(id).ok());
    let sink = SinkConfig {
        path: path.ok_or("'path' not specified for file sink")?.into(),
        mode: config.mode("mode")?.unwrap_or(0o640),
        user: id(config.number("uid")?),
        group: id(config.number("gid")?),
        wrap_ttl: fields.duration("wrap_ttl")?.filter(|ttl| !ttl.is_zero()),
    };
    config.note_unknown(notes);
    fields.note_unknown(notes);
    Ok(sink)
}
