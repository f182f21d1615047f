//! The seals that the configuration names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bulla_core::{DataKey, Env, KeyId, SecretBytes, file};
use bulla_kms::Registry;
use bulla_server::config::{Config, Seal};
use bulla_server::seal::{AutoSeal, Seals, fixed, service};

use super::FILE;
use crate::app::App;
use crate::error::Failure;

/// Opens all of them. One that is left, and whose key is not there any more, may not be needed: that shows later.
///
/// # Errors
/// What is wrong with one that is to open the server.
pub(super) fn open(app: &App, config: &Config) -> Result<Seals, Failure> {
    let current = config.seals.iter().map(|seal| open_one(app, seal)).collect::<Result<_, _>>()?;
    let mut old = Vec::with_capacity(config.old_seals.len());
    for seal in &config.old_seals {
        match open_one(app, seal) {
            Ok(seal) => old.push(seal),
            Err(error) => tracing::warn!(error = error.message, "a seal that is disabled cannot be used"),
        }
    }
    Ok(Seals { current, old })
}

fn open_one(app: &App, seal: &Seal) -> Result<Arc<dyn AutoSeal>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let id = match seal {
        Seal::Static { id, key, previous } => {
            let mut fixed = fixed::Fixed::new(id.clone(), static_key(app.env.as_ref(), key)?);
            if let Some((id, key)) = previous {
                fixed = fixed.with_previous(id.clone(), static_key(app.env.as_ref(), key)?);
            }
            return Ok(Arc::new(fixed));
        }
        Seal::Transit(url) => KeyId::parse_vault_transit(url).map_err(|error| failed(&error))?,
        Seal::AwsKms(arn) => KeyId::AwsKms { arn: arn.clone(), role: None, context: BTreeMap::new(), profile: None },
        Seal::Local(path) => KeyId::Local { path: path.clone() },
    };
    let registry = Registry::new(Arc::clone(&app.env), bulla_kms::Options::default());
    let opened = registry.open(&id).map_err(|error| failed(&error))?;
    Ok(Arc::new(service::Service::new(opened)))
}

/// `file://PATH`, `env://NAME`, or the key itself in base64 or hex.
fn static_key(env: &dyn Env, place: &str) -> Result<DataKey, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(format!("the static seal's key: {error}"));
    let bytes = if let Some(path) = place.strip_prefix("file://") {
        file::read_key(Path::new(path), FILE).map_err(|error| failed(&error))?
    } else if let Some(name) = place.strip_prefix("env://") {
        SecretBytes::from(env.text(name).ok_or_else(|| failed(&format!("{name} is not set")))?.into_bytes())
    } else {
        SecretBytes::from(place.as_bytes())
    };
    fixed::read_key(&bytes).map_err(|error| failed(&error))
}
