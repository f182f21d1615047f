//! A failure before it is known which key it is told about: what is cached or shared by many keys fails for each of them.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bulla_core::file::exposed_mode;
use bulla_core::{KeyError, KeyErrorKind, KeyId};

/// What a [`KeyError`] says, without the key.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: KeyErrorKind,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure of `kind`; `what` says what was tried and what came back, never a secret.
    pub(crate) fn new(kind: KeyErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None }
    }

    /// Adds what the user can do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The failure as one of `key`.
    pub(crate) fn of(self, key: &KeyId) -> KeyError {
        let error = KeyError::new(self.kind, key, self.what);
        match self.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Tells the owner of a file with a secret in it that others may read it. (sops takes such files, so we do.)
pub(crate) fn warn_if_exposed(path: &Path, secret: &str) {
    if let Some(mode) = fs::metadata(path).ok().as_ref().and_then(exposed_mode) {
        let path = path.display();
        tracing::warn!("{path} holds {secret} and others may read it (mode {mode:04o}); run: chmod 600 {path}");
    }
}

/// An error and its causes in one line, without what repeats: libraries put the useful words at the far end.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = printable(&error.to_string());
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = printable(&cause.to_string());
        if !text.ends_with(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Text from elsewhere, fit for one line of a terminal: control characters become spaces, and a long text is cut.
pub(crate) fn printable(text: &str) -> String {
    const LONGEST: usize = 400;
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut clean = clean.trim().to_owned();
    if let Some((at, _)) = clean.char_indices().nth(LONGEST) {
        clean.truncate(at);
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_from_a_server_cannot_move_the_cursor_or_fill_the_screen() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc \u{7} "), "a [2Jb  c");
        assert_eq!(printable(&"é".repeat(10_000)).chars().count(), 401);
    }

    #[test]
    fn a_cause_that_is_already_quoted_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("connecting: {0}")]
        struct Outer(#[source] std::io::Error);
        let inner = std::io::Error::other("refused");
        assert_eq!(causes(&Outer(inner)), "connecting: refused");
    }
}
