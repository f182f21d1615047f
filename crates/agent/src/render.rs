//! Templates: what they ask for is read, renewed and read again, and they are rendered whenever it changes.
//!
//! - [`need`]: what a template asks for, by which answers are shared between templates;
//! - [`follow`]: one such thing, read and kept current by a task of its own;
//! - [`secret`], [`certificate`]: what servers answer, as templates see it, and for how long it is good;
//! - [`functions`]: consul-template's functions that ask for it;
//! - [`engine`]: the templates, and who waits for what;
//! - [`destination`], [`command`]: files, and what runs when they have changed.
//!
//! A template that cannot be rendered keeps no other from being rendered.

mod certificate;
pub(crate) mod command;
mod destination;
pub(crate) mod engine;
mod follow;
mod functions;
mod need;
mod outside;
mod secret;

pub use command::Starter;
pub(crate) use engine::{Engine, Event, Kind};
pub(crate) use follow::Following;
