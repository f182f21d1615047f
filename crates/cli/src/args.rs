//! Groups of flags that several commands share, each defined once.

mod access;
mod api;
mod keys;
mod mac;
mod many;
mod output;
mod rules;
pub(crate) mod sealing_keys;
mod types;

pub(crate) use access::{AccessArgs, duration, go_bool};
pub(crate) use api::ApiArgs;
pub(crate) use keys::{AddKeys, EncryptKeys, GroupKeys, KEY_FLAGS, RemoveKeys};
pub(crate) use mac::MacArgs;
pub(crate) use many::{ManyArgs, ReportFormat};
pub(crate) use output::OutputArgs;
pub(crate) use rules::RuleArgs;
pub(crate) use types::{FileType, TypeArgs};

/// A text flag that was given. An empty one counts as not given, as in sops.
pub(crate) fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
