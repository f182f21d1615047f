//! The built binary, under both of its names, beside the real sops.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code: a failure is a panic")]

mod check;
mod demo;
mod diff;
mod edit;
mod env;
mod env_watch;
mod exec;
mod exec_signals;
mod exec_user;
mod faults;
mod folders;
mod git_guard;
mod git_merge;
mod git_textconv;
mod help;
mod keys;
mod keyservice;
mod logging;
mod pipes;
mod processes;
mod repository;
mod same_as_sops;
mod seal;
mod seal_cluster;
mod seal_compat;
mod seal_hybrid;
mod seal_layout;
mod seal_merge;
mod seal_recovery;
mod server;
mod server_storage;
mod values;
mod vault_cli;
mod vault_cli_faults;
mod world;
