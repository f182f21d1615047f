//! Paths, times and fields are read as the peer reads them.

use proptest::prelude::*;

use super::field::{boolean, float, int, seconds, text_map, texts};
use super::*;
use crate::json::Value;

#[test]
fn durations_are_read_as_go_and_the_peer_read_them() {
    let cases = [
        ("60", 60),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("-1s", -1),
        ("2d", 172_800),
        ("500ms", 0),
        ("", 0),
        ("+60", 60),
        (".5h", 1800),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_seconds(text), Ok(expected), "{text}");
    }
    for bad in
        ["x", "h", "1x", "1h x", "1..2s", "-", "9999999999999999999h", "1h-1m", " 5m ", "1d2h", "9223372036854775807"]
    {
        assert!(parse_seconds(bad).is_err(), "{bad}");
    }
    for (bad, why) in [
        ("1.5", "time: missing unit in duration \"1.5\""),
        ("1y", "time: unknown unit \"y\" in duration \"1y\""),
        ("1.5d", "strconv.ParseInt: parsing \"1.5\": invalid syntax"),
    ] {
        assert_eq!(parse_seconds(bad), Err(why.to_owned()));
    }
    for (seconds, text) in [(0, "0s"), (61, "1m1s"), (3600, "1h0m0s"), (-5, "-5s")] {
        assert_eq!(format_go(seconds), text);
    }
}

#[test]
fn fields_take_what_the_peer_takes() {
    assert_eq!(texts(&Value::from("a, b,,c")), Ok(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
    assert_eq!(texts(&Value::from(vec!["a", " b "])), Ok(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(int(&Value::from("7")), Ok(7));
    assert!(int(&Value::from("x")).is_err());
    for (text, number) in [("0x10", 16), ("010", 8), ("0b11", 3), ("-0xf", -15), ("1_000", 1000), ("", 0)] {
        assert_eq!(int(&Value::from(text)), Ok(number), "{text}");
    }
    for bad in ["0x", "1.0", " 1", "_1", "1__0", "1_", "08", "+-1"] {
        assert!(int(&Value::from(bad)).is_err(), "{bad}");
    }
    assert_eq!(boolean(&Value::from("true")), Ok(true));
    assert_eq!((boolean(&Value::from(1)), boolean(&Value::from(0))), (Ok(true), Ok(false)));
    assert!(boolean(&Value::from(-1)).is_err() && float(&Value::from("NaN")).is_err());
    assert_eq!(seconds(&Value::from("1h")), Ok(3600));
    assert_eq!(seconds(&Value::from(5)), Ok(5));
    let pairs = text_map(&Value::from("{\"a\":\"b\"}")).unwrap();
    assert_eq!(pairs.get("a").map(String::as_str), Some("b"));
}

#[test]
fn literals_go_before_names_and_names_before_rests() {
    let mut tree = Tree::default();
    let patterns = ["config", "role/?", "role/{name}", "role/{name}/secret-id/?", "role/all", "data/{path*}", "login"];
    for (at, pattern) in patterns.iter().enumerate() {
        tree.add(pattern, at);
    }
    let found = |path: &str| tree.find(path).map(|(to, captures)| (patterns[to], captures));
    assert_eq!(found("config"), Some(("config", vec![])));
    assert_eq!(found("role"), Some(("role/?", vec![])));
    assert_eq!(found("role/"), Some(("role/?", vec![])));
    assert_eq!(found("role/all"), Some(("role/all", vec![])));
    assert_eq!(found("role/x.y"), Some(("role/{name}", vec![("name", "x.y".to_owned())])));
    assert_eq!(found("role/all/secret-id"), Some(("role/{name}/secret-id/?", vec![("name", "all".to_owned())])));
    assert_eq!(found("data/a/b/"), Some(("data/{path*}", vec![("path", "a/b/".to_owned())])));
    assert_eq!(found("data/"), Some(("data/{path*}", vec![("path", String::new())])));
    for nowhere in ["data", "config/", "role/-x", "role/x/", "role/x/y", "", "login/x"] {
        assert_eq!(found(nowhere), None, "{nowhere}");
    }
}

proptest! {
    #[test]
    fn no_path_and_no_duration_panics(text in any::<String>()) {
        let mut tree = Tree::default();
        tree.add("a/{b}/c/{d*}", 0);
        let _ = tree.find(&text);
        let _ = parse_seconds(&text);
    }
}
