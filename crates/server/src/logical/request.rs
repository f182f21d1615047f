//! A request, past the edge: who asks for what, with which fields.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::core::audited::Header;
use crate::json::Object;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Write where nothing is.
    Create,
    /// Read.
    Read,
    /// Write where something is.
    Update,
    /// Change parts (JSON merge patch).
    Patch,
    /// Delete.
    Delete,
    /// The names below.
    List,
    /// All names below, of folders too.
    Scan,
    /// Help on a path.
    Help,
}

impl Operation {
    /// As audit records name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Scan => "scan",
            Self::Help => "help",
        }
    }
}

/// A token's text. Wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// Takes a token.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText")
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its id, in audit records and the answer.
    pub id: String,
    /// What is to be done.
    pub operation: Operation,
    /// Where, below `/v1/`.
    pub path: String,
    /// The fields of the body or the query.
    pub data: Object,
    /// The token that came with it.
    pub token: Option<TokenText>,
    /// How long its answer is to be wrapped, if it is.
    pub wrap_ttl: Option<Duration>,
    /// Who connected.
    pub remote: Option<IpAddr>,
    /// From which port.
    pub remote_port: u16,
    /// Headers that are to be written down.
    pub headers: Vec<Header>,
}

impl Request {
    /// What is asked for, without an id, by nobody, from nowhere.
    pub fn new(operation: Operation, path: impl Into<String>, data: Object) -> Self {
        Self {
            id: String::new(),
            operation,
            path: path.into(),
            data,
            token: None,
            wrap_ttl: None,
            remote: None,
            remote_port: 0,
            headers: Vec::new(),
        }
    }
}

/// Who asks: a token that was found.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's hash, by which everything of it is found.
    pub hash: String,
    /// What is known of it.
    pub entry: Arc<crate::core::token::Entry>,
    /// The rules of its policies.
    pub acl: Arc<crate::core::policy::Acl>,
}
