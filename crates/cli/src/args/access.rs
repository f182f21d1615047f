//! Where data keys are unwrapped, and in which order keys are tried.

use std::time::Duration;

use clap::Args;

use crate::env_vars;

/// Flags of every command that needs a data key.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Key services")]
pub(crate) struct AccessArgs {
    #[arg(long, help = "Use a remote key service as well (tcp://HOST:PORT or unix:///PATH); may be repeated", value_name = "URI", env = env_vars::SOPS_KEYSERVICE, hide_env = true, value_delimiter = ',')]
    pub(crate) keyservice: Vec<String>,

    /// Use the key services of this process (default true)
    #[arg(
        long,
        value_name = "BOOL",
        env = env_vars::SOPS_ENABLE_LOCAL_KEYSERVICE,
        hide_env = true,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        value_parser = go_bool,
        action = clap::ArgAction::Set
    )]
    pub(crate) enable_local_keyservice: bool,

    #[arg(long, help = "Try these kinds of keys first, separated by commas (age,pgp,kms,hc_vault,local)", value_name = "KINDS", env = env_vars::SOPS_DECRYPTION_ORDER, hide_env = true)]
    pub(crate) decryption_order: Option<String>,

    /// Give up on a key after this time: 10s, 500ms (default 30s)
    #[arg(long, value_name = "TIME", env = env_vars::BULLA_KEY_TIMEOUT, hide_env = true, value_parser = duration)]
    pub(crate) key_timeout: Option<Duration>,
}

/// A time with its unit; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // A variable that is set to nothing counts as not set.
    if text.is_empty() {
        return Ok(bulla_kms::Options::default().timeout);
    }
    let seconds = text.parse::<u64>().map(Duration::from_secs).ok();
    let with_unit = || text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    let duration = seconds.or_else(with_unit).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "must be a time, as 10s or 500ms".to_owned())
}

/// A truth value as Go's `strconv.ParseBool` reads it, which sops' scripts rely on; empty means false there.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_or_are_seconds() {
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert_eq!(duration(""), Ok(Duration::from_secs(30)));
        for text in ["0", "-1s", "fast"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
