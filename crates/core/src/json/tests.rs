//! Values come out as they went in, and nothing panics.

use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    String::from_utf8(parse(text.as_bytes()).unwrap().to_vec()).unwrap()
}

#[test]
fn numbers_keep_their_digits_and_keys_are_sorted() {
    assert_eq!(
        canonical(r#" {"b": 12345678901234567890, "a": [1.50, -0, 1e3, null, true], "a b": "\u00e9\ud83d\ude00\n"} "#),
        "{\"a\":[1.50,-0,1e3,null,true],\"a b\":\"é😀\\n\",\"b\":12345678901234567890}"
    );
    assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
}

#[test]
fn what_is_no_json_is_refused() {
    for text in
        ["", "{", "[1,]", "{\"a\"}", "01", "1.", "-", "tru", "\"\u{1}\"", "\"\\x\"", "1 2", "{a:1}", "nul", "\"\\u12\""]
    {
        assert!(parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(parse(b"\"\xff\"").is_err());
    assert!(parse("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn what_takes_much_more_memory_than_text_is_refused() {
    for text in ["[0,0,0,0,0,0,0,0,0,0]", r#"[{"":0},{"":0}]"#, r#"{"a":{"a":{"a":0}}}"#] {
        let text = format!(r#"{{"a":{text}}}"#);
        assert!(parse_object_within(text.as_bytes(), 1 << 20).is_ok(), "{text}");
        assert!(parse_object_within(text.as_bytes(), 900).is_err(), "{text}");
    }
    assert!(parse_object_within(format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000)).as_bytes(), 1000).is_ok());
}

#[test]
fn strings_are_replaced_and_keys_are_not() {
    let value = Value::Object(object! { "k": "v", "raw": Value::Raw(b"{\"x\":[\"y\",1]}".as_slice().into()) });
    let mut out = Vec::new();
    map_strings(&value, &|text| format!("<{text}>"), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"k":"<v>","raw":{"x":["<y>",1]}}"#);
}

#[test]
fn a_value_does_not_show_itself() {
    assert_eq!(format!("{:?}", Value::from("secret")), "Value(string)");
}

proptest! {
    #[test]
    fn nothing_panics_and_canonical_text_is_stable(text in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = parse(&text) {
            let canonical = value.to_vec();
            prop_assert_eq!(parse(&canonical).unwrap().to_vec(), canonical);
        }
    }

    #[test]
    fn strings_come_back_as_the_general_library_has_them(text in any::<String>()) {
        let ours = Value::from(text.as_str()).to_vec();
        prop_assert_eq!(serde_json::from_slice::<String>(&ours).unwrap(), text.clone());
        let theirs = serde_json::to_vec(&text).unwrap();
        prop_assert_eq!(parse(&theirs).unwrap(), Value::from(text));
    }
}
