//! Stores: values kept elsewhere, read for whoever may have them. One module a store; what they have in common is the traits
//! [`Store`] and [`Session`], what spares them is [`shared`] and [`limit`].

pub mod limit;
pub mod sealed;
pub mod shared;
pub mod sync;
pub mod vault;

mod store;

pub use store::{Lease, Session, Store, StoreError, StoreErrorKind};
