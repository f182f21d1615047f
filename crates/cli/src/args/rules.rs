//! Which values of a new file are encrypted.

use bulla_format::sops::Rules;
use clap::Args;

use super::given;

/// Flags of commands that make new encrypted files. They go before those of the configuration.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What is encrypted (one of the rules)")]
pub(crate) struct RuleArgs {
    /// Leave values plain whose key ends with this
    #[arg(long, value_name = "SUFFIX")]
    pub(crate) unencrypted_suffix: Option<String>,

    /// Encrypt only values whose key ends with this
    #[arg(long, value_name = "SUFFIX")]
    pub(crate) encrypted_suffix: Option<String>,

    /// Leave values plain whose key matches this
    #[arg(long, value_name = "REGEX")]
    pub(crate) unencrypted_regex: Option<String>,

    /// Encrypt only values whose key matches this
    #[arg(long, value_name = "REGEX")]
    pub(crate) encrypted_regex: Option<String>,

    /// Leave values plain below a comment that matches this
    #[arg(long, value_name = "REGEX")]
    pub(crate) unencrypted_comment_regex: Option<String>,

    /// Encrypt only values below a comment that matches this
    #[arg(long, value_name = "REGEX")]
    pub(crate) encrypted_comment_regex: Option<String>,

    /// Let the MAC cover encrypted values only
    #[arg(long)]
    pub(crate) mac_only_encrypted: bool,
}

impl RuleArgs {
    /// The rules that the flags make, each from `configured` where its flag is not given.
    pub(crate) fn over(&self, configured: &Rules) -> Rules {
        let choose = |flag: &Option<String>, configured: &Option<String>| {
            given(flag.as_ref()).or(given(configured.as_ref())).map(str::to_owned)
        };
        Rules {
            unencrypted_suffix: choose(&self.unencrypted_suffix, &configured.unencrypted_suffix),
            encrypted_suffix: choose(&self.encrypted_suffix, &configured.encrypted_suffix),
            unencrypted_regex: choose(&self.unencrypted_regex, &configured.unencrypted_regex),
            encrypted_regex: choose(&self.encrypted_regex, &configured.encrypted_regex),
            unencrypted_comment_regex: choose(&self.unencrypted_comment_regex, &configured.unencrypted_comment_regex),
            encrypted_comment_regex: choose(&self.encrypted_comment_regex, &configured.encrypted_comment_regex),
            mac_only_encrypted: self.mac_only_encrypted || configured.mac_only_encrypted,
        }
    }
}
