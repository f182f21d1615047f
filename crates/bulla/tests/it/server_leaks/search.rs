//! Which texts are secret, and where they are found.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// Names under which answers have what nobody else should see, whatever is below them.
const SECRET_FIELDS: &[&str] = &[
    "client_token",
    "token",
    "secret_id",
    "root_token",
    "keys",
    "keys_base64",
    "encoded_token",
    "otp",
    "plaintext",
    "password",
    "random_bytes",
    "backup",
    "canary",
];
/// Texts that are shorter are words.
pub(super) const SHORTEST: usize = 16;

/// The texts below names that have secrets.
pub(super) fn collect(value: &Value, under: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if SECRET_FIELDS.contains(&under) => found.push(text.clone()),
        Value::Array(many) => many.iter().for_each(|one| collect(one, under, found)),
        Value::Object(object) => object.iter().for_each(|(name, one)| {
            let is_below = under == "canary" || under == "keys" && one.is_string();
            collect(one, if is_below { under } else { name }, found);
        }),
        _ => {}
    }
}

/// A secret as it may be written: itself, in base64, in hex.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut forms =
        vec![secret.to_owned(), STANDARD.encode(secret), URL_SAFE_NO_PAD.encode(secret), hex(secret.as_bytes())];
    if let Ok(raw) = STANDARD.decode(secret)
        && raw.len() >= SHORTEST
    {
        forms.push(hex(&raw));
    }
    forms.into_iter().map(String::into_bytes).collect()
}

/// Where in `text` which secret is.
pub(super) fn leaks(secrets: &BTreeSet<String>, text: &[u8]) -> Vec<String> {
    let is_there = |form: &Vec<u8>| memchr::memmem::find(text, form).is_some();
    secrets.iter().filter(|secret| forms(secret).iter().any(is_there)).cloned().collect()
}

/// All files below a folder but the configuration.
pub(super) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let named = files.map(|entry| {
        let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
        (name, std::fs::read(entry.path()).unwrap())
    });
    named.collect()
}
