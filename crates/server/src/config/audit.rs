//! `audit` blocks. What their options mean is read by the devices.

use std::collections::BTreeMap;

use bulla_core::hcl::{Body, Value};

use super::{note_unknown, text};
use crate::core::audit::DeviceConfig;

/// Reads a block.
///
/// # Errors
/// What is wrong.
pub fn read(kind: &str, path: &str, body: &Body, ignored: &mut Vec<String>) -> Result<DeviceConfig, String> {
    note_unknown(&format!("audit {path:?}"), body, &["options", "description"], ignored)?;
    let mut options = BTreeMap::new();
    for item in body.all("options") {
        let Value::Body(inner) = &item.value else { return Err(format!("audit {path:?}: options is a block")) };
        for option in &inner.items {
            let ([name], Some(text)) = (option.keys.as_slice(), option.value.text()) else {
                return Err(format!("audit {path:?}: each option is a text"));
            };
            options.insert(name.clone(), text);
        }
    }
    let path = format!("{}/", path.trim_matches('/'));
    Ok(DeviceConfig {
        path,
        kind: kind.to_owned(),
        description: text(body, "description").unwrap_or_default(),
        options,
    })
}
