//! Files changed by someone without the data key.

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_document::Value;
use bulla_format::sops::{EncryptedFile, Error, FileKind, MacCheck, MasterKey, Metadata, Rules};

use crate::files::{DOTENV, JSON, LATER, YAML, key, metadata, open, parse, path, seal, seal_with, try_open};

const TEXT: &str = "{\n  \"a\": \"one\",\n  \"b\": \"two\",\n  \"l\": [\"x\", \"y\"],\n  \"p_unencrypted\": \"ab\",\n  \"q_unencrypted\": \"cd\"\n}\n";

/// The encrypted text under a key, quotes included.
fn sealed<'t>(text: &'t str, name: &str) -> &'t str {
    let start = text.find(&format!("\"{name}\": ")).unwrap() + name.len() + 4;
    let end = start + text[start + 1..].find('"').unwrap() + 2;
    &text[start..end]
}

fn assert_mac(text: &str) {
    assert!(matches!(try_open(JSON, text, MacCheck::Check), Err(Error::Mac(_))), "{text}");
}

fn assert_value(text: &str) {
    assert!(matches!(try_open(JSON, text, MacCheck::Check), Err(Error::Value { .. })), "{text}");
}

#[test]
fn values_moved_to_other_keys_do_not_decrypt() {
    let text = seal(JSON, TEXT);
    let (a, b) = (sealed(&text, "a"), sealed(&text, "b"));
    assert_value(&text.replace(a, "?").replace(b, a).replace('?', b));
    assert_value(&text.replace(b, a));
    assert_value(&text.replace("\"a\":", "\"renamed\":"));
}

#[test]
fn items_of_a_list_that_change_places_break_the_mac() {
    let text = seal(JSON, "{\"l\": [\"x\", \"y\"]}");
    let items: Vec<_> = text.split('"').filter(|part| part.starts_with("ENC[")).take(2).collect();
    assert_mac(&text.replace(items[0], "?").replace(items[1], items[0]).replace('?', items[1]));
    assert_mac(&text.replace(items[1], items[0]));
}

#[test]
fn values_that_are_truncated_or_changed_do_not_decrypt() {
    let text = seal(JSON, TEXT);
    let a = sealed(&text, "a");
    for len in 2..a.len() - 2 {
        assert_value(&text.replace(a, &format!("{}\"", &a[..len])));
    }
    assert_value(&text.replace(a, "\"one\""));
    assert_value(&text.replace(a, "1"));
    assert_value(&text.replace(a, "true"));
}

#[test]
fn values_that_are_added_or_removed_break_the_mac() {
    let text = seal(JSON, TEXT);
    assert_mac(&text.replace(&format!("  \"a\": {},\n", sealed(&text, "a")), ""));
    assert_mac(&text.replace(sealed(&text, "a"), "null"));
    assert_mac(&text.replace(sealed(&text, "a"), "\"\""));
    assert_mac(&text.replace("\"ab\"", "\"abc\""));
    assert_mac(&text.replace("{\n  \"a\"", "{\n  \"new_unencrypted\": \"x\",\n  \"a\""));
}

// getsops/sops hashes values one after the other: what the next three change passes its MAC (verified with 3.13.3).
#[test]
fn plain_values_that_slide_are_caught() {
    assert_mac(&seal(JSON, TEXT).replace("\"ab\"", "\"a\"").replace("\"cd\"", "\"bcd\""));
}

#[test]
fn plain_keys_that_are_renamed_are_caught() {
    assert_mac(&seal(JSON, TEXT).replace("p_unencrypted", "other_unencrypted"));
}

#[test]
fn nulls_and_empty_values_that_are_added_are_caught() {
    for value in ["null", "\"\"", "{}", "[]"] {
        assert_mac(&seal(JSON, TEXT).replace("{\n  \"a\"", &format!("{{\n  \"new\": {value},\n  \"a\"")));
    }
}

#[test]
fn types_that_are_changed_are_caught() {
    let text = seal(JSON, "{\"n\": \"5\", \"m\": \"6\"}");
    let n = sealed(&text, "n");
    assert_mac(&text.replace(n, &n.replace("type:str", "type:int")));
    assert_mac(&seal(JSON, "{\"n_unencrypted\": 5}").replace(": 5", ": \"5\""));
}

#[test]
fn sops_itself_does_not_see_them() {
    let peers = crate::peers::Peers::new();
    let data_key = DataKey::generate().unwrap();
    let text =
        bulla_format::sops::encrypt(JSON, TEXT.as_bytes().into(), peers.metadata(&data_key), &data_key, None).unwrap();
    let text = String::from_utf8(text.expose().to_vec()).unwrap();
    for changed in [
        text.replace("\"ab\"", "\"a\"").replace("\"cd\"", "\"bcd\""),
        text.replace("p_unencrypted", "other_unencrypted"),
        text.replace("{\n  \"a\"", "{\n  \"new\": null,\n  \"a\""),
    ] {
        assert_ne!(changed, text);
        peers.sops_decrypt("3.13.3", "changed.json", changed.as_bytes());
        let file = EncryptedFile::parse(JSON, SecretBytes::from(changed.as_bytes())).unwrap();
        assert!(matches!(file.decrypt(&data_key, MacCheck::Check), Err(Error::Mac(_))));
    }
}

#[test]
fn a_recipient_that_is_slipped_in_is_caught_before_it_is_served() {
    let text = seal(JSON, TEXT);
    let evil = "{\"created_at\": \"2026-01-02T03:04:05Z\", \"enc\": \"x\", \"path\": \"/evil\"}";
    let injected = text.replace("\"local\": [", &format!("\"local\": [{evil},"));
    assert_eq!(parse(JSON, &injected).metadata().groups[0].len(), 2);
    assert_mac(&injected);
    let file = parse(JSON, &injected);
    assert!(matches!(file.set(&key(), &path("a"), &Value::str("new"), MacCheck::Check, LATER), Err(Error::Mac(_))));
    let other = file.metadata().clone();
    assert!(matches!(file.with_metadata(&key(), other, MacCheck::Check), Err(Error::Mac(_))));
}

#[test]
fn rules_that_are_changed_are_caught() {
    let rules = Rules { encrypted_regex: Some("^x".to_owned()), ..Rules::default() };
    let text = seal_with(JSON, TEXT, Metadata { rules, ..metadata() });
    assert_mac(&text.replace("\"^x\"", "\"^y\""));
    // Nothing is encrypted by this rule, so that sops' MAC would be that of no value.
    let only = text.replace("\"version\"", "\"mac_only_encrypted\": true, \"version\"");
    assert_ne!(only, text);
    assert_mac(&only);
}

#[test]
fn without_bullas_mac_only_strict_checking_fails() {
    let text = seal(JSON, TEXT);
    let start = text.find("\"bulla\"").unwrap();
    let end = start + text[start..].find('}').unwrap();
    let comma = end + text[end..].find(',').unwrap() + 1;
    let without = format!("{}{}", &text[..start], text[comma..].trim_start());
    assert_eq!(try_open(JSON, &without, MacCheck::Check).unwrap(), TEXT);
    assert!(matches!(try_open(JSON, &without, MacCheck::Strict), Err(Error::Mac(_))));
    assert!(!parse(JSON, &without).has_bound_mac());
}

#[test]
fn macs_that_are_missing_damaged_or_of_another_date_do_not_pass() {
    let text = seal(JSON, TEXT);
    let mac = parse(JSON, &text).metadata().mac.clone();
    assert_mac(&text.replace(&mac, ""));
    assert_mac(&text.replace(&mac, "ENC[x]"));
    assert_mac(
        &text.replace("\"lastmodified\": \"2026-01-02T03:04:05Z\"", "\"lastmodified\": \"2026-01-02T03:04:06Z\""),
    );
    let ours = &text[text.find("\"bulla\"").unwrap()..];
    let ours = sealed(ours, "mac");
    assert_mac(&text.replace(ours, &format!("\"{mac}\"")));
    assert_mac(&text.replace(ours, "\"x\""));
}

#[test]
fn a_value_cannot_stand_for_the_mac_or_the_layout() {
    // The text of both is what a value would be at these paths, if their associated data were the same.
    let text = seal(JSON, "{\"bulla\": {\"layout\": \"value\", \"mac\": \"value\"}, \"n\": 1.0}");
    let value = &text[text.find("ENC[").unwrap()..];
    let value = &value[..=value.find(']').unwrap()];
    let layout = text.rfind("\"layout\": \"").unwrap() + 11;
    let end = layout + text[layout..].find('"').unwrap();
    let swapped = format!("{}{value}{}", &text[..layout], &text[end..]);
    // The layout does not decrypt, so the number is written plainly; nothing of the value is read as one.
    assert!(try_open(JSON, &swapped, MacCheck::Check).unwrap().contains("\"n\": 1}"));
}

#[test]
fn another_data_key_opens_nothing() {
    for (kind, text) in [(JSON, TEXT), (DOTENV, "A=1\n"), (FileKind::Binary, "x")] {
        let file = parse(kind, &seal(kind, text));
        let other = DataKey::generate().unwrap();
        for check in [MacCheck::Check, MacCheck::Ignore] {
            assert!(matches!(file.decrypt(&other, check), Err(Error::Value { .. })));
        }
    }
}

#[test]
fn an_error_names_the_place_and_never_the_value() {
    let text = seal(JSON, "{\"m\": {\"l\": [{\"k\": \"secret-value\"}]}}");
    let error = try_open(JSON, &text.replace("data:", "data:AAAA"), MacCheck::Check).unwrap_err().to_string();
    assert!(error.contains("m.l[0].k") && !error.contains("secret-value") && !error.contains("ENC["), "{error}");
}

/// A YAML text with the metadata moved before its last line, and an anchor in it.
fn with_anchor_in_metadata(text: &str, anchor: &str) -> String {
    let metadata = text.find("sops:").unwrap();
    let (values, metadata) = text.split_at(metadata);
    let last = values.trim_end().rfind('\n').unwrap() + 1;
    format!("{}{}\n    zz: &v {anchor}\n{}", &values[..last], metadata.trim_end(), &values[last..])
}

// The text would give the secret to a plain key: the metadata, and with it what the alias stands for, is not in it any more.
#[test]
fn an_alias_of_what_goes_with_the_metadata_gives_nothing_out() {
    let rules = Rules { encrypted_regex: Some("^data$".to_owned()), ..Rules::default() };
    let metadata = Metadata { rules, ..metadata() };
    let text = seal_with(YAML, "data:\n  password: hunter2\ntype: Opaque\n", metadata.clone());
    let text = with_anchor_in_metadata(&text, "Opaque");
    for (marked, alias) in [("password: &v ENC", "type: *v"), ("password: ENC", "type: *v")] {
        let text = text.replace("password: ENC", marked).replace("type: Opaque", alias);
        for check in [MacCheck::Strict, MacCheck::Ignore] {
            assert!(matches!(try_open(YAML, &text, check), Err(Error::Alias)), "{text}");
        }
    }
    let text = seal_with(YAML, "data:\n  password: hunter2\nplain: {name: 1}\n", metadata);
    let text = with_anchor_in_metadata(&text, "name");
    let text = text.replace("password: ENC", "password: &v ENC").replace("{name: 1}", "{*v : 1}");
    assert!(matches!(try_open(YAML, &text, MacCheck::Strict), Err(Error::Alias)), "{text}");
}

// sops itself takes the alias for the ciphertext, which it leaves there.
#[test]
fn an_alias_of_a_secret_under_a_plain_key_gives_nothing_out() {
    let rules = Rules { encrypted_regex: Some("^a$".to_owned()), mac_only_encrypted: true, ..Rules::default() };
    let text = seal_with(YAML, "a: secret\nb: plain\n", Metadata { rules, ..metadata() });
    let text = text.replace("a: ENC", "a: &v ENC").replace("b: plain", "b: *v");
    assert!(matches!(try_open(YAML, &text, MacCheck::Strict), Err(Error::Alias)), "{text}");
    let harmless = text.replace("a: &v ENC", "a: ENC").replace("b: *v", "b: &v plain\nc: *v");
    assert_eq!(open(YAML, &harmless), "a: secret\nb: &v plain\nc: *v\n");
}

#[test]
fn tags_that_are_added_changed_or_removed_are_caught() {
    let plain = "a: secret\nb: !Ref x\nn: 5\nc_unencrypted: plain\nl_unencrypted: [x]\nm: !set {k: !Sub v}\ne: !e []\n";
    let text = seal(YAML, plain);
    assert_eq!(open(YAML, &text), plain);
    for (from, to) in [
        ("a: ENC", "a: !evil ENC"),
        ("!Ref ENC", "!Sub ENC"),
        ("!Ref ENC", "ENC"),
        ("c_unencrypted: plain", "c_unencrypted: !Ref plain"),
        ("l_unencrypted: [", "l_unencrypted: !!python/object/apply:os.system ["),
        ("!set {", "{"),
        ("!e []", "[]"),
        ("a: ", "!!map\na: "),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        if let Ok(file) = EncryptedFile::parse(YAML, changed.as_bytes().into()) {
            let found = file.decrypt(&key(), MacCheck::Check).map(|_| ());
            assert!(matches!(found, Err(Error::Mac(_))), "{changed}");
        }
    }
    // What is set keeps its tag where it can be kept, and the file opens.
    for (at, value) in [
        ("b", Value::str("y")),
        ("b", Value::Int(1)),
        ("b", Value::Null),
        ("b", Value::str("")),
        ("m.k", Value::Int(2)),
        ("m.new", Value::str("z")),
        ("m", Value::str("z")),
        ("e", Value::Seq(vec![Value::Int(1)])),
        ("n", Value::Int(6)),
    ] {
        let changed = crate::files::set(YAML, &text, at, &value).unwrap();
        open(YAML, &changed);
    }
}

#[test]
fn a_binary_file_whose_known_content_stands_under_another_key_is_caught() {
    let text = seal(FileKind::Binary, "known");
    let data = sealed(&text, "data");
    let emptied = text.replace(data, "\"\"").replace("\n\t}\n}", "\n\t},\n\t\"p_unencrypted\": \"known\"\n}");
    assert_ne!(emptied, text.replace(data, "\"\""));
    assert!(matches!(try_open(FileKind::Binary, &emptied, MacCheck::Check), Err(Error::Mac(_))), "{emptied}");
}

#[test]
fn duplicate_keys_are_refused_where_a_reader_would_lose_one() {
    let text = seal(JSON, TEXT);
    let line = format!("  \"a\": {},\n", sealed(&text, "a"));
    let twice = text.replace(&line, &format!("{line}{line}"));
    assert!(matches!(EncryptedFile::parse(JSON, twice.as_bytes().into()), Err(Error::Document(_))));
}

#[test]
fn a_text_cut_off_anywhere_never_opens() {
    for (kind, text) in [
        (JSON, seal(JSON, TEXT)),
        (FileKind::Binary, seal(FileKind::Binary, "some bytes")),
        (DOTENV, seal(DOTENV, "A=1\nB=2\n")),
    ] {
        for len in (0..text.trim_end().len()).step_by(7) {
            assert!(try_open(kind, &text[..len], MacCheck::Check).is_err(), "{kind:?} cut off at {len}");
        }
    }
}

#[test]
fn ignoring_the_mac_opens_what_decrypts() {
    let text = seal(JSON, TEXT).replace("\"ab\"", "\"changed\"");
    assert!(try_open(JSON, &text, MacCheck::Ignore).unwrap().contains("changed"));
}

#[test]
fn metadata_that_is_malformed_says_which_field() {
    let text = seal(JSON, TEXT);
    for (from, to, field) in [
        ("\"lastmodified\": \"2026-01-02T03:04:05Z\"", "\"lastmodified\": \"yesterday\"", "lastmodified"),
        ("\"path\": \"/key\"", "\"other\": \"/key\"", "path"),
        ("\"version\"", "\"encrypted_regex\": \"a\", \"unencrypted_regex\": \"b\", \"version\"", "encrypted_regex"),
        ("\"version\"", "\"shamir_threshold\": \"x\", \"version\"", "shamir_threshold"),
        ("\"local\"", "\"unknown\"", "no key"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        match EncryptedFile::parse(JSON, changed.as_bytes().into()) {
            Err(Error::Metadata(what)) => assert!(what.contains(field), "{what}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{field} passes"),
        }
    }
    assert!(matches!(EncryptedFile::parse(JSON, TEXT.as_bytes().into()), Err(Error::MetadataNotFound)));
    let again = bulla_format::sops::encrypt(JSON, text.as_bytes().into(), metadata(), &key(), None);
    assert!(matches!(again, Err(Error::AlreadyEncrypted)));
}

#[test]
fn what_is_not_known_in_metadata_is_kept() {
    let unknown = vec![
        ("future_kms".to_owned(), Value::Seq(vec![Value::Map(vec![("id".into(), Value::str("x"))])])),
        ("future_flag".to_owned(), Value::Bool(true)),
    ];
    let mut with = Metadata { unknown: unknown.clone(), ..metadata() };
    with.groups[0].push(MasterKey {
        id: KeyId::HuaweiKms { key_id: "r:u".to_owned() },
        wrapped: WrappedKey::new("x"),
        created_at: "2026-01-02T03:04:05Z".to_owned(),
        unknown: vec![("future".to_owned(), Value::Int(1))],
    });
    let text = seal_with(JSON, TEXT, with);
    let file = parse(JSON, &text);
    let mut found = file.metadata().unknown.clone();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    assert_eq!(found, unknown);
    assert_eq!(file.metadata().groups[0][0].unknown, [("future".to_owned(), Value::Int(1))]);
    let after = crate::files::set(JSON, &text, "a", &Value::str("new")).unwrap();
    assert_eq!(parse(JSON, &after).metadata().unknown, file.metadata().unknown);
    assert_eq!(parse(JSON, &after).metadata().groups, file.metadata().groups);
    open(JSON, &after);
}
