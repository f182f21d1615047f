//! `keyservice`: this process' key services for others, over sops' gRPC protocol.

use std::time::Duration;

use bulla_kms::keyservice::{Listen, Prompt, Server};
use bulla_kms::{Options, Registry};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::args::duration;
use crate::error::Failure;
use crate::exit::Code;
use crate::{env_vars, term};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla keyservice --network unix --address /run/user/1000/bulla.sock --prompt
  ssh -R /tmp/keys.sock:/run/user/1000/bulla.sock server \\
      bulla decrypt --enable-local-keyservice=false --keyservice unix:///tmp/keys.sock secrets.yaml

Whoever can connect can use the keys. The protocol has no encryption of its own: keep it
on a socket or in a tunnel.";

/// Arguments of `keyservice`.
#[derive(Args, Debug)]
pub(crate) struct KeyserviceArgs {
    /// What to listen on: tcp or unix
    #[arg(long, hide_possible_values = true, visible_alias = "net", value_name = "NETWORK", default_value = "tcp")]
    pub(crate) network: Network,

    /// Where: HOST:PORT, or the socket's path
    #[arg(long, visible_alias = "addr", value_name = "ADDRESS", default_value = "127.0.0.1:5000")]
    pub(crate) address: String,

    /// Ask before each request is answered
    #[arg(long)]
    pub(crate) prompt: bool,

    /// Give up on a key after this time: 10s, 500ms (default 30s)
    #[arg(long, value_name = "TIME", env = env_vars::BULLA_KEY_TIMEOUT, hide_env = true, value_parser = duration)]
    pub(crate) key_timeout: Option<Duration>,
}

/// What a server listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// A TCP port.
    Tcp,
    /// A Unix socket.
    Unix,
}

/// Serves until SIGINT or SIGTERM, then answers what was asked before.
///
/// # Errors
/// If it cannot listen.
pub(crate) fn run(app: &App, args: &KeyserviceArgs) -> Result<Code, Failure> {
    let listen = match args.network {
        Network::Tcp => Listen::Tcp(args.address.clone()),
        Network::Unix => Listen::Unix(args.address.clone().into()),
    };
    let prompt = args.prompt.then(|| {
        let ask: Prompt = Box::new(|request| term::ask(&format!("{request} [y/N]")) == Some('y'));
        ask
    });
    let mut options = Options::default();
    options.timeout = args.key_timeout.unwrap_or(options.timeout);
    let registry = Registry::new(app.env.clone(), options);
    let failed = |error: std::io::Error| Failure::generic(format!("cannot serve on {}: {error}", args.address));
    app.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let shutdown = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let server = Server::bind(&listen).await.map_err(failed)?;
        let uri = server.uri().map_err(failed)?;
        term::note(&format!("listening on {uri}"));
        if is_open_to_others(&uri) {
            term::warn("whoever reaches this address can use your keys, in the clear; a Unix socket or 127.0.0.1 keeps it yours");
        }
        server.serve(registry, prompt, shutdown).await.map_err(failed)
    })??;
    Ok(Code::Success)
}

/// Whether a server at `uri` can be reached from other machines.
fn is_open_to_others(uri: &str) -> bool {
    let address = uri.strip_prefix("tcp://").and_then(|address| address.parse::<std::net::SocketAddr>().ok());
    address.is_some_and(|address| !address.ip().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_or_a_socket_is_for_oneself() {
        for uri in ["tcp://127.0.0.1:5000", "tcp://[::1]:5000", "unix:///tmp/s"] {
            assert!(!is_open_to_others(uri), "{uri}");
        }
        for uri in ["tcp://0.0.0.0:5000", "tcp://[::]:5000", "tcp://10.0.0.1:5000"] {
            assert!(is_open_to_others(uri), "{uri}");
        }
    }
}
