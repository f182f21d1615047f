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
fn strings_are_replaced_and_keys_are_not() {
    let value = Value::Object(object! { "k": "v", "raw": Value::Raw(b"{\"x\":[\"y\",1]}".as_slice().into()) });
    let mut out = Vec::new();
    map_strings(&value, &|text| format!("<{text}>"), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"k":"<v>","raw":{"x":["<y>",1]}}"#);
}

#[test]
fn a_request_has_so_much_of_everything_and_no_more() {
    let list = |count: usize| format!("{{\"a\":[{}]}}", vec!["0"; count].join(","));
    let entries = |count: usize| {
        let entries: Vec<_> = (0..count).map(|number| format!("\"{number}\":0")).collect();
        format!("{{{}}}", entries.join(","))
    };
    let lists =
        |count: usize| format!("{{\"a\":[{}]}}", vec![format!("[{}]", vec!["0"; 9_999].join(",")); count].join(","));
    let string = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length));
    for good in [list(MAX_ENTRIES), entries(MAX_ENTRIES), lists(9), string(MAX_STRING)] {
        assert!(parse_request(good.as_bytes()).is_ok());
    }
    for bad in [list(MAX_ENTRIES + 1), entries(MAX_ENTRIES + 1), lists(11), string(MAX_STRING + 1)] {
        assert!(parse_request(bad.as_bytes()).unwrap_err().is_limit());
        assert!(parse_object(bad.as_bytes()).is_ok(), "what is kept is read all the same");
    }
    assert!(!parse_request(b"{").unwrap_err().is_limit());
}

#[test]
fn what_may_be_asked_can_be_read_where_it_is_kept_and_answered() {
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert!(parse_request(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert!(parse_request(nested(MAX_DEPTH + 1).as_bytes()).is_err());
    assert!(parse_strict(nested(MAX_DEPTH + 1).as_bytes()).is_err());
    assert!(parse_object(nested(MAX_DEPTH + 2).as_bytes()).is_ok(), "the data of a wrapped answer's data");
    assert!(parse_object(nested(MAX_DEPTH + 100).as_bytes()).is_err());
}

#[test]
fn a_key_that_is_there_twice_is_refused_where_it_matters() {
    let text = br#"{"path":{"a":1,"a":2}}"#;
    assert!(parse_object(text).is_ok());
    assert_eq!(parse_strict(text).unwrap_err().to_string(), "an object has a key twice at byte 20");
}

#[test]
fn a_value_does_not_show_itself() {
    assert_eq!(format!("{:?}", Value::from("secret")), "Value(string)");
}

/// Any value as a request may have it.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        // Digits as no machine's numbers have them.
        "-?(0|[1-9][0-9]{0,30})([.][0-9]{1,20})?([eE][+-]?[0-9]{1,5})?".prop_map(|digits| Value::Number(digits.into())),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..8).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_it_was_with_every_digit(entries in prop::collection::btree_map(any::<String>(), value(), 0..6)) {
        let text = object_to_vec(&entries);
        prop_assert!(parse_request(&text).as_ref() == Ok(&entries));
        prop_assert!(parse_strict(&text).as_ref() == Ok(&entries) && parse_object(&text).as_ref() == Ok(&entries));
        let (value, mut same) = (Value::from(entries), Vec::new());
        map_strings(&value, &ToOwned::to_owned, &mut same);
        prop_assert_eq!(same, text);
    }

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
