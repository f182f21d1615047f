//! What an engine and an auth method are made of: requests, answers, declared paths and fields.
//!
//! An [`Engine`] declares its [`Route`]s once. From the declaration come routing (a tree of segments, no regular expressions), the validation of
//! fields, who may call without a token, help and `OpenAPI`. Handlers get a [`Call`]: fields already typed, storage already confined to the mount.

mod call;
mod duration;
mod engine;
mod error;
mod field;
mod render;
mod request;
mod response;
mod route;
mod tree;

pub use call::{Call, Input, MountInfo};
pub use duration::{format_go, parse_seconds};
pub use engine::{Backend, Declared, Engine, Found, Lease};
pub use error::{Error, Result};
pub use field::{Field, Kind, go_type};
pub use render::{auth as render_auth, render};
pub use request::{Caller, Operation, Request, TokenText};
pub use response::{Auth, Issued, Response, Secret, Stream, TokenType, WrapInfo};
pub use route::{Access, Described, Pinned, Route};
pub use tree::Tree;

#[cfg(test)]
mod tests;
