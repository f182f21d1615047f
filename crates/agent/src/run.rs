//! All of it together: what is started, and what ends it.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::Env;
use bulla_core::file::PidFile;
use bulla_listen::{Certificates, LOOK, Security};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::{Api, Whose};
use crate::auth::{self, Login};
use crate::config::{Config, Place, ProxyToken, Vault};
use crate::proxy::{Forward, Listener, Shared};
use crate::render::engine::Progress;
use crate::render::{Engine, Event, Following, Kind, Starter};
use crate::{login, notify, reap, sink, supervise};

/// What the caller provides.
pub struct Host {
    /// The environment.
    pub env: Arc<dyn Env>,
    /// What the command line says about the server; it goes before the environment, and that before the configuration.
    pub flags: Vault,
    /// What starts the program of `exec`, so that it ends with the agent however that ends.
    pub starter: Option<Starter>,
    /// How long the first rendering may take with `exit_after_auth`. The peer waits for ever, and a pod with it.
    pub patience: Option<Duration>,
}

/// What ends the agent.
enum End {
    /// It is done, or somebody asked.
    Well,
    /// The program ended.
    Program(u8),
    /// It cannot go on.
    Badly(String),
}

/// What is passed on to the program of `exec`.
const PASSED_ON: [Signal; 3] = [Signal::QUIT, Signal::USR1, Signal::USR2];
/// How many signals wait for it.
const SIGNALS: usize = 16;
/// How long tasks have to finish what they do.
const FINISH: Duration = Duration::from_secs(35);

/// Runs until a signal, or until it is done. Answers the exit status.
///
/// # Errors
/// What cannot be used of the configuration or the machine, and what ends the agent.
pub async fn run(config: Config, host: Host) -> Result<u8, String> {
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    let api = |whose| Api::new(&config.vault, &host.flags, &host.env, whose).map(Arc::new);
    let (own, others) = (api(Whose::Own)?, api(Whose::Others)?);
    let logins = match &config.auto_auth {
        Some(auth) => auth::own_connection(&auth.method, &config.vault, &host.flags, &host.env)?,
        None => None,
    };
    let shared = Shared::default();
    if let Some(auth) = &config.auto_auth {
        sink::check(&auth.sinks)?;
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    let (stop, stopped) = watch::channel(false);
    let (quit, mut asked_to_quit) = watch::channel(false);
    let (tell_token, tokens) = watch::channel(None);
    let mut certificates = Certificates::default();
    let mut serving = JoinSet::new();
    for listener in &config.listeners {
        let security = match &listener.place {
            Place::Tcp(_, Some((certificate, key))) => Security::Tls(certificates.add(certificate, key)?),
            _ => Security::Plain,
        };
        let forward = Forward {
            api: Arc::clone(&others),
            doubt: Arc::clone(&own.doubt),
            token: config.proxy_token,
            current: tokens.clone(),
            require_request_header: listener.require_request_header,
            enable_quit: listener.enable_quit,
            room: shared.room.clone(),
            quit: quit.clone(),
        };
        let listener = Listener::bind(listener.clone(), security).await?;
        tracing::info!(address = listener.address(), "requests are passed on");
        warn_if_open(&listener, config.proxy_token);
        serving.spawn(listener.serve(Arc::new(forward), shared.clone(), stopped.clone()));
    }
    let mut orphans = JoinSet::new();
    if reap::is_needed() {
        orphans.spawn(reap::run());
    }
    let pid_file = PidFile::write(config.pid_file.as_deref()).map_err(|error| format!("the pid file: {error}"))?;
    let mut tasks = Tasks::start(&config, &host, &own, logins.clone(), (tell_token, tokens), stopped);
    notify::tell(host.env.as_ref(), notify::READY);
    let deadline =
        host.patience.filter(|_| config.exit_after_auth).and_then(|patience| Instant::now().checked_add(patience));
    let done = tasks.done();
    tokio::pin!(done);
    let mut look = tokio::time::interval(LOOK);
    let end = loop {
        tokio::select! {
            _ = terminate.recv() => break End::Well,
            _ = interrupt.recv() => break End::Well,
            _ = asked_to_quit.wait_for(|quit| *quit) => break End::Well,
            // The peer's log level is read again, too; ours is the environment's.
            _ = hang_up.recv() => {
                certificates.read();
                look_at(&[Some(&own), Some(&others), logins.as_ref()]);
            }
            _ = look.tick() => {
                certificates.look();
                look_at(&[Some(&own), Some(&others), logins.as_ref()]);
            }
            end = tasks.ended() => break end,
            () = &mut done, if config.exit_after_auth => break tasks.result(),
            () = until(deadline) => break End::Badly(tasks.late()),
        }
    };
    notify::tell(host.env.as_ref(), notify::STOPPING);
    let _ = stop.send(true);
    let finished = timeout(FINISH, async {
        tasks.finish().await;
        while serving.join_next().await.is_some() {}
    });
    if finished.await.is_err() {
        tracing::warn!("not all could be finished in time");
    }
    drop(pid_file);
    match end {
        End::Well => Ok(0),
        End::Program(status) => Ok(status),
        End::Badly(why) => Err(why),
    }
}

/// The parts that use the token.
struct Tasks {
    login: JoinSet<Result<(), String>>,
    others: JoinSet<()>,
    program: JoinSet<Result<Option<u8>, String>>,
    /// Pass signals on, as long as they live.
    signals: JoinSet<()>,
    events: mpsc::Receiver<Event>,
    variables: Option<watch::Sender<supervise::Variables>>,
    progress: watch::Receiver<Progress>,
    written: watch::Receiver<bool>,
}

impl Tasks {
    fn start(
        config: &Config,
        host: &Host,
        api: &Arc<Api>,
        logins: Option<Arc<Api>>,
        (tell_token, tokens): (watch::Sender<Option<Arc<login::Token>>>, login::Current),
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (tell_event, events) = mpsc::channel(4);
        let (tell_progress, progress) = watch::channel(Progress::default());
        let (tell_written, written) = watch::channel(false);
        let mut tasks = Self {
            login: JoinSet::new(),
            others: JoinSet::new(),
            program: JoinSet::new(),
            signals: JoinSet::new(),
            events,
            variables: None,
            progress,
            written,
        };
        let Some(auth) = &config.auto_auth else {
            // Nobody logs in, but who waits for a token waits.
            tasks.others.spawn(async move {
                let _held = (tell_token, tell_event, tell_progress, tell_written);
                std::future::pending::<()>().await;
            });
            return tasks;
        };
        tasks.login.spawn(login::run(Login::new(auth.method.clone(), logins), Arc::clone(api), tell_token));
        tasks.others.spawn(sink::run(auth.sinks.clone(), Arc::clone(api), tokens.clone(), tell_written));
        let files = config.templates.iter().map(|one| (one.destination.display().to_string(), one.clone()));
        let (kind, templates): (_, Vec<_>) = if config.exec.is_some() {
            (Kind::Variables, config.env_templates.clone())
        } else {
            (Kind::Files, files.collect())
        };
        let following = Following::new(Arc::clone(api), config.rendering, config.vault.retries());
        let engine = Engine::new(kind, templates, following, &host.env, (tell_event, tell_progress));
        tasks.others.spawn(engine.run(tokens));
        if let Some(exec) = &config.exec {
            let (tell, variables) = watch::channel(None);
            tasks.variables = Some(tell);
            let (tell_signal, signals) = mpsc::channel(SIGNALS);
            tasks.pass_on_signals(&tell_signal);
            tasks.program.spawn(supervise::run(exec.clone(), host.starter.clone(), variables, signals, stopped));
        }
        tasks
    }

    /// Catches signals that would end the agent, and leave its program behind.
    fn pass_on_signals(&mut self, tell: &mpsc::Sender<Signal>) {
        for passed in PASSED_ON {
            let Ok(mut caught) = signal(SignalKind::from_raw(passed.as_raw())) else { continue };
            let tell = tell.clone();
            self.signals
                .spawn(async move { while caught.recv().await.is_some() && tell.send(passed).await.is_ok() {} });
        }
    }

    /// Waits for what ends the agent.
    async fn ended(&mut self) -> End {
        loop {
            tokio::select! {
                Some(ended) = self.login.join_next() => match ended {
                    Ok(Err(why)) => return End::Badly(why),
                    Ok(Ok(())) => {}
                    Err(error) => return End::Badly(format!("logging in: {error}")),
                },
                Some(ended) = self.program.join_next() => match ended {
                    Ok(Ok(Some(status))) => return End::Program(status),
                    Ok(Ok(None)) => {}
                    Ok(Err(why)) => return End::Badly(why),
                    Err(error) => return End::Badly(format!("running the program: {error}")),
                },
                Some(ended) = self.others.join_next() => if let Err(error) = ended {
                    return End::Badly(error.to_string());
                },
                Some(event) = self.events.recv() => match event {
                    Event::Failed(why) => return End::Badly(why),
                    Event::Variables(all) => if let Some(tell) = &self.variables {
                        tell.send_replace(Some(all));
                    },
                },
                else => std::future::pending().await,
            }
        }
    }

    /// Waits until the token is written and everything is rendered.
    fn done(&self) -> impl Future<Output = ()> + use<> {
        let (mut written, mut progress) = (self.written.clone(), self.progress.clone());
        async move {
            let _ = written.wait_for(|written| *written).await;
            let _ = progress.wait_for(|progress| progress.waiting.is_empty()).await;
        }
    }

    fn result(&self) -> End {
        if self.progress.borrow().is_broken {
            return End::Badly("not all templates could be read; the others are rendered".to_owned());
        }
        End::Well
    }

    /// What is missing when nobody wants to wait any longer.
    fn late(&self) -> String {
        let mut missing = self.progress.borrow().waiting.clone();
        if !*self.written.borrow() {
            missing.insert(0, "the token is not written".to_owned());
        }
        format!("it took too long; not there yet: {}", missing.join("; "))
    }

    async fn finish(&mut self) {
        self.login.abort_all();
        self.others.abort_all();
        while self.program.join_next().await.is_some() {}
        while self.others.join_next().await.is_some() {}
    }
}

/// Reads certificates for the server again, where their files have changed.
fn look_at(all: &[Option<&Arc<Api>>]) {
    for api in all.iter().flatten() {
        api.look();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Whoever reaches a listener that adds the token can do what the agent can.
fn warn_if_open(listener: &Listener, token: ProxyToken) {
    let Place::Tcp(address, tls) = &listener.config.place else { return };
    let is_local = address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
        || address.starts_with("localhost:");
    if !is_local && token != ProxyToken::Never {
        tracing::warn!(address, "whoever reaches this address uses the agent's token");
    }
    if !is_local && tls.is_none() {
        tracing::warn!(address, "secrets pass this address unencrypted");
    }
}
