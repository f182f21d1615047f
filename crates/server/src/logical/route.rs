//! A declared path: where, which fields, what can be done, by whom.

use std::future::Future;
use std::pin::Pin;

use super::field::Field;
use super::{Call, Operation, Response, Result};

/// What a handler returns.
pub type Pinned<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
type Handler<E> = for<'a> fn(&'a E, &'a Call<'a>) -> Pinned<'a, Response>;
type Exists<E> = for<'a> fn(&'a E, &'a Call<'a>) -> Pinned<'a, bool>;

/// Who may call a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Whose policies allow it.
    #[default]
    Token,
    /// Whose policies allow it, with `sudo`.
    Sudo,
    /// Everybody.
    Open,
}

/// A path of an engine.
///
/// The pattern is segments with slashes between: a literal, `{name}` for one segment of letters, digits, `_`, `-` and `.`, or at the end `{name*}`
/// for all that is left (nothing, too). `/?` at the end is a slash that may be missing.
pub struct Route<E: ?Sized> {
    pub(super) described: Described,
    pub(super) handlers: Vec<(Operation, Handler<E>)>,
    pub(super) exists: Option<Exists<E>>,
}

/// A path as help and `OpenAPI` show it.
#[derive(Clone, Debug)]
pub struct Described {
    /// The pattern.
    pub pattern: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// Who may call it.
    pub access: Access,
    /// What can be done.
    pub operations: Vec<Operation>,
    /// Whether writing distinguishes what is new.
    pub creates: bool,
    /// What has no effect but its answer.
    pub unchanging: &'static [Operation],
    /// Whether fields are taken that are not declared.
    pub takes_any: bool,
}

impl<E: ?Sized> Route<E> {
    /// A path with nothing to do on it.
    pub const fn new(pattern: &'static str, about: &'static str) -> Self {
        let described = Described {
            pattern,
            about,
            fields: &[],
            access: Access::Token,
            operations: Vec::new(),
            creates: false,
            unchanging: &[],
            takes_any: false,
        };
        Self { described, handlers: Vec::new(), exists: None }
    }

    /// With these fields.
    #[must_use]
    pub const fn fields(mut self, fields: &'static [Field]) -> Self {
        self.described.fields = fields;
        self
    }

    /// With any field.
    #[must_use]
    pub const fn any_field(mut self) -> Self {
        self.described.takes_any = true;
        self
    }

    /// For these callers.
    #[must_use]
    pub const fn access(mut self, access: Access) -> Self {
        self.described.access = access;
        self
    }

    /// On `operation` this is done.
    #[must_use]
    pub fn on(mut self, operation: Operation, handler: Handler<E>) -> Self {
        self.described.operations.push(operation);
        self.handlers.push((operation, handler));
        self
    }

    /// These operations have no effect but their answer: nothing is written, nobody else is asked, nothing is remembered that decides anything later. What was
    /// asked is written down with what is answered if that comes at once, and before if it takes its time: of a process that ends in the moment between, there is no
    /// record.
    #[must_use]
    pub const fn unchanging(mut self, operations: &'static [Operation]) -> Self {
        self.described.unchanging = operations;
        self
    }

    /// Writing is `create` where `exists` says no, and `update` where it says yes; without this it is always `update`.
    #[must_use]
    pub fn exists(mut self, exists: Exists<E>) -> Self {
        self.described.creates = true;
        self.exists = Some(exists);
        self
    }
}
