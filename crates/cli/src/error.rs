//! Why a command failed: a message, what to try, an exit status. Printed once, by `main`.

use bulla_core::KeyError;
use bulla_format::sops;
use bulla_kms::groups::{UnwrapError, WrapError};

use crate::app::Personality;
use crate::exit::Code;
use crate::term;

/// A failed command. Holds no secret value: what it is made from never does.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) code: Code,
    /// What happened, to which object. Several lines where there are several findings. Empty: say nothing.
    pub(crate) message: String,
    /// What the user can do about it, a sentence each.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new() }
    }

    /// A failure without a number of its own.
    pub(crate) fn generic(message: impl Into<String>) -> Self {
        Self::new(Code::Generic, message)
    }

    /// An exit status that says everything.
    pub(crate) fn silent(code: Code) -> Self {
        Self::new(code, "")
    }

    /// Adds what the user can do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Puts what was being done before the message.
    pub(crate) fn context(mut self, doing: &str) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// A file that could not be decrypted.
    pub(crate) fn decrypting(name: &str, error: sops::Error) -> Self {
        match error {
            sops::Error::MetadataNotFound => Self::generic(format!("{name}: sops metadata not found"))
                .with_hint("the file is not encrypted, or not of the type it was read as (see --input-type)"),
            sops::Error::Document(error) => Self::generic(format!("{name}: cannot read the encrypted file: {error}")),
            sops::Error::Metadata(what) => Self::generic(format!("{name}: {what}")),
            error @ sops::Error::Value { .. } => {
                Self::new(Code::CannotDecryptTree, format!("{name}: Error decrypting tree: {error}"))
            }
            error @ (sops::Error::Mac(_) | sops::Error::Alias) => {
                Self::new(Code::MacMismatch, format!("{name}: {error}")).with_hint(
                    "the file was changed without its keys; compare it with an older version before you trust it",
                )
            }
            error => Self::generic(format!("{name}: {error}")),
        }
    }

    /// A file that could not be encrypted.
    pub(crate) fn encrypting(name: &str, error: sops::Error) -> Self {
        match error {
            sops::Error::AlreadyEncrypted => Self::new(Code::AlreadyEncrypted, format!("{name}: {error}")).with_hint(
                "to change an encrypted file use `edit`; if it is not encrypted, rename its top-level entry `sops`",
            ),
            sops::Error::Empty => Self::new(Code::EmptyFile, format!("{name}: {error}")),
            sops::Error::Document(error) => Self::new(Code::CouldNotReadInput, format!("{name}: {error}")),
            sops::Error::Value { .. } => Self::new(Code::CannotEncryptTree, format!("{name}: {error}")),
            error => Self::generic(format!("{name}: {error}")),
        }
    }

    /// A data key that no key opened.
    pub(crate) fn unwrapping(name: &str, error: &UnwrapError) -> Self {
        let several = error.groups.len() > 1;
        let mut lines = vec![format!("{name}: Failed to get the data key required to decrypt the SOPS file: {error}")];
        for (index, group) in error.groups.iter().enumerate() {
            let group_name = if several { format!("group {}: ", index + 1) } else { String::new() };
            lines.extend(group.iter().map(|key| format!("  {group_name}{key}")));
        }
        lines.extend(error.reason.iter().map(|reason| format!("  {reason}")));
        Self::new(Code::NoDataKey, lines.join("\n")).with_key_hints(error.groups.iter().flatten())
    }

    /// A data key that some recipient could not get.
    pub(crate) fn wrapping(name: &str, error: &WrapError) -> Self {
        let mut lines = vec![format!("{name}: Could not generate data key: {error}")];
        lines.extend(error.keys.iter().map(|key| format!("  {key}")));
        Self::generic(lines.join("\n")).with_key_hints(error.keys.iter())
    }

    fn with_key_hints<'a>(self, errors: impl Iterator<Item = &'a KeyError>) -> Self {
        errors.filter_map(KeyError::hint).fold(self, Failure::with_hint)
    }

    /// Prints the failure on stderr, `prefix` first, and its hints.
    pub(crate) fn print(&self, prefix: &str) {
        if !self.message.is_empty() {
            // sops begins some of its messages so; said once is enough.
            let message = match prefix {
                "" => self.message.as_str(),
                _ => self.message.strip_prefix("Error: ").unwrap_or(&self.message),
            };
            term::say(&format!("{prefix}{message}"));
            for hint in &self.hints {
                term::say(&format!("hint: {hint}"));
            }
        }
    }

    /// Prints the failure as a program of this name does, and gives the exit status.
    pub(crate) fn report(&self, personality: Personality) -> std::process::ExitCode {
        self.print(match personality {
            Personality::Bulla | Personality::Kubeseal => "error: ",
            Personality::Sops => "",
        });
        match personality {
            // One status says all there.
            Personality::Kubeseal if !self.message.is_empty() => Code::Generic.into(),
            _ => self.code.into(),
        }
    }
}
