//! Patches, names without values, and which versions go.

use super::merge::{merge, names};
use super::meta::{Config, Meta};
use crate::json;

fn value(text: &str) -> json::Value {
    json::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_patch_merges_as_rfc_7396_says() {
    // The examples of its appendix whose patch is an object.
    for (before, patch, after) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        (r"[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        (r"{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let mut merged = value(before);
        merge(&mut merged, value(patch).as_object().unwrap());
        assert_eq!(String::from_utf8(merged.to_vec()).unwrap(), after);
    }
}

#[test]
fn subkeys_have_names_and_no_values() {
    let all = value(r#"{"a":{"b":{"c":1}},"d":[{"e":1}],"f":{}}"#);
    let shown = |depth| String::from_utf8(names(&all, depth).to_vec()).unwrap();
    assert_eq!(shown(0), r#"{"a":{"b":{"c":null}},"d":null,"f":null}"#);
    assert_eq!(shown(1), r#"{"a":null,"d":null,"f":null}"#);
    assert_eq!(shown(2), r#"{"a":{"b":null},"d":null,"f":null}"#);
}

#[test]
fn the_oldest_versions_go_when_there_are_too_many() {
    let mut meta = Meta { max_versions: 2, ..Meta::made_now() };
    let config = Config { max_versions: 1, delete_after: 60, ..Config::default() };
    assert_eq!(meta.add(&config), (1, vec![]));
    assert_eq!(meta.add(&config), (2, vec![]));
    assert_eq!(meta.add(&config), (3, vec![1]));
    assert_eq!((meta.oldest, meta.current), (2, 3));
    let version = meta.versions[&3];
    assert_eq!(version.deleted - version.created, 60_000_000_000);
    assert!(!version.is_gone());
}
