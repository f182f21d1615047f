//! How a file's integrity is checked.

use bulla_format::sops::MacCheck;
use clap::Args;

/// Flags of every command that decrypts.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct MacArgs {
    /// Do not check the file's integrity
    #[arg(long)]
    pub(crate) ignore_mac: bool,

    /// Refuse files without bulla's own MAC, which binds each value to its place
    #[arg(long, conflicts_with = "ignore_mac")]
    pub(crate) strict: bool,
}

impl From<MacArgs> for MacCheck {
    fn from(args: MacArgs) -> Self {
        match args {
            MacArgs { ignore_mac: true, .. } => Self::Ignore,
            MacArgs { strict: true, .. } => Self::Strict,
            MacArgs { .. } => Self::Check,
        }
    }
}
