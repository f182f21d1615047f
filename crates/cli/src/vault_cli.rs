//! The command lines of Vault and `OpenBao`: `bulla_client` under the names `vault` and `bao`. `server`, `agent` and `operator migrate` are ours.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use bulla_client::{Host, Name};
use bulla_core::env::ProcessEnv;
use bulla_server::core::API_VERSION;

use crate::app::Personality;
use crate::cli;

/// Runs the command line, if the program was started under one of the two names.
pub(crate) fn run(argv: &[OsString]) -> Option<ExitCode> {
    let started = argv.first().map(Path::new).and_then(Path::file_stem)?;
    let name = match started.to_str()? {
        "vault" => Name::Vault,
        "bao" => Name::Bao,
        _ => return None,
    };
    let arguments = argv.get(1..).unwrap_or_default();
    let words = |number: usize| arguments.iter().take(number).map(|word| word.to_str().unwrap_or_default());
    let ours = if words(1).eq(["server"]) || words(1).eq(["agent"]) {
        Some((&["bulla"][..], arguments))
    } else if words(2).eq(["operator", "migrate"]) {
        Some((&["bulla", "server"][..], &arguments[1..]))
    } else {
        None
    };
    if let Some((before, rest)) = ours {
        let argv = before.iter().map(OsString::from).chain(rest.iter().cloned()).collect();
        return Some(match cli::run(Personality::Bulla, argv) {
            Ok(code) => code.into(),
            Err(failure) => failure.report(Personality::Bulla),
        });
    }
    Some(bulla_client::run(&Host { name, env: &ProcessEnv, version: API_VERSION }, arguments).into())
}
