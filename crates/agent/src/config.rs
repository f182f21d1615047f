//! The agent's configuration: Vault Agent's, in HCL or JSON.
//!
//! What the peer refuses is refused, with its words where people search for them. What has no effect here is noted, for a warning.

mod auto_auth;
mod exec;
mod fields;
mod listener;
mod log;
mod notes;
mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bulla_core::Env;
use bulla_core::hcl::{self, Body};
use bulla_kms::vault_http::Idle;

use self::fields::Fields;

pub use auto_auth::{AutoAuth, CertFiles, Method, MethodKind, SinkConfig};
pub use exec::{ExecConfig, Restart};
pub use listener::{ListenerConfig, Place, SocketAccess};
pub use log::{LogConfig, LogFormat, check_level};
pub use template::{CommandLine, FailureMeans, TemplateConfig, TemplateSource};

/// How often a request for a template is repeated, where nobody says.
const RETRIES: u32 = 12;
/// The longest a template's secret without a lease is left as it is, where nobody says.
const STATIC_INTERVAL: Duration = Duration::from_mins(5);
/// How many requests for templates there are at once, where nobody says.
const CONNECTIONS: usize = 10;
/// The part of a lease that passes before a secret that cannot be renewed is read again, where nobody says.
const THRESHOLD: f64 = 0.9;

/// All of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server.
    pub vault: Vault,
    /// How to log in, and where the token goes.
    pub auto_auth: Option<AutoAuth>,
    /// Files to render.
    pub templates: Vec<TemplateConfig>,
    /// How templates are rendered.
    pub rendering: Rendering,
    /// Variables to render, by name, for [`exec`](Self::exec).
    pub env_templates: Vec<(String, TemplateConfig)>,
    /// A program to run with them.
    pub exec: Option<ExecConfig>,
    /// Where requests are taken to be passed on.
    pub listeners: Vec<ListenerConfig>,
    /// Which of them get the agent's token.
    pub proxy_token: ProxyToken,
    /// Whether to end once the token is written and everything is rendered.
    pub exit_after_auth: bool,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// How it is logged.
    pub log: LogConfig,
    /// What has no effect, for warnings.
    pub notes: Vec<String>,
}

/// The server, and how it is spoken with. The environment, and flags before it, go before what stands here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vault {
    /// Its address.
    pub address: Option<String>,
    /// A PEM file of authorities.
    pub ca_cert: Option<String>,
    /// A folder of such files.
    pub ca_path: Option<String>,
    /// A PEM file with our certificate.
    pub client_cert: Option<String>,
    /// A PEM file with its key.
    pub client_key: Option<String>,
    /// Whether to believe any certificate.
    pub tls_skip_verify: Option<bool>,
    /// The name in the server's certificate.
    pub tls_server_name: Option<String>,
    /// The namespace, of the server or the method.
    pub namespace: Option<String>,
    /// How often a request for a template is repeated.
    pub retries: Option<u32>,
    /// What becomes of connections to it that nobody uses.
    pub idle: KeepAlive,
}

/// What becomes of connections to the server that nobody uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// Those for logging in and templates.
    pub own: Idle,
    /// Those for others' requests.
    pub proxied: Idle,
}

impl Vault {
    /// How often a request for a template is repeated.
    pub(crate) fn retries(&self) -> u32 {
        self.retries.unwrap_or(RETRIES)
    }
}

/// How templates are rendered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rendering {
    /// Whether a template that cannot be rendered ends the agent.
    pub exit_on_retry_failure: bool,
    /// After how long a secret without a lease is read again.
    pub static_interval: Duration,
    /// How many requests for templates there are at once.
    pub connections: usize,
    /// Which part of a lease that cannot be renewed passes before the secret is read again.
    pub lease_threshold: f64,
}

/// Which requests that are passed on get the agent's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyToken {
    /// None: they have their own, or none.
    Never,
    /// Those without one.
    IfMissing,
    /// All, whatever token they have.
    Always,
}

/// Reads files, or the `.hcl` and `.json` files of folders. Later ones go before earlier ones, and some variables before all.
///
/// # Errors
/// Which file cannot be used, and why.
pub fn load(paths: &[PathBuf], env: &dyn Env) -> Result<Config, String> {
    let mut raw = Raw::default();
    for path in paths {
        for file in files(path)? {
            let text = read(&file)?;
            raw.add(&text).map_err(|why| format!("error loading configuration from {}: {why}", file.display()))?;
        }
    }
    for (setting, name) in [
        ("disable_idle_connections", "AGENT_DISABLE_IDLE_CONNECTIONS"),
        ("disable_keep_alives", "AGENT_DISABLE_KEEP_ALIVES"),
    ] {
        if let Some(text) = env.vault_text(name) {
            raw.idle.close(setting, text.to_lowercase().split(',').map(str::trim))?;
        }
    }
    raw.finish()
}

/// Reads a text.
///
/// # Errors
/// What is wrong in it.
pub fn parse(text: &str) -> Result<Config, String> {
    let mut raw = Raw::default();
    raw.add(text)?;
    raw.finish()
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<String>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("error loading configuration from {}: {why}", path.display());
    let bytes = bulla_core::file::read(path, 1 << 20).map_err(|error| failed(&error))?;
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| failed(&"not UTF-8"))?;
    Ok(text.to_owned().into())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |why: std::io::Error| format!("error loading configuration from {}: {why}", path.display());
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_one = file.extension().is_some_and(|end| end == "hcl" || end == "json");
        // Not what editors leave.
        if file.is_file() && is_one && !name.starts_with(".#") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What stands in the files, before it is looked at as a whole.
#[derive(Default)]
struct Raw {
    vault: Option<Vault>,
    auto_auth: Option<AutoAuth>,
    templates: Vec<TemplateConfig>,
    rendering: Option<Rendering>,
    env_templates: Vec<(String, TemplateConfig)>,
    exec: Option<ExecConfig>,
    listeners: Vec<ListenerConfig>,
    has_proxy: bool,
    /// What the block `api_proxy` says of tokens.
    proxy_token: Option<ProxyToken>,
    has_cache: bool,
    /// What the block `cache` says of tokens.
    cache_token: Option<ProxyToken>,
    exit_after_auth: bool,
    pid_file: Option<PathBuf>,
    idle: KeepAlive,
    log: LogConfig,
    notes: Vec<String>,
}

impl KeepAlive {
    /// Takes the peer's names of what is to keep none.
    fn close<'a>(&mut self, setting: &str, names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        for name in names {
            match name {
                "auto-auth" | "templating" => self.own = Idle::Closed,
                "caching" | "proxying" => self.proxied = Idle::Closed,
                "" => {}
                other => return Err(format!("unknown {setting} value: {other}")),
            }
        }
        Ok(())
    }
}

impl Raw {
    fn add(&mut self, text: &str) -> Result<(), String> {
        let body = hcl::parse(text).map_err(|error| error.to_string())?;
        let notes = &mut self.notes;
        let mut root = Fields::new(notes::TOP, &body);
        if let Some(block) = root.block("vault")? {
            self.vault = Some(vault(&block, notes)?);
        }
        if let Some(block) = root.block("auto_auth")? {
            self.auto_auth =
                Some(auto_auth::read(&block, notes).map_err(|why| format!("error parsing 'auto_auth': {why}"))?);
        }
        if let Some(block) = root.block("template_config")? {
            self.rendering = Some(rendering(&block, notes)?);
        }
        self.exit_after_auth |= root.truth("exit_after_auth")?.unwrap_or(false);
        self.pid_file = root.text("pid_file")?.map(PathBuf::from).or(self.pid_file.take());
        if let Some(block) = root.block("api_proxy")? {
            let mut fields = Fields::new("api_proxy", &block);
            self.has_proxy = true;
            self.proxy_token = use_token(&mut fields)?;
            fields.note_unknown(notes);
        }
        if let Some(block) = root.block("cache")? {
            let mut fields = Fields::new("cache", &block);
            self.has_cache = true;
            self.cache_token = use_token(&mut fields)?;
            notes::of_cache(&fields, notes);
        }
        for setting in ["disable_idle_connections", "disable_keep_alives"] {
            let names = root.texts(setting)?.unwrap_or_default();
            self.idle.close(setting, names.iter().map(String::as_str))?;
        }
        self.log.add(&mut root)?;
        if let Some(block) = root.block("exec")? {
            self.exec = Some(exec::read(&block)?);
        }
        self.templates.extend(template::read_all(&body, notes)?);
        self.env_templates.extend(template::read_variables(&body)?);
        self.listeners.extend(listener::read_all(&body, notes)?);
        root.read_elsewhere(&["template", "env_template", "listener"]);
        root.note_unknown(notes);
        Ok(())
    }

    fn finish(mut self) -> Result<Config, String> {
        let proxy_token = match (self.proxy_token, self.cache_token) {
            (Some(_), Some(_)) => {
                return Err("use_auto_auth_token defined in both api_proxy and cache config. Please remove this configuration from the cache block".to_owned());
            }
            (said, from_cache) => said.or(from_cache).unwrap_or(ProxyToken::Never),
        };
        let wraps = self.auto_auth.as_ref().is_some_and(|auth| auth.method.wrap_ttl.is_some());
        if self.has_proxy && self.listeners.is_empty() {
            return Err("configuring the api_proxy requires at least 1 listener to be defined".to_owned());
        }
        if self.has_cache && self.listeners.is_empty() && self.templates.is_empty() && self.env_templates.is_empty() {
            return Err("enabling the cache requires at least 1 template or 1 listener to be defined".to_owned());
        }
        if proxy_token != ProxyToken::Never {
            if self.auto_auth.is_none() {
                return Err("api_proxy.use_auto_auth_token is true but auto_auth not configured".to_owned());
            }
            if wraps {
                return Err("api_proxy.use_auto_auth_token is true and auto_auth uses wrapping".to_owned());
            }
        }
        match &self.auto_auth {
            Some(auth)
                if auth.sinks.is_empty()
                    && proxy_token == ProxyToken::Never
                    && self.templates.is_empty()
                    && self.env_templates.is_empty() =>
            {
                return Err("auto_auth requires at least one sink or at least one template or api_proxy.use_auto_auth_token=true".to_owned());
            }
            None if self.listeners.is_empty() => {
                return Err("no auto_auth, cache, or listener block found in config".to_owned());
            }
            None if !self.templates.is_empty() || !self.env_templates.is_empty() => {
                // The peer starts, and renders nothing for ever.
                return Err("templates need a token: there is no auto_auth".to_owned());
            }
            Some(_) if wraps && !(self.templates.is_empty() && self.env_templates.is_empty()) => {
                // The peer asks with the wrapping token, and is refused for ever.
                return Err("templates cannot use a token that auto_auth wraps".to_owned());
            }
            _ => {}
        }
        exec::check(self.exec.as_ref(), &self.env_templates, self.has_proxy, !self.templates.is_empty())?;
        let mut vault = self.vault.unwrap_or_default();
        vault.idle = self.idle;
        match self.auto_auth.as_mut().and_then(|auth| auth.method.namespace.take()) {
            Some(of_method) if vault.namespace.as_ref().is_some_and(|of_server| *of_server != of_method) => {
                return Err(
                    "vault.namespace and auto_auth.method.namespace are different: there is one for all requests"
                        .to_owned(),
                );
            }
            of_method => vault.namespace = of_method.or(vault.namespace),
        }
        Ok(Config {
            vault,
            auto_auth: self.auto_auth,
            templates: self.templates,
            rendering: self.rendering.unwrap_or(DEFAULT_RENDERING),
            env_templates: self.env_templates,
            exec: self.exec,
            listeners: self.listeners,
            proxy_token,
            exit_after_auth: self.exit_after_auth,
            pid_file: self.pid_file,
            log: self.log,
            notes: self.notes,
        })
    }
}

const DEFAULT_RENDERING: Rendering = Rendering {
    exit_on_retry_failure: false,
    static_interval: STATIC_INTERVAL,
    connections: CONNECTIONS,
    lease_threshold: THRESHOLD,
};

fn vault(body: &Body, notes: &mut Vec<String>) -> Result<Vault, String> {
    let mut fields = Fields::new("vault", body);
    let retries = match fields.block("retry")? {
        None => None,
        Some(block) => {
            let mut retry = Fields::new("vault.retry", &block);
            // 0 is the default, and -1 none, as the peer has it.
            let retries = match retry.number("num_retries")? {
                None | Some(0) => None,
                Some(-1) => Some(0),
                Some(number) => Some(u32::try_from(number).map_err(|_| retry.wrong("num_retries is too small"))?),
            };
            retry.note_unknown(notes);
            retries
        }
    };
    let vault = Vault {
        address: fields.text("address")?,
        ca_cert: fields.text("ca_cert")?,
        ca_path: fields.text("ca_path")?,
        client_cert: fields.text("client_cert")?,
        client_key: fields.text("client_key")?,
        tls_skip_verify: fields.truth("tls_skip_verify")?,
        tls_server_name: fields.text("tls_server_name")?,
        namespace: fields
            .text("namespace")?
            .map(|name| name.trim_matches('/').to_owned())
            .filter(|name| !name.is_empty()),
        retries,
        idle: KeepAlive::default(),
    };
    fields.note_unknown(notes);
    Ok(vault)
}

fn rendering(body: &Body, notes: &mut Vec<String>) -> Result<Rendering, String> {
    let mut fields = Fields::new("template_config", body);
    let threshold = fields.text("lease_renewal_threshold")?.map(|text| text.parse::<f64>());
    let lease_threshold = match threshold {
        None => THRESHOLD,
        Some(Ok(part)) if part > 0.0 && part < 1.0 => part,
        Some(_) => return Err(fields.wrong("lease_renewal_threshold is a number between 0 and 1")),
    };
    let connections = match fields.number("max_connections_per_host")? {
        None | Some(0) => CONNECTIONS,
        Some(number) => usize::try_from(number).map_err(|_| fields.wrong("max_connections_per_host is too small"))?,
    };
    let rendering = Rendering {
        exit_on_retry_failure: fields.truth("exit_on_retry_failure")?.unwrap_or(false),
        static_interval: fields
            .duration("static_secret_render_interval")?
            .filter(|interval| !interval.is_zero())
            .unwrap_or(STATIC_INTERVAL),
        connections,
        lease_threshold,
    };
    fields.note_unknown(notes);
    Ok(rendering)
}

fn use_token(fields: &mut Fields<'_>) -> Result<Option<ProxyToken>, String> {
    let force = fields.text("use_auto_auth_token")?.is_some_and(|text| text.eq_ignore_ascii_case("force"));
    if force {
        return Ok(Some(ProxyToken::Always));
    }
    let on = fields.truth("use_auto_auth_token").map_err(|_| {
        fields.wrong("value of 'use_auto_auth_token' can be either true/false/force, it is something else")
    })?;
    Ok(on.map(|on| if on { ProxyToken::IfMissing } else { ProxyToken::Never }))
}

#[cfg(test)]
mod tests;
