//! `agent`: Vault Agent. Its flags are the peer's, which have one dash or two.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bulla_agent::config::{LogConfig, LogFormat, Vault, check_level};
use bulla_agent::{Host, Starter, config};
use bulla_core::Env;
use bulla_core::memory::keep_little;
use bulla_kms::vault_client::read_duration;
use clap::Args;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use super::go_flags::GoFlags;
use crate::app::App;
use crate::cli;
use crate::error::Failure;
use crate::exit::Code;
use crate::logging::file::{LogFile, Rotation};
use crate::logging::{self, Asked, Habit};
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
  -log-format FORMAT         standard or json (VAULT_LOG_FORMAT)
  -log-file PATH             Log to this file, too; with -log-rotate-bytes, -log-rotate-duration, -log-rotate-max-files

Without -config, BAO_AGENT_CONFIG_PATH or VAULT_AGENT_CONFIG_PATH name files. SIGTERM and SIGINT end it: what was asked is finished, and the program
of exec is ended first, which gets SIGQUIT, SIGUSR1 and SIGUSR2. SIGHUP reads certificates again.";

/// The first word of a command line by which the agent starts the program of `exec`: the signal that it is to get when the agent ends, the agent's
/// process, and the program's words follow.
const START: &str = "-start-program";

/// How long the first rendering may take, where nobody says.
const PATIENCE: Duration = Duration::from_mins(5);

/// Arguments of `agent`.
#[derive(Args, Debug)]
pub(crate) struct AgentArgs {
    /// Flags; see below
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    configs: Vec<PathBuf>,
    exit_after_auth: Option<bool>,
    patience: Option<Duration>,
    vault: Vault,
    log: LogConfig,
    help: bool,
}

/// Runs until a signal, or until it is done.
///
/// # Errors
/// A configuration that cannot be used; a login, a template or a program that fails where that is to end the agent.
pub(crate) fn run(app: &App, args: &AgentArgs) -> Result<Code, Failure> {
    if let [first, rest @ ..] = args.flags.as_slice()
        && first == START
    {
        return start_program(rest);
    }
    let mut flags = Flags::read(&args.flags)?;
    if flags.help {
        say(&format!("Log in, keep the token alive, and render secrets to files\n\n{EXAMPLES}"))?;
        return Ok(Code::Success);
    }
    let env = app.env.as_ref();
    if flags.configs.is_empty() {
        let named = env.vault_text("AGENT_CONFIG_PATH").unwrap_or_default();
        flags.configs = named.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    }
    if flags.configs.is_empty() {
        return Err(Failure::generic("Must specify exactly at least one config path using -config")
            .with_hint("see: bulla agent -help"));
    }
    let mut config = config::load(&flags.configs, env).map_err(Failure::generic)?;
    let log = log(flags.log, env, &config.log).map_err(Failure::generic)?;
    logging::start(&app.global, env, Habit::Service, asked(&log)?);
    config.exit_after_auth = flags.exit_after_auth.unwrap_or(config.exit_after_auth);
    keep_little();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    let patience = Some(flags.patience.unwrap_or(PATIENCE)).filter(|patience| !patience.is_zero());
    // This file, whatever is under its name by now.
    let words = ["/proc/self/exe", "agent", START].map(OsString::from).to_vec();
    let starter = Path::new("/proc/self/exe").exists().then_some(Starter { words });
    let host = Host { env: Arc::clone(&app.env), flags: flags.vault, starter, patience };
    let ended = runtime.block_on(bulla_agent::run(config, host));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(0) => Ok(Code::Success),
        Ok(status) => Ok(Code::Child(status)),
        Err(why) => Err(Failure::generic(why)),
    }
}

/// Becomes the program of `exec`, which gets a signal when the agent has ended without a word to it.
fn start_program(words: &[OsString]) -> Result<Code, Failure> {
    let number = |word: &OsString| word.to_str().and_then(|word| word.parse().ok());
    let [signal, parent, name, arguments @ ..] = words else {
        return Err(Failure::generic(format!("{START} is the agent's own")));
    };
    let (signal, parent) = (number(signal).and_then(Signal::from_named_raw), number(parent).and_then(Pid::from_raw));
    let (Some(signal), Some(parent)) = (signal, parent) else {
        return Err(Failure::generic(format!("{START} is the agent's own")));
    };
    set_parent_process_death_signal(Some(signal))
        .map_err(|error| Failure::generic(format!("a program that ends with the agent cannot be started: {error}")))?;
    // It may have ended before.
    if getppid() != Some(parent) {
        return Err(Failure::generic("the agent has ended"));
    }
    let error = std::process::Command::new(name).args(arguments).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { Code::Child(127) } else { Code::Child(126) };
    Err(Failure::new(code, format!("cannot run {}: {error}", name.display())))
}

/// How it is logged: flags go before the environment, that before the configuration.
fn log(flags: LogConfig, env: &dyn Env, config: &LogConfig) -> Result<LogConfig, String> {
    let format = env.vault_text("LOG_FORMAT").map(|text| LogFormat::read(&text)).transpose()?.flatten();
    let level = env.vault_text("LOG_LEVEL").map(check_level).transpose()?;
    Ok(LogConfig {
        level: flags.level.or(level).or_else(|| config.level.clone()),
        format: flags.format.or(format).or(config.format),
        file: flags.file.or_else(|| config.file.clone()),
        rotate_bytes: flags.rotate_bytes.or(config.rotate_bytes),
        rotate_duration: flags.rotate_duration.or(config.rotate_duration),
        rotate_max_files: flags.rotate_max_files.or(config.rotate_max_files),
    })
}

/// The same for the logger.
///
/// # Errors
/// A file that cannot be written.
fn asked(log: &LogConfig) -> Result<Asked, Failure> {
    let filter = log.level.as_ref().map(|level| logging::peer_filter(level, "bulla_agent"));
    let format = log.format.map(|format| match format {
        LogFormat::Standard => cli::LogFormat::Text,
        LogFormat::Json => cli::LogFormat::Json,
    });
    let keep = log.rotate_max_files.unwrap_or(0);
    let rotation = Rotation { bytes: log.rotate_bytes, duration: log.rotate_duration, keep };
    let open = |path: &PathBuf| {
        let failed = |error| Failure::generic(format!("cannot log to {}: {error}", path.display()));
        LogFile::open(path, &program_name(), rotation).map_err(failed)
    };
    Ok(Asked { filter, format, file: log.file.as_ref().map(open).transpose()? })
}

/// The name that the program was started under, if it is one of the peers': the name of a log in a folder.
fn program_name() -> String {
    let name =
        std::env::args_os().next().and_then(|first| Some(PathBuf::from(first).file_stem()?.to_str()?.to_owned()));
    name.filter(|name| name == "vault" || name == "bao").unwrap_or_else(|| "bulla".to_owned())
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
                "first-render-timeout" => flags.patience = Some(duration(name, &words.value()?)?),
                "log-level" => flags.log.level = Some(check_level(words.value()?).map_err(Failure::generic)?),
                "log-format" => flags.log.format = LogFormat::read(&words.value()?).map_err(Failure::generic)?,
                "log-file" => flags.log.file = Some(words.value()?.into()),
                "log-rotate-bytes" => flags.log.rotate_bytes = Some(number(name, &words.value()?)?),
                "log-rotate-max-files" => flags.log.rotate_max_files = Some(number(name, &words.value()?)?),
                "log-rotate-duration" => flags.log.rotate_duration = Some(duration(name, &words.value()?)?),
                // The peer does not ask another agent either.
                "agent-address" => drop(words.value()?),
                // Nothing is asked here.
                "non-interactive" => drop(words.switch()?),
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
            _ => return None,
        })
    }
}

fn duration(name: &str, value: &str) -> Result<Duration, Failure> {
    let duration = read_duration(value);
    duration.ok_or_else(|| Failure::generic(format!("-{name} is a duration like 5m, not {value:?}")))
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::generic(format!("-{name} is a whole number, not {value:?}")))
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
        for bad in [
            &["-nope"][..],
            &["x"],
            &["-config"],
            &["-exit-after-auth=maybe"],
            &["-first-render-timeout=x"],
            &["-log-level=loud"],
            &["-log-format=x"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let flags =
            read(&["-agent-address=x", "-log-level=ERR", "-log-format=json", "-log-rotate-max-files=-1"]).unwrap();
        let env = BTreeMap::from([
            ("VAULT_LOG_LEVEL".to_owned(), "debug".to_owned()),
            ("BAO_LOG_FORMAT".to_owned(), "standard".to_owned()),
        ]);
        let config = LogConfig { level: Some("trace".into()), rotate_bytes: Some(7), ..LogConfig::default() };
        let all = log(flags.log, &env, &config).unwrap();
        assert_eq!((all.level.as_deref(), all.format), (Some("ERR"), Some(LogFormat::Json)));
        assert_eq!((all.rotate_bytes, all.rotate_max_files), (Some(7), Some(-1)));
        let all = log(LogConfig::default(), &env, &config).unwrap();
        assert_eq!((all.level.as_deref(), all.format), (Some("debug"), Some(LogFormat::Standard)));
        assert_eq!(log(LogConfig::default(), &BTreeMap::new(), &config).unwrap().level.as_deref(), Some("trace"));
        assert_eq!(
            (
                logging::peer_filter("ERR", "bulla_agent").as_str(),
                logging::peer_filter("debug", "bulla_agent").as_str()
            ),
            ("error", "info,bulla_agent=debug,bulla_kms=debug")
        );
    }
}
