//! How values were written comes back, and never at the price of what they say.

use bulla_document::{Syntax, Value};
use bulla_format::sops::{Error, FileKind, MacCheck, Metadata, Rules};

use crate::files::{JSON, key, metadata, open, parse, path, seal, seal_with, set, tree, try_open, unset};

const YAML: FileKind = FileKind::Text(Syntax::Yaml);

const ALIASES: &str =
    "base: &base\n  user: admin\n  pass: &p s3cret\ncopy: *base\nalso: *p\nmerged:\n  <<: *base\n  extra: 1\n";

#[test]
fn aliases_are_written_out_in_the_ciphertext_and_come_back() {
    let sealed = seal(YAML, ALIASES);
    assert!(!sealed.contains("*base") && !sealed.contains("*p\n"), "{sealed}");
    assert!(!sealed.contains("s3cret") && !sealed.contains("admin"));
    assert_eq!(open(YAML, &sealed), ALIASES);
}

#[test]
fn an_anchor_that_changes_takes_its_aliases_apart() {
    let changed = set(YAML, &seal(YAML, ALIASES), "base.pass", &Value::str("changed")).unwrap();
    let opened = open(YAML, &changed);
    let mut wanted = tree(YAML, ALIASES);
    if let Value::Map(entries) = &mut wanted[0]
        && let Value::Map(base) = &mut entries[0].1
    {
        base[1].1 = Value::str("changed");
    }
    assert_eq!(tree(YAML, &opened), wanted, "the copies keep the value they had\n{opened}");
}

#[test]
fn an_alias_that_changes_is_written_out() {
    let changed = set(YAML, &seal(YAML, ALIASES), "copy.user", &Value::str("root")).unwrap();
    let opened = open(YAML, &changed);
    let found = tree(YAML, &opened);
    assert_eq!(found[0].get("copy").unwrap().get("user"), Some(&Value::str("root")));
    assert_eq!(found[0].get("base").unwrap().get("user"), Some(&Value::str("admin")));
}

#[test]
fn aliases_among_plain_values_can_be_changed_too() {
    let rules = Rules { encrypted_regex: Some("^pass$".to_owned()), ..Rules::default() };
    let sealed = seal_with(YAML, ALIASES, Metadata { rules, ..metadata() });
    assert_eq!(open(YAML, &sealed), ALIASES);
    let changed = set(YAML, &sealed, "merged.extra", &Value::Int(2)).unwrap();
    assert_eq!(open(YAML, &changed), ALIASES.replace("extra: 1", "extra: 2"));
    let removed = unset(YAML, &sealed, "merged.extra");
    assert_eq!(open(YAML, &removed), ALIASES.replace("  extra: 1\n", ""));
}

#[test]
fn a_comment_that_decides_cannot_stand_in_what_an_alias_repeats() {
    let rules = Rules { encrypted_comment_regex: Some("secret".to_owned()), ..Rules::default() };
    let text = "a: &a\n  # secret\n  k: v\nb: *a\n";
    let result =
        bulla_format::sops::encrypt(YAML, text.as_bytes().into(), Metadata { rules, ..metadata() }, &key(), None);
    assert!(matches!(result, Err(Error::Rule(_))));
}

#[test]
fn a_comment_that_decides_cannot_stand_behind_a_blocks_header() {
    let rules = Rules { encrypted_comment_regex: Some("secret".to_owned()), ..Rules::default() };
    let with = Metadata { rules, ..metadata() };
    let result =
        bulla_format::sops::encrypt(YAML, b"a: | # secret\n  v\n".as_slice().into(), with.clone(), &key(), None);
    assert!(matches!(result, Err(Error::Rule(_))));
    let above = "# secret\na: | # other\n  v\n";
    assert_eq!(open(YAML, &seal_with(YAML, above, with)), above);
}

#[test]
fn odd_spellings_come_back_after_other_values_changed() {
    let text = "a: 0x1F\nl:\n  - 1.0\n  - \"\\u00e9\"\nt: >-\n  folded\n  text\nz: x\n";
    let changed = set(YAML, &seal(YAML, text), "z", &Value::str("new")).unwrap();
    assert_eq!(open(YAML, &changed), text.replace("z: x", "z: new"));
    let removed = unset(YAML, &seal(YAML, text), "l.0");
    assert_eq!(open(YAML, &removed), text.replace("  - 1.0\n", ""));
    let changed = set(YAML, &seal(YAML, text), "a", &Value::Int(32)).unwrap();
    assert_eq!(open(YAML, &changed), text.replace("0x1F", "32"));
}

#[test]
fn without_the_record_values_are_written_plainly() {
    let text = "{\"a\": 1.50, \"b\": \"\\u00e9\"}";
    let sealed = seal(JSON, text);
    let start = sealed.find("\"layout\": \"").unwrap() + 11;
    let end = start + sealed[start..].find('"').unwrap();
    for layout in ["", "ENC[x]", "x"] {
        let changed = format!("{}{layout}{}", &sealed[..start], &sealed[end..]);
        assert_eq!(try_open(JSON, &changed, MacCheck::Strict).unwrap(), "{\"a\": 1.5, \"b\": \"é\"}");
    }
}

#[test]
fn a_block_that_no_longer_stands_as_deep_is_written_plainly() {
    let text = "a:\n        b: >-\n            folded\n            text\nz: |\n  lit\n";
    let sealed = seal(YAML, text);
    // Someone indents the encrypted file anew.
    let moved = sealed.replace("        b:", "                b:");
    assert_ne!(moved, sealed);
    let opened = open(YAML, &moved);
    assert_eq!(tree(YAML, &opened), tree(YAML, text), "{opened}");
}

#[test]
fn a_list_index_leads_past_comments() {
    let text = "l:\n  # one\n  - a\n  # two\n  - b\n";
    let sealed = seal(YAML, text);
    let extracted = parse(YAML, &sealed).extract(&key(), &path("l.1"), MacCheck::Strict).unwrap();
    assert_eq!(extracted, Value::str("b"));
    assert_eq!(open(YAML, &set(YAML, &sealed, "l.1", &Value::str("c")).unwrap()), text.replace("- b", "- c"));
}

// The key would be the ciphertext of what the anchor marks, and the file would open no more.
#[test]
fn an_alias_as_a_key_is_refused_in_files_of_any_size() {
    for padding in [0, 1 << 20] {
        let text = format!("pad: {}\nk: &k name\n*k : v\n", "x".repeat(padding));
        let sealed = bulla_format::sops::encrypt(YAML, text.as_bytes().into(), metadata(), &key(), None);
        assert!(matches!(sealed, Err(Error::Rule(what)) if what.contains("alias")));
    }
    let plain_anchor = "k_unencrypted: &k name\n*k : v\n? &l other\n: w\nx: {*l : y}\n";
    assert_eq!(open(YAML, &seal(YAML, plain_anchor)), plain_anchor);
}
