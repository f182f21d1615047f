//! Vault Agent: logs in, keeps the token alive, writes it to files, renders templates, runs a program with secrets in its environment, and passes
//! requests on. Configuration and behaviour are the peer's (`vault agent`, `bao agent`).
//!
//! Different, on purpose:
//! - A template that cannot be rendered keeps no other from being rendered; with `exit_after_auth` there is an end of waiting.
//! - A token that the server does not know any more is followed by a login at once, not when its lease would be over.
//! - Unversioned secrets are read again at `static_secret_render_interval`; the peer waits for the 768 hours that come with them.
//! - Templates start no programs (`plugin`); `writeToFile` writes once the template has come to its end, and files are replaced whole.
//! - Nothing is cached, and tokens are not encrypted for a Diffie-Hellman key. What is not offered is refused or warned of, never ignored in silence.
//!
//! Secrets are in memory that is wiped, in the files that the configuration names, and in no log.

pub mod config;

mod api;
mod auth;
mod login;
mod notify;
mod owner;
mod proxy;
mod reap;
mod render;
mod renewal;
mod run;
mod sink;
mod supervise;
#[cfg(test)]
mod testing;

pub use config::Config;
pub use render::Starter;
pub use run::{Host, run};
