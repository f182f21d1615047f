//! `server`: Vault's API. Its flags are the peer's, which have one dash or two.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::file;
use bulla_core::file::PidFile;
use bulla_core::memory::{Rest, give_back, keep_little};
use bulla_listen::{Certificates, LOOK, Security};
use bulla_server::config::{self, Config, Listener, Storage};
use bulla_server::core::lockout::ByKind;
use bulla_server::core::mount::Times;
use bulla_server::core::{Core, Options};
use bulla_server::dev::Dev;
use bulla_server::http::{Opened, Rules, serve};
use bulla_server::initialize::Outcome;
use bulla_server::logical::TokenText;
use bulla_server::storage::migrate::check_complete;
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use zeroize::Zeroizing;

use self::signals::{Signals, Told};
use super::go_flags::GoFlags;
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::logging::{self, Asked, Habit};
use crate::output::say;

mod migrate;
mod seals;
mod signals;
mod snapshot;
mod storage;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla server -dev
  bulla server -dev -dev-root-token-id=root -dev-listen-address=127.0.0.1:8200
  bulla server -config=/etc/bulla/server.hcl
  bulla server migrate -config=/etc/bulla/migrate.hcl      # to another storage; see: bulla server migrate -help
  bulla server snapshot restore -config=/etc/bulla/server.hcl x.snap    # see: bulla server snapshot -help

Flags, with one dash or two:
  -config PATH              Vault's configuration: a file, HCL or JSON, or a folder with such; as often as needed
  -dev                      In memory, unsealed, with versioned secrets at secret/
  -dev-root-token-id ID     The root token's text (default: a random one)
  -dev-listen-address ADDR  Where it listens (default: 127.0.0.1:8200)
  -dev-no-store-token       Taken, without effect: the token is stored nowhere
  -log-level LEVEL          trace, debug, info, warn, error (VAULT_LOG_LEVEL, or log_level of the configuration; BULLA_LOG goes before it)

Certificates are read again when their files are others. SIGHUP does so at once, and opens audit files anew. SIGTERM finishes what was asked.";

/// After how long without anything to do memory is given back.
const REST: Duration = Duration::from_secs(5);
/// Largest configuration, certificate and key file.
const FILE: u64 = 1 << 20;

/// Arguments of `server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Flags; see below
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<OsString>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    dev: bool,
    configs: Vec<PathBuf>,
    log_level: Option<String>,
    root_token: Option<String>,
    address: Option<String>,
    help: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A configuration that cannot be used, a port that is taken, storage that does not open, a seal that does not.
pub(crate) fn run(app: &App, args: &ServerArgs) -> Result<Code, Failure> {
    let env = app.env.as_ref();
    if let Some((first, rest)) = args.flags.split_first()
        && (first == "migrate" || first == "snapshot")
    {
        logging::start(&app.global, env, Habit::Service, Asked::default());
        return if first == "migrate" { migrate::run(app, rest) } else { snapshot::run(app, rest) };
    }
    let flags = Flags::read(&args.flags)?;
    if flags.help {
        say(&format!("Serve Vault's HTTP API\n\n{EXAMPLES}"))?;
        return Ok(Code::Success);
    }
    let (config, files) = match (flags.dev, flags.configs.as_slice()) {
        (true, []) => (dev_config(&flags), Vec::new()),
        (false, paths @ [_, ..]) => {
            let files = config_files(paths)?;
            (read_config(&files)?, files)
        }
        (true, _) => return Err(Failure::generic("-dev and -config cannot be used together")),
        (false, []) => {
            return Err(
                Failure::generic("there is no configuration").with_hint("give -config FILE, or -dev to try things out")
            );
        }
    };
    let level = flags.log_level.clone().or_else(|| env.vault_text("LOG_LEVEL")).or_else(|| config.log_level.clone());
    let filter = level.map(|level| logging::peer_filter(&level, "bulla_server"));
    logging::start(&app.global, env, Habit::Service, Asked { filter, ..Asked::default() });
    for listener in &config.listeners {
        listener.check().map_err(Failure::generic)?;
    }
    let options =
        bulla_server::core::audit::check(&config.audit).map_err(|error| Failure::generic(error.messages.join("; ")))?;
    for name in config.ignored.iter().chain(&options) {
        tracing::warn!(setting = name, "a setting of the configuration has no effect on this server");
    }
    for warning in config.exposed(&files) {
        tracing::warn!("{warning}");
    }
    keep_little();
    // One may be kept by a disk that hangs.
    let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    allow_all_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    let served = runtime.block_on(serve_until_stopped(app, &flags, &config));
    // What hangs in a blocking call must not keep the process, however it ends.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| Code::Success)
}

/// Takes as many open files as the system allows: each connection is one, and what a process starts with is often meant for programs that ask
/// for more.
fn allow_all_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve_until_stopped(app: &App, flags: &Flags, config: &Config) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let mut signals = Signals::new().map_err(|error| failed(&error))?;
    let options = Options {
        times: config.times,
        lockouts: config.lockouts.clone(),
        audit: config.audit.clone(),
        cluster_name: config.cluster_name.clone(),
        catalog: bulla_server::catalog(),
    };
    let seals = seals::open(app, config)?;
    let storage = tokio::select! {
        () = signals.end() => return Ok(()),
        opened = storage::open(config.storage.clone().with_env(app.env.as_ref())) => opened.map_err(|error| failed(&error))?,
    };
    check_complete(storage.as_ref()).await.map_err(|error| failed(&error))?;
    let core = Core::new(Arc::clone(&storage) as Arc<dyn bulla_server::storage::Storage>, seals, options);
    // Whoever finds a server for trying things out finds it ready.
    let root = || flags.root_token.clone().map(TokenText::new);
    let dev = if flags.dev {
        Some(bulla_server::dev::start(&core, root()).await.map_err(|error| failed(&error))?)
    } else {
        core.check_seals().await.map_err(|error| failed(&error.messages.join("; ")))?;
        let initialized = signals.told_while(&core, initialize(app, config, &core)).await;
        if core.is_stopping() || initialized.is_err() {
            core.end().await;
            return if core.is_stopping() { Ok(()) } else { initialized };
        }
        None
    };
    // Who reads it can send signals: they are heard from now on.
    let pid_file = PidFile::write(config.pid_file.as_deref()).map_err(|error| failed(&error))?;
    let (stop, stopped) = watch::channel(false);
    let mut certificates = Certificates::default();
    let listening = listen(&core, config, &mut certificates, &stopped).await;
    let announced = match (&listening, &dev) {
        (Ok(_), Some(dev)) => announce_dev(dev, &config.listeners),
        _ => Ok(()),
    };
    let serving = match announced.and(listening) {
        Ok(serving) => serving,
        Err(error) => {
            // What was written down up to now is not lost.
            core.end().await;
            return Err(error);
        }
    };
    let mut retry = tokio::time::interval(Duration::from_secs(5));
    // After one that took long the others have their turn first.
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Beside everything else: a key service that hangs keeps nothing else from being done.
    let mut unsealing = JoinSet::new();
    let mut is_first = true;
    let mut look = tokio::time::interval(LOOK);
    let (mut rest, mut resting) = (Rest::default(), tokio::time::interval_at(Instant::now() + REST, REST));
    let outcome = loop {
        tokio::select! {
            // Whoever starts it again finds it locked, or free.
            error = storage.lost() => break Err(failed(&error)),
            told = signals.next() => match told {
                Told::End => break Ok(()),
                Told::Reread => {
                    if let Ok(open) = core.open() {
                        open.audit.reopen();
                    }
                    certificates.read();
                }
            },
            _ = look.tick() => certificates.look(),
            _ = resting.tick() => {
                if rest.is_due(core.metrics.requests.count() + core.metrics.logins.count()) {
                    drop(tokio::task::spawn_blocking(give_back));
                }
            }
            _ = retry.tick(), if core.has_auto_seal() && core.is_sealed() && unsealing.is_empty() => {
                let core = Arc::clone(&core);
                unsealing.spawn(async move { core.unseal_by_itself().await });
            }
            Some(Ok(unsealed)) = unsealing.join_next() => {
                if let Some(why) = core.unfinished() {
                    break Err(failed(&why));
                }
                say_unsealed(unsealed, is_first);
                is_first = false;
            }
        }
    };
    core.begin_to_stop();
    // It can be left at any point.
    unsealing.shutdown().await;
    let _ = stop.send(true);
    for one in serving {
        let _ = one.await;
    }
    core.end().await;
    drop(pid_file);
    outcome
}

/// Serves at all addresses of the configuration, once each can be listened on.
async fn listen(
    core: &Arc<Core>,
    config: &Config,
    certificates: &mut Certificates,
    stopped: &watch::Receiver<bool>,
) -> Result<Vec<JoinHandle<()>>, Failure> {
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        if let Some(warning) = listener.warning() {
            tracing::warn!("{warning}");
        }
        let security = match &listener.tls {
            None => Security::Plain,
            Some((certificate, key)) => Security::Tls(certificates.add(certificate, key).map_err(Failure::generic)?),
        };
        let socket = TcpListener::bind(&listener.address)
            .await
            .map_err(|error| Failure::generic(format!("cannot listen on {}: {error}", listener.address)))?;
        let rules = Rules { opened: listener.opened, forwarded: listener.forwarded.clone() };
        sockets.push((socket, security, rules));
    }
    let serve =
        |(socket, security, rules)| tokio::spawn(serve(socket, Arc::clone(core), security, rules, stopped.clone()));
    Ok(sockets.into_iter().map(serve).collect())
}

/// Says what came of a try to unseal; what goes on being so once.
fn say_unsealed(unsealed: bulla_server::logical::Result<bool>, is_first: bool) {
    match unsealed {
        Ok(true) => tracing::info!("the server is unsealed"),
        Ok(false) if is_first => tracing::info!("the server is not initialized"),
        // It may be the key service that is down: it is asked again.
        Err(error) if is_first => tracing::error!(%error, "the server is sealed"),
        Ok(false) | Err(_) => {}
    }
}

/// What the configuration says that is done at the first start, before anybody is served.
async fn initialize(app: &App, config: &Config, core: &Core) -> Result<(), Failure> {
    if config.initialize.is_empty() {
        return Ok(());
    }
    match bulla_server::initialize::run(core, &config.initialize, app.env.as_ref()).await {
        Ok(Outcome::Done) => tracing::info!("the server has initialized itself"),
        Ok(Outcome::NotNeeded) => tracing::debug!("the server was initialized before"),
        Err(error) => return Err(Failure::generic(error.to_string())),
    }
    Ok(())
}

impl Flags {
    fn read(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let mut words = GoFlags::new(arguments, "bulla server");
        while let Some(name) = words.next()? {
            match name {
                "config" => flags.configs.push(words.value()?.into()),
                "log-level" => flags.log_level = Some(words.value()?),
                "dev" => flags.dev = words.switch()?,
                "dev-no-store-token" => drop(words.switch()?),
                "dev-root-token-id" => flags.root_token = Some(words.value()?),
                "dev-listen-address" => flags.address = Some(words.value()?),
                "help" | "h" => flags.help = true,
                _ => return Err(words.unknown()),
            }
        }
        // What is given for a server of this kind is meant for one.
        flags.dev |= flags.root_token.is_some() || flags.address.is_some();
        Ok(flags)
    }
}

fn dev_config(flags: &Flags) -> Config {
    const TTL: i64 = 768 * 3600;
    let address = flags.address.clone().unwrap_or_else(|| "127.0.0.1:8200".to_owned());
    Config {
        listeners: vec![Listener { address, tls: None, insecure: true, opened: Opened::default(), forwarded: None }],
        storage: Storage::Memory,
        seals: Vec::new(),
        old_seals: Vec::new(),
        audit: Vec::new(),
        initialize: Vec::new(),
        lockouts: ByKind::default(),
        times: Times { default_ttl: TTL, max_ttl: TTL },
        cluster_name: String::new(),
        pid_file: None,
        log_level: None,
        ignored: Vec::new(),
    }
}

/// One configuration of all files.
fn read_config(files: &[PathBuf]) -> Result<Config, Failure> {
    let texts = files.iter().map(|path| read_text(path)).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    config::parse_all(&texts).map_err(|error| Failure::generic(format!("{}: {error}", names.join(", "))))
}

/// The files themselves, of files and folders.
fn config_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() { files.extend(files_in(path)?) } else { files.push(path.clone()) }
    }
    Ok(files)
}

/// The files of a folder that are configurations by their names, in order.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error: std::io::Error| Failure::generic(format!("{}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_one = path.extension().is_some_and(|end| end == "hcl" || end == "json");
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_one && !is_hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    if files.is_empty() {
        return Err(Failure::generic(format!("{}: there is no file *.hcl or *.json", folder.display())));
    }
    Ok(files)
}

/// A configuration's text: there may be a password in it.
fn read_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(format!("{}: {error}", path.display()));
    let bytes = file::read(path, FILE).map_err(|error| failed(&error))?;
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| failed(&"not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn announce_dev(dev: &Dev, listeners: &[Listener]) -> Result<(), Failure> {
    let address = listeners.first().map_or("", |listener| listener.address.as_str());
    // As the peer does: whoever tries things out needs them, and there is nothing else in this server.
    say(&format!(
        "WARNING! dev mode: everything is in memory, and gone with this process.\n\n    $ export VAULT_ADDR='http://{address}'\n\nUnseal Key: {}\nRoot Token: {}",
        STANDARD.encode(dev.unseal_key.expose()),
        dev.root_token.expose()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_one_dash_or_two() {
        let read = |arguments: &[&str]| Flags::read(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        let flags =
            read(&["-dev", "--dev-root-token-id=r", "-dev-listen-address", "127.0.0.1:1", "-dev-no-store-token"])
                .unwrap();
        assert!(flags.dev);
        assert_eq!((flags.root_token.as_deref(), flags.address.as_deref()), (Some("r"), Some("127.0.0.1:1")));
        let flags = read(&["-config=x", "-config", "y", "-log-level=debug"]).unwrap();
        assert_eq!(flags.configs, [PathBuf::from("x"), "y".into()]);
        assert_eq!(flags.log_level.as_deref(), Some("debug"));
        assert!(
            read(&["-nope"]).is_err()
                && read(&["x"]).is_err()
                && read(&["-config"]).is_err()
                && read(&["-dev=maybe"]).is_err()
        );
    }
}
