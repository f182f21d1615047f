//! `set`, `unset`, `extract` and new recipients, in place.

use bulla_core::DataKey;
use bulla_document::Value;
use bulla_format::sops::{Error, FileKind, MacCheck, Metadata, Rules};

use crate::files::{
    DATE, DOTENV, JSON, LATER, changed_lines, key, local, metadata, open, parse, path, seal, seal_with, set, tree,
    unset,
};

const TEXT: &str = "{\n  \"a\": \"x\",\n  \"m\": {\n    \"k\": 1,\n    \"l\": [1, \"two\"]\n  },\n  \"n\": null\n}\n";

#[test]
fn set_changes_one_value_the_macs_and_the_date() {
    for (kind, text, at) in [(JSON, TEXT, "m.k"), (DOTENV, "# c\nA=1\nB=2\n\nC=3\n", "B")] {
        let before = seal(kind, text);
        let after = set(kind, &before, at, &Value::str("new")).unwrap();
        let (gone, new) = changed_lines(&before, &after);
        let name = at.rsplit('.').next().unwrap();
        let mac = if kind == DOTENV {
            ["sops_bulla__map_mac", "sops_lastmodified", "sops_mac"]
        } else {
            ["mac", "lastmodified", "mac"]
        };
        assert_eq!(gone, new);
        assert_eq!(new, [&[name], mac.as_slice()].concat(), "{after}");
        let plain = open(kind, &after);
        assert_eq!(changed_lines(text, &plain).1, [name]);
    }
}

#[test]
fn setting_what_is_there_already_changes_nothing() {
    let text = seal(JSON, TEXT);
    assert_eq!(set(JSON, &text, "m.k", &Value::Int(1)), None);
    assert_eq!(set(JSON, &text, "m.l", &Value::Seq(vec![Value::Int(1), Value::str("two")])), None);
    assert!(set(JSON, &text, "m.k", &Value::str("1")).is_some(), "another type is another value");
}

#[test]
fn set_makes_what_is_missing_as_sops_does() {
    let map = |entries: &[(&str, Value)]| {
        Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    };
    for (at, value, wanted) in [
        ("new", Value::Int(5), "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\"]},\"n\":null,\"new\":5}"),
        (
            "m.new.deep",
            Value::Bool(true),
            "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\"],\"new\":{\"deep\":true}},\"n\":null}",
        ),
        ("m.l.7", Value::str("end"), "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\",\"end\"]},\"n\":null}"),
        ("m.l.9.k", Value::Int(2), "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\",{\"k\":2}]},\"n\":null}"),
        ("a.b", Value::Int(2), "{\"a\":{\"b\":2},\"m\":{\"k\":1,\"l\":[1,\"two\"]},\"n\":null}"),
        ("n", Value::str("y"), "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\"]},\"n\":\"y\"}"),
        (
            "m",
            map(&[("z", Value::Null), ("e", Value::Map(vec![]))]),
            "{\"a\":\"x\",\"m\":{\"z\":null,\"e\":{}},\"n\":null}",
        ),
        ("a", Value::str(""), "{\"a\":\"\",\"m\":{\"k\":1,\"l\":[1,\"two\"]},\"n\":null}"),
        (
            "m.l.0",
            map(&[("k", Value::str("v"))]),
            "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[{\"k\":\"v\"},\"two\"]},\"n\":null}",
        ),
    ] {
        let after = set(JSON, &seal(JSON, TEXT), at, &value).unwrap();
        assert_eq!(tree(JSON, &open(JSON, &after)), tree(JSON, wanted), "{at}");
        for plain in ["true", "\"end\"", "\"v\""] {
            assert!(!after.contains(plain), "{plain} stands in the file\n{after}");
        }
    }
}

#[test]
fn a_new_value_follows_the_rules_of_its_place() {
    let rules = Rules { encrypted_regex: Some("^secret".to_owned()), ..Rules::default() };
    let text = seal_with(JSON, TEXT, Metadata { rules, ..metadata() });
    let value = Value::Map(vec![("plain".into(), Value::str("seen")), ("secret".into(), Value::str("hidden"))]);
    let after = set(JSON, &text, "m.new", &value).unwrap();
    assert!(after.contains("seen") && !after.contains("hidden"), "{after}");
    assert!(open(JSON, &after).contains("hidden"));
}

#[test]
fn paths_that_do_not_fit_are_errors() {
    let file = parse(JSON, &seal(JSON, TEXT));
    for at in ["m.0", "m.l.k", "sops.mac", "sops"] {
        let result = file.set(&key(), &path(at), &Value::Int(1), MacCheck::Check, LATER);
        assert!(matches!(result, Err(Error::Path(_))), "set {at}");
        let result = file.extract(&key(), &path(at), MacCheck::Check);
        assert!(matches!(result, Err(Error::Path(_))), "extract {at}");
    }
    for at in ["x", "a.b", "m.l.2", "m.l.k", "sops"] {
        assert!(matches!(file.unset(&key(), &path(at), MacCheck::Check, LATER), Err(Error::Path(_))), "unset {at}");
        assert!(matches!(file.extract(&key(), &path(at), MacCheck::Check), Err(Error::Path(_))), "extract {at}");
    }
    assert!(matches!(file.set(&key(), &[], &Value::Int(1), MacCheck::Check, LATER), Err(Error::Path(_))));
    assert!(matches!(file.unset(&key(), &[], MacCheck::Check, LATER), Err(Error::Path(_))));
}

#[test]
fn unset_takes_one_value_out() {
    for (at, wanted) in [
        ("a", "{\"m\":{\"k\":1,\"l\":[1,\"two\"]},\"n\":null}"),
        ("m.l.0", "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[\"two\"]},\"n\":null}"),
        ("m", "{\"a\":\"x\",\"n\":null}"),
        ("n", "{\"a\":\"x\",\"m\":{\"k\":1,\"l\":[1,\"two\"]}}"),
    ] {
        let before = seal(JSON, TEXT);
        let after = unset(JSON, &before, at);
        assert_eq!(tree(JSON, &open(JSON, &after)), tree(JSON, wanted), "{at}");
        assert_eq!(changed_lines(&before, &after).1.iter().filter(|line| line.ends_with("mac")).count(), 2);
    }
    let last = unset(JSON, &seal(JSON, "{\"m\": {\"k\": 1}}"), "m.k");
    assert_eq!(open(JSON, &last), "{\"m\": {}}");
}

#[test]
fn extract_gives_one_value_or_a_tree() {
    let file = parse(JSON, &seal(JSON, TEXT));
    let extract = |at| file.extract(&key(), &path(at), MacCheck::Check).unwrap();
    assert_eq!(extract("a"), Value::str("x"));
    assert_eq!(extract("m.l.1"), Value::str("two"));
    assert_eq!(extract("n"), Value::Null);
    assert_eq!(
        extract("m"),
        Value::Map(vec![("k".into(), Value::Int(1)), ("l".into(), Value::Seq(vec![Value::Int(1), Value::str("two")]))])
    );
}

#[test]
fn other_recipients_change_neither_values_nor_sops_mac() {
    for (kind, text) in [(JSON, TEXT), (DOTENV, "A=1\n"), (FileKind::Binary, "bytes")] {
        let before = seal(kind, text);
        let with =
            Metadata { groups: vec![vec![local("/key"), local("/other")]], ..parse(kind, &before).metadata().clone() };
        let after = parse(kind, &before).with_metadata(&key(), with, MacCheck::Strict).unwrap();
        let after = String::from_utf8(after.expose().to_vec()).unwrap();
        assert_eq!(open(kind, &after), text);
        let file = parse(kind, &after);
        assert_eq!(file.metadata().groups[0].len(), 2);
        assert_eq!(
            (&file.metadata().mac, file.metadata().last_modified.as_str()),
            (&parse(kind, &before).metadata().mac, DATE)
        );
        let (gone, _) = changed_lines(&before, &after);
        assert_eq!(gone.iter().filter(|line| !line.contains("mac")).count(), 0, "{gone:?}");

        let back = file.with_metadata(&key(), parse(kind, &before).metadata().clone(), MacCheck::Strict).unwrap();
        let back = String::from_utf8(back.expose().to_vec()).unwrap();
        assert_eq!(open(kind, &back), text);
        assert_eq!(parse(kind, &back).metadata(), parse(kind, &before).metadata());
    }
}

#[test]
fn groups_and_thresholds_can_come_and_go() {
    let before = seal(JSON, TEXT);
    let groups = vec![vec![local("/a")], vec![local("/b"), local("/c")]];
    let with = Metadata { groups, ..metadata() };
    let after = parse(JSON, &before).with_metadata(&key(), with, MacCheck::Strict).unwrap();
    let after = String::from_utf8(after.expose().to_vec()).unwrap();
    let file = parse(JSON, &after);
    assert_eq!((file.metadata().groups.len(), file.metadata().shamir_threshold), (2, Some(2)));
    let back = file.with_metadata(&key(), metadata(), MacCheck::Strict).unwrap();
    let back = String::from_utf8(back.expose().to_vec()).unwrap();
    assert_eq!(parse(JSON, &back).metadata().groups, metadata().groups);
    assert_eq!(parse(JSON, &back).metadata().shamir_threshold, None);
}

#[test]
fn rules_cannot_change_without_encrypting_anew() {
    let file = parse(JSON, &seal(JSON, TEXT));
    let rules = Rules { encrypted_regex: Some("a".to_owned()), ..Rules::default() };
    let result = file.with_metadata(&key(), Metadata { rules, ..metadata() }, MacCheck::Check);
    assert!(matches!(result, Err(Error::Rule(_))));
}

#[test]
fn a_file_without_recipients_is_never_written() {
    let none = Metadata { groups: vec![vec![]], ..metadata() };
    let file = parse(JSON, &seal(JSON, TEXT));
    assert!(matches!(file.with_metadata(&key(), none.clone(), MacCheck::Check), Err(Error::Metadata(_))));
    let result = bulla_format::sops::encrypt(JSON, TEXT.as_bytes().into(), none, &key(), None);
    assert!(matches!(result, Err(Error::Metadata(_))));
}

#[test]
fn an_edit_keeps_the_ciphertext_of_what_did_not_change() {
    for (kind, text, edited, changed) in [
        (JSON, TEXT, TEXT.replace("\"x\"", "\"y\""), "a"),
        (JSON, "{\n\"l\": [\n\"s\",\n\"s\"\n]\n}", "{\n\"l\": [\n\"s\",\n\"s\",\n\"t\"\n]\n}".to_owned(), ""),
        (DOTENV, "#c\nA=1\nB=2\n", "#c\nA=1\nB=3\n".to_owned(), "B"),
    ] {
        let before = seal(kind, text);
        let opened = parse(kind, &before).decrypt(&key(), MacCheck::Check).unwrap();
        let again = |text: &str| {
            let sealed =
                bulla_format::sops::encrypt(kind, text.as_bytes().into(), metadata(), &key(), Some(&opened.stash))
                    .unwrap();
            String::from_utf8(sealed.expose().to_vec()).unwrap()
        };
        let is_mac = |line: &String| line.ends_with("mac");
        assert!(changed_lines(&before, &again(text)).1.iter().all(is_mac), "nothing changed but the MACs");
        let after = again(&edited);
        let lines: Vec<_> = changed_lines(&before, &after).1.into_iter().filter(|line| !is_mac(line)).collect();
        assert!(lines.iter().all(|line| line == changed || line.starts_with("ENC[")), "{lines:?}");
        assert_eq!(open(kind, &after), edited);
    }
}

#[test]
fn a_new_data_key_encrypts_everything_anew() {
    let before = seal(JSON, TEXT);
    let opened = parse(JSON, &before).decrypt(&key(), MacCheck::Check).unwrap();
    let other = DataKey::generate().unwrap();
    let after = bulla_format::sops::encrypt(JSON, opened.text, metadata(), &other, Some(&opened.stash)).unwrap();
    let file = bulla_format::sops::EncryptedFile::parse(JSON, after).unwrap();
    assert!(file.decrypt(&key(), MacCheck::Check).is_err(), "the old data key opens nothing");
    assert_eq!(file.decrypt(&other, MacCheck::Strict).unwrap().text.expose(), TEXT.as_bytes());
}

#[test]
fn a_dotenv_value_that_no_text_can_hold_is_refused_and_what_looks_like_a_line_end_is_kept() {
    let text = seal(DOTENV, "A=x\n");
    let file = parse(DOTENV, &text);
    for at in ["A", "NEW"] {
        let nul = Value::str("a\0b");
        assert!(matches!(file.set(&key(), &path(at), &nul, MacCheck::Check, LATER), Err(Error::Document(_))), "{at}");
        let value = Value::str("a\\nb");
        let changed = set(DOTENV, &text, at, &value).unwrap();
        assert!(parse(DOTENV, &changed).extract(&key(), &path(at), MacCheck::Strict).unwrap() == value, "{at}");
    }
}
