//! Any text as a policy or a configuration: what is read can be walked, and its lines are lines of the text.
#![no_main]

use bulla_core::hcl::{self, Body, Value};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(body) = hcl::parse(text) else { return };
    walk(&body, text.lines().count().max(1));
});

fn walk(body: &Body, lines: usize) {
    for item in &body.items {
        let first = item.keys.first().expect("an entry has a key");
        assert!(body.all(first).any(|other| std::ptr::eq(other, item)), "an entry is found by its key");
        assert!(item.line <= lines, "an entry begins within the text");
        look(&item.value, lines);
    }
}

fn look(value: &Value, lines: usize) {
    match value {
        Value::Body(body) => walk(body, lines),
        Value::List(values) => {
            assert_eq!(value.texts().is_some(), values.iter().all(|one| one.text().is_some()));
            values.iter().for_each(|one| look(one, lines));
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) => assert!(value.text().is_some()),
    }
}
