//! An answer, before it is JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::TokenText;
use crate::json::{Object, Value};

/// A body that is made while it is sent: its type, and its pieces, which are given to one who asks. A piece that is an error ends the connection, so that
/// nobody takes what came before for all.
#[derive(Clone)]
pub struct Stream {
    kind: &'static str,
    pieces: Arc<Mutex<Option<Pieces>>>,
}

type Pieces = mpsc::Receiver<Result<Bytes, String>>;

impl Stream {
    /// Of these pieces.
    pub fn new(kind: &'static str, pieces: Pieces) -> Self {
        Self { kind, pieces: Arc::new(Mutex::new(Some(pieces))) }
    }

    /// Its media type.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The pieces, unless somebody has them.
    pub fn take(&self) -> Option<Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.kind)
    }
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The HTTP status, if it is not 200 (or 204 when there is nothing to say).
    pub status: Option<u16>,
    /// Under `data`.
    pub data: Option<Object>,
    /// Whether what is under `data` also stands at the top, as some of the oldest paths have it.
    pub flat: bool,
    /// A login that the core makes a token of.
    pub auth: Option<Auth>,
    /// A secret with an end, that the core makes a lease of.
    pub secret: Option<Secret>,
    /// Under `lease_duration`, of an answer without a lease.
    pub lease_duration: i64,
    /// Under `warnings`.
    pub warnings: Vec<String>,
    /// Another body than JSON of this: its type and contents.
    pub raw: Option<(&'static str, Vec<u8>)>,
    /// Another body, that is made while it is sent. It is never wrapped.
    pub stream: Option<Stream>,
    /// How long the answer is to be wrapped if the client does not say.
    pub wrap_ttl: Option<std::time::Duration>,
    /// What is in it is nowhere else, and without it nobody opens the server again: it leaves as it is, also if it cannot be written down.
    pub irreplaceable: bool,
    /// Set by the core: the token that was made.
    pub issued: Option<Issued>,
    /// Set by the core: the lease that was made, its seconds, and whether it can be renewed.
    pub lease: Option<(String, i64, bool)>,
    /// Set by the core: where the answer is instead.
    pub wrap_info: Option<WrapInfo>,
}

impl Response {
    /// Nothing to say: 204.
    pub fn empty() -> Self {
        Self::default()
    }

    /// With `data`.
    pub fn data(data: Object) -> Self {
        Self { data: Some(data), ..Self::default() }
    }

    /// The same, also at the top.
    #[must_use]
    pub fn flat(data: Object) -> Self {
        Self { flat: true, ..Self::data(data) }
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.status.is_none()
            && self.data.is_none()
            && self.auth.is_none()
            && self.secret.is_none()
            && self.issued.is_none()
            && self.wrap_info.is_none()
            && self.raw.is_none()
            && self.stream.is_none()
            && self.warnings.is_empty()
    }

    /// Names; none is 404.
    pub fn list(keys: Vec<String>) -> super::Result<Self> {
        if keys.is_empty() {
            return Err(super::Error::not_found());
        }
        Ok(Self::data(Object::from([("keys".to_owned(), Value::from(keys))])))
    }

    /// The same with a warning.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// The same under another status.
    #[must_use]
    pub const fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

/// How a token is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenType {
    /// In storage: it can be renewed and revoked, and has children.
    #[default]
    Service,
    /// In itself, encrypted: nothing is stored, and it ends by itself.
    Batch,
    /// What the mount says.
    Default,
    /// A service token, unless the client asks for a batch token.
    DefaultService,
    /// A batch token, unless the client asks for a service token.
    DefaultBatch,
}

impl TokenType {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Batch => "batch",
            Self::Default => "default",
            Self::DefaultService => "default-service",
            Self::DefaultBatch => "default-batch",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Service, Self::Batch, Self::Default, Self::DefaultService, Self::DefaultBatch];
        all.into_iter().find(|one| one.name() == name)
    }
}

/// What a login gives: the token that is to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// Its policies; `default` is added unless `no_default_policy`.
    pub policies: Vec<String>,
    /// Whether `default` is left out.
    pub no_default_policy: bool,
    /// What is known of who logged in.
    pub metadata: BTreeMap<String, String>,
    /// The name it is shown under.
    pub display_name: String,
    /// Its first seconds; 0: the mount's.
    pub ttl: i64,
    /// Its most seconds; 0: the mount's.
    pub max_ttl: i64,
    /// Seconds that no renewal goes beyond; 0: none.
    pub explicit_max_ttl: i64,
    /// Seconds that each renewal gives it, without an end; 0: it has one.
    pub period: i64,
    /// How often it can be used; 0: as often as wanted.
    pub num_uses: i64,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// How it is kept.
    pub token_type: TokenType,
    /// The networks it can be used from; empty: all.
    pub bound_cidrs: Vec<String>,
    /// What the method needs to judge a renewal.
    pub internal: BTreeMap<String, String>,
}

/// A token that was made.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its text.
    pub token: TokenText,
    /// The name by which it can be revoked and looked up, not used.
    pub accessor: String,
    /// Its policies.
    pub policies: Vec<String>,
    /// What is known of who has it.
    pub metadata: BTreeMap<String, String>,
    /// Its seconds.
    pub lease_duration: i64,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// How it is kept.
    pub token_type: TokenType,
    /// Whether it outlives who made it.
    pub orphan: bool,
    /// How often it can be used.
    pub num_uses: i64,
}

/// A secret with an end.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// Its first seconds; 0: the mount's.
    pub ttl: i64,
    /// Its most seconds; 0: the mount's.
    pub max_ttl: i64,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// What the engine needs to renew and revoke it. Not in the answer.
    pub internal: BTreeMap<String, String>,
}

/// Where a wrapped answer is.
#[derive(Clone, Debug)]
pub struct WrapInfo {
    /// The token that gives it, once.
    pub token: TokenText,
    /// Its accessor.
    pub accessor: String,
    /// Its seconds.
    pub ttl: i64,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// By which path.
    pub path: String,
    /// The accessor of the token inside, if the answer was a login.
    pub wrapped_accessor: Option<String>,
}
