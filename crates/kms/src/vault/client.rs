//! A connection to one server as the variables of Vault's own client say: for whoever works for the person at the terminal.

use std::path::PathBuf;
use std::time::Duration;

use bulla_core::{Env, KeyErrorKind};
use reqwest::Url;

use super::http::{Http, Idle, Setup};
use super::server::proxies;
use super::settings::{Settings, duration};
use crate::dns::Resolver;
use crate::failure::Failure;

/// A connection, and how long a request on it may take.
pub struct Client {
    /// The connection.
    pub http: Http,
    /// The time that one request may take, repetitions included.
    pub timeout: Duration,
}

/// The longest answer: as long as the longest list of a large server.
const LONGEST_ANSWER: usize = 64 << 20;

/// A client of the server at `address`: `https://HOST:PORT`, also with a path, or `unix:///SOCKET`. `env` is what
/// [`variable`](super::variable) lists. Connects when it is used.
///
/// # Errors
/// What of the address or of the variables cannot be used, in words; no value of a variable is in it.
pub fn connect(env: &dyn Env, address: &str) -> Result<Client, String> {
    connect_with(env, address, Idle::Kept)
}

/// The same, with what becomes of connections that nobody uses.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(env: &dyn Env, address: &str, idle: Idle) -> Result<Client, String> {
    connect_to(env, address, idle).map_err(|failure| failure.what)
}

fn connect_to(env: &dyn Env, address: &str, idle: Idle) -> Result<Client, Failure> {
    let bad = |what: String| Failure::new(KeyErrorKind::BadConfig, what);
    let (address, socket) = read_address(address).map_err(bad)?;
    let settings = Settings::read(env, Duration::from_mins(1))?;
    let host = address.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let setup = Setup {
        proxies: if socket.is_some() { Vec::new() } else { proxies(env, host)? },
        address,
        socket,
        tls: settings.tls,
        server_name: settings.tls_server_name,
        headers: settings.headers,
        retries: settings.retries,
        redirects: settings.redirects,
        longest_answer: LONGEST_ANSWER,
        resolver: Resolver::default(),
        idle,
        // The user's own settings say where to go.
        may_reach: |_| true,
    };
    let http = Http::new(setup).map_err(|error| bad(error.to_string()))?;
    Ok(Client { http, timeout: settings.timeout })
}

fn read_address(text: &str) -> Result<(Url, Option<PathBuf>), String> {
    // The address is not shown: in one that is mistyped anything may be a password.
    let bad = |why: &str| format!("the server's address: {why}");
    let (text, socket) = match text.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => ("http://localhost", Some(PathBuf::from(path))),
        Some(_) => return Err(bad("a socket's path begins with /")),
        None => (text, None),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("its scheme is https, http or unix"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        // What stands there may be a password.
        return Err("the server's address has a user name, a password, a query or a fragment".to_owned());
    }
    Ok((url, socket))
}

/// A time as Vault's flags and variables have it: seconds, or `1h30m`.
pub fn read_duration(text: &str) -> Option<Duration> {
    duration(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_may_have_a_path_or_be_a_socket_and_a_password_in_it_is_not_shown() {
        let address = |text| read_address(text).map(|(url, socket)| (url.to_string(), socket));
        assert_eq!(address("https://h:8200/pre").unwrap().0, "https://h:8200/pre");
        assert_eq!(address("unix:///run/v.sock").unwrap().1, Some(PathBuf::from("/run/v.sock")));
        for bad in
            ["", "h:8200", "ftp://h", "unix://relative", "https://u:hunter2@h", "https://h?hunter2", "user:hunter2@h"]
        {
            assert!(!address(bad).unwrap_err().contains("hunter2"), "{bad}");
        }
    }
}
