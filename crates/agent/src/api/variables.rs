//! What is said about the server: by flags, by the environment, by the configuration.

use std::ffi::OsString;
use std::path::PathBuf;

use bulla_core::Env;
use bulla_kms::vault_variable as variable;
use bulla_listen::FileState;

use crate::config::Vault;

/// The variables that `bulla_kms` reads: flags go before the environment, that before the configuration, as the peer has it. Ways to log in of our
/// own are hidden.
pub(super) struct Variables<'a> {
    pub(super) vault: &'a Vault,
    pub(super) flags: &'a Vault,
    pub(super) env: &'a dyn Env,
}

/// A file as it was; `None` if it could not be looked at.
pub(super) type Seen = (PathBuf, Option<FileState>);

impl Variables<'_> {
    /// The server's address.
    pub(super) fn address(&self) -> String {
        let address = self.setting("ADDR", |vault| vault.address.clone());
        let address = address.and_then(|address| address.into_string().ok());
        address.unwrap_or_else(|| "https://127.0.0.1:8200".to_owned())
    }

    /// The files with certificates and keys, as they are now.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let mut files: Vec<PathBuf> = [variable::CACERT, variable::CLIENT_CERT, variable::CLIENT_KEY]
            .iter()
            .filter_map(|name| self.path(name))
            .collect();
        if let Some(folder) = self.path(variable::CAPATH) {
            let inside = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            files.extend(inside.map(|entry| entry.path()));
            files.push(folder);
        }
        files.sort();
        files.into_iter().map(|path| (path.clone(), FileState::of(&path))).collect()
    }

    fn setting(&self, name: &str, of: impl Fn(&Vault) -> Option<String>) -> Option<OsString> {
        let text = |vault: &Vault| of(vault).filter(|text| !text.is_empty()).map(OsString::from);
        text(self.flags).or_else(|| self.env.vault_var(name)).or_else(|| text(self.vault))
    }
}

impl Env for Variables<'_> {
    fn var(&self, name: &str) -> Option<OsString> {
        let rest = name.strip_prefix("VAULT_");
        match name {
            variable::CACERT => self.setting("CACERT", |vault| vault.ca_cert.clone()),
            variable::CAPATH => self.setting("CAPATH", |vault| vault.ca_path.clone()),
            variable::CLIENT_CERT => self.setting("CLIENT_CERT", |vault| vault.client_cert.clone()),
            variable::CLIENT_KEY => self.setting("CLIENT_KEY", |vault| vault.client_key.clone()),
            variable::TLS_SERVER_NAME => self.setting("TLS_SERVER_NAME", |vault| vault.tls_server_name.clone()),
            variable::SKIP_VERIFY => {
                self.setting("SKIP_VERIFY", |vault| vault.tls_skip_verify.map(|on| on.to_string()))
            }
            variable::NAMESPACE => self.setting("NAMESPACE", |vault| vault.namespace.clone()),
            // What they say is in the address already; it never leads to another agent.
            variable::ADDR | variable::AGENT_ADDR | variable::TOKEN => None,
            // What is sent again, and when, is decided here.
            variable::MAX_RETRIES => Some("0".into()),
            _ if name.starts_with("BULLA_") || name.starts_with("SOPS_") => None,
            _ => rest.map_or_else(|| self.env.var(name), |rest| self.env.vault_var(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_configuration() {
        let vault = Vault { ca_cert: Some("/file".into()), tls_skip_verify: Some(true), ..Vault::default() };
        let env = BTreeMap::from([("VAULT_CACERT", "/vault"), ("BAO_CACERT", "/bao"), ("VAULT_TOKEN", "hunter2")]);
        let env: BTreeMap<String, String> = env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let (none, empty) = (Vault::default(), BTreeMap::<String, String>::new());
        let read = |flags: &Vault, env: &dyn Env, name: &str| Variables { vault: &vault, flags, env }.text(name);
        assert_eq!(read(&none, &empty, variable::CACERT).as_deref(), Some("/file"));
        assert_eq!(read(&none, &env, variable::CACERT).as_deref(), Some("/bao"));
        let flags = Vault { ca_cert: Some("/flag".into()), ..Vault::default() };
        assert_eq!(read(&flags, &env, variable::CACERT).as_deref(), Some("/flag"));
        assert_eq!(read(&none, &env, variable::SKIP_VERIFY).as_deref(), Some("true"));
        assert_eq!(read(&none, &env, variable::TOKEN), None);
    }
}
