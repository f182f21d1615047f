//! Errors as clients see them: a status and texts.

use crate::barrier::BarrierError;
use crate::json::Object;

/// What handlers return.
pub type Result<T> = std::result::Result<T, Error>;

/// An answer that is an error. What only the operator should see is logged where it happens, and is not in here.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status}: {}", messages.join("; "))]
pub struct Error {
    /// The HTTP status.
    pub status: u16,
    /// The texts under `errors`.
    pub messages: Vec<String>,
    /// An answer with data that goes under this status instead of texts.
    pub data: Option<Object>,
}

impl Error {
    /// `status` with one text.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, messages: vec![message.into()], data: None }
    }

    /// `status` with one text in the form that the peer gives its own errors; clients look for parts of it.
    pub fn wrapped(status: u16, message: &str) -> Self {
        Self::new(status, format!("1 error occurred:\n\t* {message}\n\n"))
    }

    /// The request is not right. 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// The token's policies do not allow it. 403.
    pub fn denied() -> Self {
        Self::wrapped(403, "permission denied")
    }

    /// There is no such token. 403.
    pub fn no_token() -> Self {
        Self::new(403, "permission denied")
    }

    /// Nothing is there. 404 without a text.
    pub const fn not_found() -> Self {
        Self { status: 404, messages: Vec::new(), data: None }
    }

    /// The engine has no such path. 404.
    pub fn unsupported_path() -> Self {
        Self::wrapped(404, "unsupported path")
    }

    /// The path is not there for this method. 405.
    pub fn unsupported_operation() -> Self {
        Self::wrapped(405, "unsupported operation")
    }

    /// Something of ours failed; `what` goes to the log, not to the client. 500.
    pub fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %what, "a request failed");
        Self::wrapped(500, "internal error")
    }
}

impl From<BarrierError> for Error {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Storage(crate::storage::StorageError::TooLarge { what, limit }) => {
                Self::new(413, format!("the {what} is longer than the limit of {limit} bytes"))
            }
            error => Self::internal(&error),
        }
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(&error)
    }
}
