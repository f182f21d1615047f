//! Any bytes as the body of a request: what is read is printed and read again as the same, and no number is another.
#![no_main]

use bulla_core::json::{self, MAX_DEPTH, MAX_ENTRIES, MAX_STRING, Object, Value};
use serde::de::IgnoredAny;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let read = match json::parse_request(data) {
        Ok(read) => read,
        Err(error) => {
            assert!(error.to_string().len() < 100, "an error has nothing of the body: {error}");
            // What may be kept is more and deeper than what may be asked for; nothing else differs.
            let is_deep = error.to_string().starts_with("nested too deeply");
            assert!(error.is_limit() || is_deep || json::parse_object(data).is_err());
            assert!(json::parse_strict(data).is_err());
            return;
        }
    };
    let text = json::object_to_vec(&read);
    assert!(json::parse_request(&text).as_ref() == Ok(&read), "what was printed is something else");
    assert!(json::parse_object(data).as_ref() == Ok(&read));
    if let Ok(strict) = json::parse_strict(data) {
        assert!(strict == read);
    }
    assert!(json::parse_strict(&text).is_ok(), "what is printed has each key once");
    serde_json::from_slice::<IgnoredAny>(data).expect("what is read is JSON for others too");
    serde_json::from_slice::<IgnoredAny>(&text).expect("what is printed is JSON for others too");
    look(&read, data, 0);
    // What audit records are made of.
    let (value, mut same, mut none) = (Value::Object(read), Vec::new(), Vec::new());
    json::map_strings(&value, &ToOwned::to_owned, &mut same);
    assert_eq!(same, text);
    json::map_strings(&value, &|_| String::new(), &mut none);
    assert!(json::parse(&none).is_ok());
});

fn look(object: &Object, data: &[u8], depth: usize) {
    assert!(object.len() <= MAX_ENTRIES && depth <= MAX_DEPTH);
    for value in object.values() {
        each(value, data, depth + 1);
    }
}

fn each(value: &Value, data: &[u8], depth: usize) {
    match value {
        Value::Number(digits) => {
            let is_there = data.windows(digits.len()).any(|window| window == digits.as_bytes());
            assert!(is_there && !digits.is_empty(), "a number is none that was sent");
        }
        Value::String(text) => assert!(text.len() <= MAX_STRING),
        Value::Array(values) => {
            assert!(values.len() <= MAX_ENTRIES && depth <= MAX_DEPTH);
            values.iter().for_each(|value| each(value, data, depth + 1));
        }
        Value::Object(object) => look(object, data, depth),
        Value::Null | Value::Bool(_) => {}
        Value::Raw(_) => panic!("nothing that is read is raw"),
    }
}
