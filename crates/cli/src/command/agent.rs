//! `agent`: Vault Agent. Its flags are the peer's, which have one dash or two.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulla_agent::config::Vault;
use bulla_agent::{Host, config};
use bulla_core::Env;
use bulla_core::memory::keep_little;
use bulla_kms::vault_client::read_duration;
use clap::Args;

use super::go_flags::GoFlags;
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::logging;
use crate::output::say;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla agent -config=/etc/bulla/agent.hcl
  bulla agent -config=/etc/bulla/agent.d -config=more.json     # folders, several files
  bulla agent -config=agent.hcl -exit-after-auth               # log in and render once
  vault agent -config=agent.hcl                                # started under the name vault or bao

Flags, with one dash or two:
  -config PATH               Vault Agent's configuration, HCL or JSON; a file, or a folder of them
  -exit-after-auth           End once the token is written and everything is rendered
  -first-render-timeout TIME With -exit-after-auth: fail after this long (default: 5m; 0: never)
  -address, -ca-cert, -ca-path, -client-cert, -client-key, -namespace, -tls-server-name, -tls-skip-verify
                             The server, before VAULT_ADDR and its like, which go before the configuration
  -log-level LEVEL           trace, debug, info, warn, error (VAULT_LOG_LEVEL; BULLA_LOG goes before it)

SIGTERM and SIGINT end it: what was asked is finished, and the program of exec is ended first. SIGHUP reads the listeners' certificates again.";

/// How long the first rendering may take, where nobody says.
const PATIENCE: Duration = Duration::from_mins(5);

/// Arguments of `agent`.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// Flags; see below
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

impl AgentArgs {
    /// What is to be logged, as a filter.
    pub(crate) fn log_filter(&self, env: &dyn Env) -> Option<String> {
        let given = Flags::read(&self.flags).ok().and_then(|flags| flags.log_level);
        let level = given.or_else(|| env.text("BAO_LOG_LEVEL")).or_else(|| env.text("VAULT_LOG_LEVEL"))?;
        Some(logging::peer_filter(&level, "bulla_agent"))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    configs: Vec<PathBuf>,
    exit_after_auth: Option<bool>,
    patience: Option<Duration>,
    vault: Vault,
    log_level: Option<String>,
    help: bool,
}

/// Runs until a signal, or until it is done.
///
/// # Errors
/// A configuration that cannot be used; a login, a template or a program that fails where that is to end the agent.
pub(crate) fn run(app: &App, args: &AgentArgs) -> Result<Code, Failure> {
    let flags = Flags::read(&args.flags)?;
    if flags.help {
        say(&format!("Log in, keep the token alive, and render secrets to files\n\n{EXAMPLES}"))?;
        return Ok(Code::Success);
    }
    if flags.configs.is_empty() {
        return Err(Failure::generic("Must specify exactly at least one config path using -config")
            .with_hint("see: bulla agent -help"));
    }
    let mut config = config::load(&flags.configs).map_err(Failure::generic)?;
    config.exit_after_auth = flags.exit_after_auth.unwrap_or(config.exit_after_auth);
    keep_little();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    let patience = Some(flags.patience.unwrap_or(PATIENCE)).filter(|patience| !patience.is_zero());
    let host = Host { env: Arc::clone(&app.env), flags: flags.vault, patience };
    let ended = runtime.block_on(bulla_agent::run(config, host));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(0) => Ok(Code::Success),
        Ok(status) => Ok(Code::Child(status)),
        Err(why) => Err(Failure::generic(why)),
    }
}

impl Flags {
    fn read(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let mut words = GoFlags::new(arguments, "bulla agent");
        while let Some(name) = words.next()? {
            match name {
                "exit-after-auth" => flags.exit_after_auth = Some(words.switch()?),
                "tls-skip-verify" => flags.vault.tls_skip_verify = Some(words.switch()?),
                "help" | "h" => flags.help = true,
                "config" => flags.configs.push(words.value()?.into()),
                "first-render-timeout" => {
                    let value = words.value()?;
                    flags.patience =
                        Some(read_duration(&value).ok_or_else(|| {
                            Failure::generic(format!("-{name} is a duration like 5m, not {value:?}"))
                        })?);
                }
                _ => {
                    let place = flags.text(name).ok_or_else(|| words.unknown())?;
                    *place = Some(words.value()?);
                }
            }
        }
        Ok(flags)
    }

    /// Where a flag's text goes.
    fn text(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "address" => &mut self.vault.address,
            "ca-cert" => &mut self.vault.ca_cert,
            "ca-path" => &mut self.vault.ca_path,
            "client-cert" => &mut self.vault.client_cert,
            "client-key" => &mut self.vault.client_key,
            "tls-server-name" => &mut self.vault.tls_server_name,
            "namespace" | "ns" => &mut self.vault.namespace,
            "log-level" => &mut self.log_level,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn flags_have_one_dash_or_two_and_files_may_be_several() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let read = |arguments: &[&str]| Flags::read(&words(arguments));
        let flags = read(&[
            "-config=a",
            "--config",
            "b",
            "-exit-after-auth",
            "-address=http://x",
            "-tls-skip-verify=false",
            "-first-render-timeout=0",
            "-log-level",
            "debug",
        ])
        .unwrap();
        assert_eq!(flags.configs, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!((flags.exit_after_auth, flags.patience), (Some(true), Some(Duration::ZERO)));
        assert_eq!((flags.vault.address.as_deref(), flags.vault.tls_skip_verify), (Some("http://x"), Some(false)));
        for bad in [&["-nope"][..], &["x"], &["-config"], &["-exit-after-auth=maybe"], &["-first-render-timeout=x"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let args = AgentArgs { flags: words(&["-log-level=ERR"]) };
        let env = BTreeMap::from([("VAULT_LOG_LEVEL".to_owned(), "debug".to_owned())]);
        assert_eq!(args.log_filter(&env).as_deref(), Some("error"));
        let args = AgentArgs { flags: Vec::new() };
        assert_eq!(args.log_filter(&env).as_deref(), Some("info,bulla_agent=debug,bulla_kms=debug"));
        assert_eq!(args.log_filter(&BTreeMap::new()), None);
    }
}
