//! A mount as answers show it.

use crate::core::API_VERSION;
use crate::core::mount::{Config, Entry};
use crate::json::{Object, Value};

/// All of it.
pub fn entry(entry: &Entry) -> Object {
    let mut shown = object! {
        "accessor": entry.accessor.as_str(),
        "config": config(&entry.config),
        "description": entry.description.as_str(),
        "external_entropy_access": false,
        "local": entry.local,
        "options": entry.options.as_ref().map_or(Value::Null, Value::from),
        "plugin_version": "",
        "running_plugin_version": format!("v{API_VERSION}.builtin"),
        "running_sha256": "",
        "seal_wrap": entry.seal_wrap,
        "type": entry.kind.as_str(),
        "uuid": entry.uuid.as_str(),
    };
    // What can be mounted by anybody can be given up one day; what is always there cannot.
    if !matches!(entry.kind.as_str(), "system" | "cubbyhole" | "token") {
        shown.insert("deprecation_status".to_owned(), "supported".into());
    }
    shown
}

/// What is tuned, as it was set.
fn config(config: &Config) -> Object {
    let mut shown = object! {
        "default_lease_ttl": config.default_lease_ttl,
        "force_no_cache": config.force_no_cache,
        "max_lease_ttl": config.max_lease_ttl,
    };
    shown.extend(extras(config));
    if let Some(lockout) = &config.lockout {
        shown.insert("user_lockout_config".to_owned(), super::locked::shown(lockout).into());
    }
    shown
}

/// What is there if it was set.
pub fn extras(config: &Config) -> Object {
    let mut shown = Object::new();
    if let Some(token_type) = config.token_type {
        shown.insert("token_type".to_owned(), token_type.name().into());
    }
    if !config.listing_visibility.is_empty() {
        shown.insert("listing_visibility".to_owned(), config.listing_visibility.as_str().into());
    }
    let lists = [
        ("passthrough_request_headers", &config.passthrough_request_headers),
        ("allowed_response_headers", &config.allowed_response_headers),
        ("audit_non_hmac_request_keys", &config.audit_non_hmac_request_keys),
        ("audit_non_hmac_response_keys", &config.audit_non_hmac_response_keys),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            shown.insert(name.to_owned(), list.as_slice().into());
        }
    }
    shown
}
