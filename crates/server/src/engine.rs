//! Secrets engines, a folder (or file) each.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::barrier::View;
use crate::core::mount::{Catalog, Class};
use crate::logical::{Declared, Result};

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

/// All names below `folder`, those in folders too: of each folder its entries, then its folders'.
async fn scan(view: &View, folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut folders = VecDeque::from([String::new()]);
    while let Some(inner) = folders.pop_front() {
        for name in view.list(&format!("{folder}{inner}"), "", 0).await? {
            let path = format!("{inner}{name}");
            if name.ends_with('/') { folders.push_back(path) } else { names.push(path) }
        }
    }
    Ok(names)
}
