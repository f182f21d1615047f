//! Secrets engines, a folder (or file) each.

use std::sync::Arc;

use crate::core::mount::{Catalog, Class};
use crate::logical::Declared;

pub mod cubbyhole;
pub mod kv1;
pub mod kv2;
pub mod system;
mod tools;
pub mod transit;

/// `catalog` with all of them.
#[must_use]
pub fn add(catalog: Catalog) -> Catalog {
    catalog
        .with(Class::Secret, "kv", |entry, _| {
            let version = entry.options.as_ref().and_then(|options| options.get("version"));
            if version.is_some_and(|version| version == "2") {
                Arc::new(Declared::new(kv2::Kv2))
            } else {
                Arc::new(Declared::new(kv1::Kv1))
            }
        })
        .with(Class::Secret, "transit", |_, _| Arc::new(Declared::new(transit::Transit::default())))
        .with_builtin(Class::Secret, "cubbyhole", |_, link| Arc::new(Declared::new(cubbyhole::Cubbyhole::new(link))))
        .with_builtin(Class::Secret, "system", |_, link| Arc::new(Declared::new(system::System::new(link))))
}
