//! Auth methods, a folder (or file) each.

use std::sync::Arc;

use crate::core::mount::{Catalog, Class};
use crate::logical::Declared;

pub mod approle;
pub mod glob;
pub mod jose;
pub mod jwt;
pub mod kubernetes;
pub mod legacy;
pub mod params;
pub mod token;
pub mod userpass;

/// `catalog` with all of them.
#[must_use]
pub fn add(catalog: Catalog) -> Catalog {
    catalog
        .with(Class::Auth, "approle", |_, link| Arc::new(Declared::new(approle::AppRole::new(link))))
        .with(Class::Auth, "jwt", |_, _| Arc::new(Declared::new(jwt::Jwt::default())))
        .with(Class::Auth, "kubernetes", |_, _| Arc::new(Declared::new(kubernetes::Kubernetes::default())))
        .with(Class::Auth, "userpass", |_, link| Arc::new(Declared::new(userpass::Userpass::new(link))))
        .with_builtin(Class::Auth, "token", |_, link| Arc::new(Declared::new(token::Token::new(link))))
}
