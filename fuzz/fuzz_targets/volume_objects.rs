//! Any text as the parameters of a class for the provider `sealed`.
//!
//! The parser's own file, without the rest of its crate: the clients of API servers would be built with coverage, too.
#![no_main]

use std::collections::BTreeMap;

#[path = "../../crates/node/src/provider/sealed/objects.rs"]
mod objects;

/// As the protocol has it.
const MOST_OBJECTS: usize = 64;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    match objects::read(&BTreeMap::from([(objects::OBJECTS.to_owned(), text.to_owned())])) {
        Ok(items) => {
            for item in items {
                let _ = (item.key, item.path);
                if let Some(Ok(mode)) = item.file_permission.as_deref().map(objects::mode) {
                    assert!(mode <= 0o777);
                }
                let (objects::Object::Sealed(name) | objects::Object::Map(name)) = item.object;
                assert!(name.len() <= text.len());
            }
        }
        Err(error) => assert!(error.chars().count() < 500, "{error}"),
    }
});
