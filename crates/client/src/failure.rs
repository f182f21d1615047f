//! Why a command ended early.

/// A command that is over: with a message on standard error, or with what was asked for instead of doing it.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status: 1 for the command line, 2 for what came of it.
    pub(crate) status: u8,
    /// What happened. No secret is in it.
    pub(crate) message: String,
    is_general: bool,
    /// What to print on standard output: `-output-curl-string` and its kind. The status is then 0.
    pub(crate) instead: Option<String>,
}

impl Failure {
    /// A mistake in the command line, or of this machine.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { status: 1, message: message.into(), instead: None, is_general: false }
    }

    /// What the server, or the way to it, said.
    pub(crate) fn remote(message: impl Into<String>) -> Self {
        Self { status: 2, message: message.into(), instead: None, is_general: false }
    }

    /// Nothing was done, as asked for; this is printed.
    pub(crate) fn instead(text: String) -> Self {
        Self { status: 0, message: String::new(), instead: Some(text), is_general: true }
    }

    /// It has nothing to do with what was being done: that is not put before the message.
    pub(crate) fn whatever_was_done(mut self) -> Self {
        self.is_general = true;
        self
    }

    /// Puts what was being done before the message.
    pub(crate) fn doing(mut self, what: &str) -> Self {
        if self.is_general {
            return self;
        }
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// With another exit status, unless nothing went wrong.
    pub(crate) fn with_status(mut self, status: u8) -> Self {
        if self.instead.is_none() {
            self.status = status;
        }
        self
    }
}
