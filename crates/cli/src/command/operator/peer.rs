//! What sealed-secrets' controller is told: its flags that mean nothing here, and its command line under its name.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use bulla_core::Env;
use clap::Args;

use crate::args::go_bool;
use crate::term;

/// The names under which the program takes the peer's command line.
const NAMES: [&str; 2] = ["sealed-secrets-controller", "controller"];
/// What its variables begin with.
const PREFIX: &str = "SEALED_SECRETS_";

/// Flags of the peer that do something here under another name, or nothing.
#[derive(Args, Debug)]
pub(super) struct PeerArgs {
    /// Do not watch Secrets: one that is changed or deleted stays so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool, help_heading = "Sealing")]
    skip_recreate: bool,

    #[arg(long, hide = true)]
    max_unseal_retries: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kubeclient_qps: Option<String>,
    #[arg(long, hide = true)]
    kubeclient_burst: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_info_stdout: Option<String>,
    #[arg(long, hide = true)]
    log_level: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    watch_for_secrets: Option<String>,
    #[arg(long, hide = true)]
    read_timeout: Option<String>,
    #[arg(long, hide = true)]
    write_timeout: Option<String>,
    #[arg(long, hide = true)]
    privatekey_annotations: Option<String>,
    #[arg(long, hide = true)]
    privatekey_labels: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    old_gc_behavior: Option<String>,
}

impl PeerArgs {
    pub(super) const fn skip_recreate(&self) -> bool {
        self.skip_recreate
    }

    /// Says which flags do not do here what they do there.
    pub(super) fn warn(&self) {
        for warning in self.warnings() {
            term::warn(&warning);
        }
    }

    /// One for each flag that was given and would change something there.
    fn warnings(&self) -> Vec<String> {
        const RETRIES: &str = "what fails is tried again until it works";
        const QPS: &str = "--requests says how many requests may be under way at once";
        const LEVEL: &str = "BULLA_LOG says what is logged: error, info, debug";
        const STREAM: &str = "the log goes to standard error, all of it";
        const WATCH: &str = "keys are watched, always";
        const TIMEOUTS: &str = "the API has time limits of its own";
        const GC: &str = "Secrets go with their SealedSecret by owner references";
        const MARKS: &str = "key objects get none";
        let any: fn(&str) -> bool = |_| true;
        let but_false: fn(&str) -> bool = |value| value != "false";
        let flags = [
            ("max-unseal-retries", &self.max_unseal_retries, any, RETRIES),
            ("kubeclient-qps", &self.kubeclient_qps, any, QPS),
            ("kubeclient-burst", &self.kubeclient_burst, any, QPS),
            ("log-level", &self.log_level, |value| !value.eq_ignore_ascii_case("info"), LEVEL),
            ("log-info-stdout", &self.log_info_stdout, but_false, STREAM),
            ("watch-for-secrets", &self.watch_for_secrets, |value| value == "false", WATCH),
            ("read-timeout", &self.read_timeout, any, TIMEOUTS),
            ("write-timeout", &self.write_timeout, any, TIMEOUTS),
            ("old-gc-behavior", &self.old_gc_behavior, but_false, GC),
            ("privatekey-annotations", &self.privatekey_annotations, any, MARKS),
            ("privatekey-labels", &self.privatekey_labels, any, MARKS),
        ];
        let matters = |value: &Option<String>, when: fn(&str) -> bool| {
            value.as_deref().is_some_and(|value| !value.is_empty() && when(value))
        };
        let given = flags.into_iter().filter(|(_, value, when, _)| matters(value, *when));
        given.map(|(flag, _, _, instead)| format!("--{flag} does nothing here: {instead}")).collect()
    }
}

/// The command line `bulla operator sealing …` that a command line under the peer's name means; `None` under any other name.
///
/// Go's flags may have one dash, and each may be given as a variable.
pub(crate) fn arguments(argv: &[OsString], env: &dyn Env) -> Option<Vec<OsString>> {
    let name = argv.first().map(Path::new).and_then(Path::file_stem).and_then(OsStr::to_str)?;
    if !NAMES.contains(&name) {
        return None;
    }
    let given: Vec<String> = argv.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut result: Vec<OsString> = ["bulla", "operator", "sealing"].map(OsString::from).into();
    for flag in VARIABLES {
        let variable = format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"));
        let is_given = given.iter().any(|text| text.trim_start_matches('-').split('=').next() == Some(flag));
        if let Some(value) = env.text(&variable).filter(|_| !is_given) {
            result.push(format!("--{flag}={value}").into());
        }
    }
    result.extend(given.into_iter().map(|text| match text.strip_prefix('-') {
        Some(flag) if flag.len() > 1 && !flag.starts_with('-') && !flag.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("--{flag}").into()
        }
        _ => text.into(),
    }));
    Some(result)
}

/// The peer's flags that may be given as variables.
const VARIABLES: [&str; 28] = [
    "key-prefix",
    "key-size",
    "key-ttl",
    "my-cn",
    "key-renew-period",
    "rotate-period",
    "key-order-priority",
    "accept-deprecated-v1-data",
    "key-cutoff-time",
    "all-namespaces",
    "additional-namespaces",
    "label-selector",
    "rate-limit",
    "rate-limit-burst",
    "update-status",
    "skip-recreate",
    "old-gc-behavior",
    "listen-addr",
    "listen-metrics-addr",
    "privatekey-annotations",
    "privatekey-labels",
    "log-format",
    "log-level",
    "log-info-stdout",
    "max-unseal-retries",
    "kubeclient-qps",
    "kubeclient-burst",
    "watch-for-secrets",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    fn translate(argv: &[&str], env: &[(&str, &str)]) -> Option<Vec<String>> {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        arguments(&argv, &env).map(|all| all.into_iter().map(|one| one.into_string().unwrap()).collect())
    }

    #[test]
    fn the_peer_s_command_line_is_taken_under_its_name_alone() {
        let line = translate(&["/usr/local/bin/controller", "-key-prefix", "k", "--update-status=false"], &[]).unwrap();
        assert_eq!(line, ["bulla", "operator", "sealing", "--key-prefix", "k", "--update-status=false"]);
        assert_eq!(translate(&["/usr/bin/bulla", "-key-prefix", "k"], &[]), None);
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        peer: PeerArgs,
    }

    #[test]
    fn a_flag_that_does_nothing_says_so_once_and_its_default_says_nothing() {
        let warnings = |argv: &[&str]| {
            let line = <Line as clap::Parser>::try_parse_from([&["x"], argv].concat()).unwrap();
            line.peer.warnings()
        };
        let silent = ["--log-level=INFO", "--log-info-stdout=false", "--watch-for-secrets", "--old-gc-behavior=false"];
        assert_eq!(warnings(&silent), Vec::<String>::new());
        let said =
            warnings(&["--max-unseal-retries", "3", "--kubeclient-qps=-1", "--log-level=ERROR", "--read-timeout=2m"]);
        assert_eq!(said.len(), 4);
        assert!(said[0].starts_with("--max-unseal-retries does nothing here: "), "{}", said[0]);
        for argv in [
            ["--kubeclient-burst=1"],
            ["--log-info-stdout"],
            ["--watch-for-secrets=false"],
            ["--privatekey-labels=a=b"],
        ] {
            assert_eq!(warnings(&argv).len(), 1, "{argv:?}");
        }
    }

    #[test]
    fn its_variables_count_unless_the_flag_is_given() {
        let env = [("SEALED_SECRETS_KEY_PREFIX", "env"), ("SEALED_SECRETS_MY_CN", "name")];
        let line = translate(&["sealed-secrets-controller", "--key-prefix=flag"], &env).unwrap();
        assert_eq!(line, ["bulla", "operator", "sealing", "--my-cn=name", "--key-prefix=flag"]);
    }
}
