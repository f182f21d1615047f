//! Stores: values kept elsewhere, read for whoever may have them. One module a store.

pub mod sealed;
pub mod sync;
