//! How the agent logs in: what is sent, and to which path.

mod approle;
mod jwt;

use std::path::Path;
use std::sync::Arc;

use bulla_core::{Env, SecretString, file};
use bulla_template::Value;

use crate::api::{self, Api, Call, Whose};
use crate::config::{CertFiles, Method, MethodKind, Vault};

/// The longest file with a token or a secret.
const LONGEST: u64 = 1 << 20;

/// A method, with what it remembers between two logins: files that were removed once they were read.
pub(crate) struct Login {
    method: Method,
    /// The server, with certificates for logins alone.
    own: Option<Arc<Api>>,
    remembered: Option<SecretString>,
    /// The wrapping token that what is remembered was in.
    unwrapped: Option<SecretString>,
    role_id: Option<SecretString>,
}

impl Login {
    /// With a connection for logins, if they have one of their own.
    pub(crate) fn new(method: Method, own: Option<Arc<Api>>) -> Self {
        Self { method, own, remembered: None, unwrapped: None, role_id: None }
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Logs in; the server's answer. What `token_file` has is looked up, and given in the same form.
    ///
    /// # Errors
    /// Why not, in words without a secret.
    pub(crate) async fn log_in(&mut self, api: &Api) -> Result<Value, String> {
        let body = match &self.method.kind {
            MethodKind::AppRole { role_id, secret_id, remove_secret_id, wrapping_path } => {
                let files = approle::Files { secret_id: secret_id.as_deref(), remove: *remove_secret_id };
                if let Some(role) = approle::role_id(role_id, self.role_id.is_some())? {
                    self.role_id = Some(role);
                }
                let role = self.role_id.as_ref().ok_or("there is no role id")?;
                let memory = (&mut self.remembered, &mut self.unwrapped);
                approle::body(&files, role, wrapping_path.as_deref(), memory, api).await?
            }
            MethodKind::Kubernetes { role, token } => {
                let token = read(token)?.ok_or_else(|| format!("{}: it is empty", token.display()))?;
                api::form(&[("jwt", token.expose()), ("role", role)])
            }
            MethodKind::Jwt { role, path, remove, remove_target } => {
                jwt::take(path, *remove, *remove_target, &mut self.remembered)?;
                let token = self.remembered.as_ref().ok_or_else(|| format!("{}: there is no token", path.display()))?;
                api::form(&[("jwt", token.expose()), ("role", role)])
            }
            MethodKind::Cert { name: Some(name), .. } => api::form(&[("name", name)]),
            MethodKind::Cert { name: None, .. } => api::form(&[]),
            MethodKind::TokenFile { path } => return token_file(path, &mut self.remembered, api).await,
        };
        let path = format!("{}/login", self.method.mount);
        let call = Call { wrap: self.method.wrap_ttl, ..Call::put(&path, body, None) };
        let api = self.own.as_deref().unwrap_or(api);
        api.ask(call).await.map_err(|error| format!("{path}: {error}"))
    }
}

/// The connection for logins, where their certificates are others than those of all requests.
///
/// # Errors
/// Files that cannot be used.
pub(crate) fn own_connection(
    method: &Method,
    vault: &Vault,
    flags: &Vault,
    env: &Arc<dyn Env>,
) -> Result<Option<Arc<Api>>, String> {
    let MethodKind::Cert { files, .. } = &method.kind else { return Ok(None) };
    if *files == CertFiles::default() {
        return Ok(None);
    }
    // What stands at the method goes before all.
    let mut flags = flags.clone();
    for (own, all) in [
        (&files.ca_cert, &mut flags.ca_cert),
        (&files.client_cert, &mut flags.client_cert),
        (&files.client_key, &mut flags.client_key),
    ] {
        if own.is_some() {
            all.clone_from(own);
        }
    }
    Api::new(vault, &flags, env, Whose::Own).map(|api| Some(Arc::new(api)))
}

async fn token_file(path: &Path, remembered: &mut Option<SecretString>, api: &Api) -> Result<Value, String> {
    match read(path) {
        Ok(Some(token)) => *remembered = Some(token),
        Ok(None) if remembered.is_some() => {
            tracing::warn!(path = %path.display(), "the file is empty: the token before is used");
        }
        Ok(None) => return Err(format!("{}: it is empty", path.display())),
        Err(error) if remembered.is_some() => tracing::warn!(error, "the token before is used"),
        Err(error) => return Err(error),
    }
    let lookup = Call::get("auth/token/lookup-self", remembered.as_ref());
    let answer = api.ask(lookup).await.map_err(|error| format!("{}: {error}", path.display()))?;
    let has_end = api::text_at(&answer, &["data", "expire_time"]).is_some();
    if has_end && api::number_at(&answer, &["data", "ttl"]).unwrap_or(0) == 0 {
        return Err(format!("{}: the token in it is over", path.display()));
    }
    let data = |key: &str| api::at(&answer, &["data", key]);
    let auth = Value::map([
        ("client_token".into(), data("id")),
        ("accessor".into(), data("accessor")),
        ("lease_duration".into(), data("ttl")),
        ("renewable".into(), data("renewable")),
    ]);
    Ok(Value::map([("auth".into(), auth)]))
}

/// A file's text without space around it; none if there is nothing in it.
fn read(path: &Path) -> Result<Option<SecretString>, String> {
    let bytes = file::read(path, LONGEST).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| format!("{}: it is not UTF-8", path.display()))?;
    let text = text.trim();
    Ok((!text.is_empty()).then(|| SecretString::from(text)))
}

fn is_there(path: &Path) -> bool {
    std::fs::metadata(path).is_ok()
}
