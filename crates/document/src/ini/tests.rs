#![allow(clippy::unwrap_used, reason = "tests")]

use bulla_core::SecretBytes;
use proptest::prelude::*;

use crate::testing::{self, CIPHERTEXT, check_any_bytes, check_insert, check_restores, show, text, text_of};
use crate::{Document, EmitOptions, Kind, NodeId, Scalar, Step, Syntax, Value, emit};

fn parse(text: &str) -> Document {
    testing::parse(Syntax::Ini, text.as_bytes())
}

fn tree(text: &str) -> String {
    show(&testing::tree(Syntax::Ini, text.as_bytes()))
}

fn error(text: &str) -> String {
    testing::error(Syntax::Ini, text.as_bytes())
}

fn find(document: &Document, section: &str, key: &str) -> NodeId {
    let steps = [Step::Key(section.into()), Step::Key(key.into())];
    document.find(document.roots()[0], &steps).unwrap()
}

/// All nodes below the root with their keys, comments as `;text`.
fn outline(document: &Document) -> Vec<String> {
    let name = |id| match document.kind(id) {
        Kind::Comment => format!(";{}", String::from_utf8_lossy(document.scalar(id).as_bytes().unwrap())),
        Kind::Map => format!("[{}]", document.key(id).unwrap()),
        _ => document.key(id).unwrap().to_owned(),
    };
    document.subtree(document.roots()[0]).skip(1).map(name).collect()
}

#[test]
fn values_are_what_sops_sees() {
    let text = "\u{feff}a = 1 ; inline\nb: \"x;y\"\nc = `q;q` ; kept\nd = \"\"\"m1\r\nm2\"\"\" # c\ne = one \\\n  two \\\n three\n\
                f=\n\"k=1\" = 'v'\n- = auto\n-=2\n g g = \u{a0}it's \" \nh = \"a\"b\"\ni = `x` junk ; x\nj = k\\\n\nl = \\\\ x\n\
                [sec tion] # see [x]\nx = \" sp \"\n[s]\n[s]\ny=\"\"\n";
    assert_eq!(
        tree(text),
        "{\"DEFAULT\": {\"a\": \"1\", \"b\": \"\\\"x\", \"c\": \"q;q\", \"d\": \"m1\\r\\nm2\", \"e\": \"one two three\", \
         \"f\": \"\", \"k=1\": \"v\", \"#1\": \"auto\", \"#2\": \"2\", \"g g\": \"it's \\\"\", \"h\": \"\\\"a\\\"b\\\"\", \
         \"i\": \"x\", \"j\": \"k\", \"l\": \"\\\\\\\\ x\"}, \"sec tion] # see [x\": {\"x\": \" sp \"}, \"s\": {}, \"s\": \
         {\"y\": \"\"}}"
    );
    check_restores(Syntax::Ini, text.as_bytes());
}

#[test]
fn comments_stand_where_sops_has_them() {
    let text = "; one\n\n ## two  \na = 1 ;;in\nb = \"\"\"x\ny\"\"\" ;q\n#head\n[s] ;tail\n;\nc = 2\n; end\n\n;end 2\n";
    let document = parse(text);
    assert_eq!(
        outline(&document),
        ["[DEFAULT]", "a", ";one\n## two", ";in", "b", ";q", "[s]", ";head", ";tail", "c", ";", ";end\n;end 2"]
    );
    let last = document.subtree(document.roots()[0]).last().unwrap();
    assert_eq!(document.parent(last), Some(document.roots()[0]));
    check_restores(Syntax::Ini, text.as_bytes());
}

#[test]
fn a_comment_of_several_lines_comes_back_by_itself() {
    for (text, restores) in [
        ("; a\n; b  \n#c\nx=1\n", true),
        ("# a\r\n;\r\n;; b\r\nx=1\r\n", true),
        ("; a\n\n; b\nx=1\n", false),
        ("; a\n  ; b\nx=1\n", false),
    ] {
        let document = parse(text);
        let comment = document.subtree(document.roots()[0]).find(|&id| document.kind(id) == Kind::Comment).unwrap();
        assert_eq!(document.restores(comment), restores, "{text:?}");
        check_restores(Syntax::Ini, text.as_bytes());
    }
}

#[test]
fn a_comment_behind_a_header_keeps_the_ciphertext_out_of_the_name() {
    // The name ends at the last `]` of the line, so the ciphertext goes below it.
    for (text, encrypted) in [
        ("[s] ; tail\na=1\n", "[s] ; \n; ENC[x]\na=1\n"),
        ("[s]#\r\n\r\na=1\r\n", "[s]#\r\n; ENC[x]\r\n\r\na=1\r\n"),
        ("[s]; \n  ## [x]  \na=1\n", "[s]; \n; ENC[x]  \na=1\n"),
        ("[s];", "[s];\n; ENC[x]"),
    ] {
        let document = parse(text);
        let comment = document.subtree(document.roots()[0]).find(|&id| document.kind(id) == Kind::Comment).unwrap();
        let mut patch = document.patch();
        patch.set_scalar(comment, &Scalar::str("ENC[x]")).unwrap();
        let patched = text_of(&patch.finish());
        assert_eq!(patched, encrypted);
        let again = parse(&patched);
        assert_eq!(again.scalar(comment).as_str(), Some("ENC[x]"));
        assert_eq!(again.key(again.parent(comment).unwrap()), Some("s"));
        check_restores(Syntax::Ini, text.as_bytes());
    }
}

#[test]
fn errors_say_what_and_on_which_line() {
    let entry = "expected `name = value`, `[section]` or a comment";
    for (text, message) in [
        ("a = 1\nfoo\n", format!("line 2: {entry}")),
        ("\"foo\"\n", format!("line 1: {entry}")),
        ("= x\n", "line 1: a value without a name".into()),
        ("\"a = 1\n", "line 1: a key whose quotes are not closed".into()),
        ("[a\n", "line 1: a section whose `[` is not closed".into()),
        ("[]\n", "line 1: a section without a name".into()),
        ("a = `x\ny\n", "line 1: a value whose quotes are not closed".into()),
        ("a = \"\"\"", "line 1: a value whose quotes are not closed".into()),
        ("a = x\\\n", "line 1: a backslash that continues nothing, at the end of the text".into()),
        ("a = 1\n[b]\na = 1\n\n`a`=2\n", "line 5: duplicate key \"a\"".into()),
        ("- = 1\n`#1` = 2\n", "line 2: duplicate key \"#1\"".into()),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
    assert_eq!(testing::error(Syntax::Ini, b"a = \xff\n[\xff]\n"), "line 2: invalid UTF-8");
    assert_eq!(testing::error(Syntax::Ini, b"\xff\xfea\0"), "line 1: invalid UTF-8");
}

#[test]
fn a_changed_value_keeps_its_quotes_where_it_can() {
    for (source, value, expected) in [
        ("\"x\"", "y", "\"y\""),
        ("'x'", "it's", "it's"),
        ("'x'", "y;z", "`y;z`"),
        ("x", " y ", "\" y \""),
        ("x", "y\nz", "\"\"\"y\nz\"\"\""),
        ("x", "y#z", "`y#z`"),
        ("x", "y`#z", "\"\"\"y`#z\"\"\""),
        ("x", "\"y\"", "'\"y\"'"),
        ("x", "y\\", "\"y\\\""),
        ("`x`", "\"\"\"", "`\"\"\"`"),
        ("x", "", "\"\""),
        ("", "x", "x"),
    ] {
        let text = format!("a = {source} ; c\nb = 1\n");
        let document = parse(&text);
        let mut patch = document.patch();
        patch.set_scalar(find(&document, "DEFAULT", "a"), &Scalar::str(value)).unwrap();
        let separator = if source.is_empty() { "" } else { " " };
        let space = if source.is_empty() { " " } else { "" };
        let changed = text_of(&patch.finish());
        assert_eq!(changed, format!("a = {space}{expected}{separator}; c\nb = 1\n"), "{source} to {value}");
        let again = parse(&changed);
        assert_eq!(again.scalar(find(&again, "DEFAULT", "a")).as_str(), Some(value));
    }
}

#[test]
fn what_ini_cannot_say_is_an_error() {
    let document = parse("a = 1\n;c\n[s]\nb = 2\n");
    let root = document.roots()[0];
    for value in [Value::Null, Value::Seq(vec![]), Value::str("\"\"\"`\n")] {
        let entries = [("k".to_owned(), value.clone())];
        let section = document.child(root, &Step::Key("s".into())).unwrap();
        assert!(document.patch().insert(section, &entries).is_err(), "{}", show(&value));
        assert!(document.patch().insert(root, &entries).is_err());
        assert!(document.patch().set_value(find(&document, "s", "b"), &value).is_err());
        let tree = Value::Map(vec![("s".into(), Value::Map(entries.to_vec()))]);
        assert!(emit(&[tree], Syntax::Ini, EmitOptions::default()).is_err());
    }
    for key in ["", "-", "a\nb", " a", "`\""] {
        let tree = Value::Map(vec![("s".into(), Value::Map(vec![(key.into(), Value::Int(1))]))]);
        assert!(emit(&[tree], Syntax::Ini, EmitOptions::default()).is_err(), "{key:?}");
    }
    let outside = Value::Map(vec![("k".into(), Value::Int(1))]);
    assert_eq!(
        emit(&[outside], Syntax::Ini, EmitOptions::default()).unwrap_err().to_string(),
        "\"k\" stands outside of any section, which INI has no form for"
    );
}

#[test]
fn sections_are_added_behind_the_last_entry_and_come_out_again() {
    let section = Value::Map(vec![("mac".into(), Value::str("x")), ("=k".into(), Value::str("a;b"))]);
    let entries = [("sops".to_owned(), section)];
    for (before, after) in [
        ("", "[sops]\nmac = x\n`=k` = `a;b`\n"),
        ("\n; c\n", "[sops]\nmac = x\n`=k` = `a;b`\n\n; c\n"),
        ("a=1\n", "a=1\n\n[sops]\nmac=x\n`=k`=`a;b`\n"),
        ("a: 1", "a: 1\n\n[sops]\nmac: x\n`=k`: `a;b`"),
        ("a = 1\r\n\r\n", "a = 1\r\n\r\n[sops]\r\nmac = x\r\n`=k` = `a;b`\r\n\r\n"),
        ("[e]\n# end\n", "[e]\n\n[sops]\nmac = x\n`=k` = `a;b`\n# end\n"),
        ("a = x\\\n\n\n# end", "a = x\\\n\n\n[sops]\nmac = x\n`=k` = `a;b`\n\n# end"),
    ] {
        let document = parse(before);
        let mut patch = document.patch();
        patch.insert(document.roots()[0], &entries).unwrap();
        assert_eq!(text_of(&patch.finish()), after, "{before:?}");
        check_insert(Syntax::Ini, before.as_bytes(), document.roots()[0], &entries);
    }
}

#[test]
fn entries_are_added_in_the_style_of_the_section() {
    let entries = [("k".to_owned(), Value::str("v")), ("l".to_owned(), Value::str(""))];
    for (before, section, after) in [
        ("", "DEFAULT", "k = v\nl = \n"),
        ("[s]\n", "DEFAULT", "k = v\nl = \n[s]\n"),
        ("\ta:1\n\n[s]", "DEFAULT", "\ta:1\n\tk:v\n\tl:\n\n[s]"),
        ("\ta:1\n\n[s]", "s", "\ta:1\n\n[s]\n\tk:v\n\tl:"),
        ("[s]\na   = 1\n# c\n[t]\n", "s", "[s]\na   = 1\nk = v\nl = \n# c\n[t]\n"),
    ] {
        let document = parse(before);
        let map = document.child(document.roots()[0], &Step::Key(section.into())).unwrap();
        let mut patch = document.patch();
        patch.insert(map, &entries).unwrap();
        assert_eq!(text_of(&patch.finish()), after, "{before:?}");
        check_insert(Syntax::Ini, before.as_bytes(), map, &entries);
    }
}

#[test]
fn an_entry_for_the_last_section_stays_out_of_a_new_one() {
    let document = parse("[s]\na = 1\n");
    let root = document.roots()[0];
    let mut patch = document.patch();
    let new = Value::Map(vec![("x".into(), Value::str("1"))]);
    patch.insert(root, &[("t".into(), new)]).unwrap();
    patch.insert(document.child(root, &Step::Key("s".into())).unwrap(), &[("b".into(), Value::Int(2))]).unwrap();
    assert_eq!(text_of(&patch.finish()), "[s]\na = 1\nb = 2\n\n[t]\nx = 1\n");
}

#[test]
fn comments_and_sections_go_alone_or_with_what_they_belong_to() {
    let text = "; one\na = 1 ; in\n\n; sec\n[s]\nb = 2\n\n[t]\nc = 3";
    let document = parse(text);
    let root = document.roots()[0];
    let without = |id| {
        let mut patch = document.patch();
        patch.remove(id).unwrap();
        text_of(&patch.finish())
    };
    let comments: Vec<_> = document.subtree(root).filter(|&id| document.kind(id) == Kind::Comment).collect();
    assert_eq!(without(comments[0]), "a = 1 ; in\n\n; sec\n[s]\nb = 2\n\n[t]\nc = 3");
    assert_eq!(without(comments[1]), "; one\na = 1\n\n; sec\n[s]\nb = 2\n\n[t]\nc = 3");
    assert_eq!(without(find(&document, "DEFAULT", "a")), "; one\n\n; sec\n[s]\nb = 2\n\n[t]\nc = 3");
    let section = |name: &str| document.child(root, &Step::Key(name.into())).unwrap();
    assert_eq!(without(section("s")), "; one\na = 1 ; in\n\n[t]\nc = 3");
    assert_eq!(without(section("t")), "; one\na = 1 ; in\n\n; sec\n[s]\nb = 2");
    assert_eq!(without(section("DEFAULT")), "\n; sec\n[s]\nb = 2\n\n[t]\nc = 3");
}

#[test]
fn a_section_is_replaced_whole() {
    let document = parse("a = 1\n[s]\nb = 2\n# c\nd = 3\n\n[t]");
    let root = document.roots()[0];
    let mut patch = document.patch();
    let new = Value::Map(vec![("x".into(), Value::str("1"))]);
    for section in ["s", "t"] {
        patch.set_value(document.child(root, &Step::Key(section.into())).unwrap(), &new).unwrap();
    }
    assert_eq!(text_of(&patch.finish()), "a = 1\n[s]\nx = 1\n\n[t]\nx = 1");
}

#[test]
fn a_new_text_looks_as_sops_writes_it() {
    let section = |entries: Vec<(&str, Value)>| {
        Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let tree = Value::Map(vec![
        ("DEFAULT".into(), section(vec![("top", Value::Float(12.0))])),
        (
            "s".into(),
            section(vec![
                ("a", Value::Bool(true)),
                ("h", Value::str("a;b")),
                ("i", Value::str(" x ")),
                ("j", Value::str("l1\nl2")),
                ("k=1", Value::str("q`q")),
                ("f", Value::str("")),
            ]),
        ),
        ("t".into(), section(vec![])),
    ]);
    let out = emit(&[tree], Syntax::Ini, EmitOptions::default()).unwrap();
    assert_eq!(
        text_of(&out),
        "top = 12.0\n\n[s]\na     = true\nh     = `a;b`\ni     = \" x \"\nj     = \"\"\"l1\nl2\"\"\"\n`k=1` = \
         \"\"\"q`q\"\"\"\nf     = \n\n[t]\n"
    );
}

#[test]
fn hostile_texts_cost_linear_time() {
    let sections = "[a]\nb=`\n`\n;c\n\n".repeat(100_000);
    assert_eq!(parse(&sections).len(), 300_002);
    let continued = format!("a = {}\n", "x \\\n".repeat(500_000));
    assert_eq!(parse(&continued).len(), 3);
    let comments = ";;\n\n".repeat(500_000);
    assert_eq!(parse(&comments).len(), 3);
    assert!(error(&format!("a=`{}", "x\n".repeat(1_000_000))).contains("not closed"));
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    testing::pieces(&[
        "a", "b", "k", " = ", "=", ":", "\n", "\n", "\n", "\r\n", " ", "\t", "[", "]", "[s]\n", "[s] ;", "\"", "'",
        "`", "\"\"\"", "\\", "\\\n", "#", ";", "; c\n", "- = ", "x=1\n", "\u{a0}", "\u{feff}", "\nc=", "\nd = ",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic(text in texts()) {
        check_any_bytes(Syntax::Ini, &text);
    }

    #[test]
    fn an_insertion_and_a_removal_give_back_the_bytes(text in texts(), value in "[a-z ;#'\"`\\\\]{0,6}") {
        let Ok(document) = Document::parse(Syntax::Ini, SecretBytes::from(&text[..])) else { return Ok(()) };
        let entries = [("sops_a".to_owned(), Value::str(value)), ("sops_b".to_owned(), Value::str(CIPHERTEXT))];
        if document.patch().insert(NodeId(1), &entries).is_err() {
            return Ok(());
        }
        check_insert(Syntax::Ini, &text, document.roots()[0], &[("sops".into(), Value::Map(entries.to_vec()))]);
        for section in document.children(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Map) {
            check_insert(Syntax::Ini, &text, section, &entries);
        }
    }

    #[test]
    fn encrypting_any_part_of_a_text_leaves_its_tree(text in texts(), parts in prop::collection::vec(any::<bool>(), 1..8)) {
        let Ok(document) = Document::parse(Syntax::Ini, SecretBytes::from(&text[..])) else { return Ok(()) };
        let mut patch = document.patch();
        let mut expected = outline(&document);
        for ((at, id), _) in document.subtree(document.roots()[0]).skip(1).enumerate().zip(parts.iter().cycle()).filter(|(_, part)| **part) {
            match document.kind(id) {
                Kind::Comment => expected[at] = format!(";{CIPHERTEXT}"),
                Kind::Scalar => {}
                _ => continue,
            }
            patch.set_scalar(id, &Scalar::str(CIPHERTEXT)).unwrap();
        }
        prop_assert_eq!(outline(&parse(&text_of(&patch.finish()))), expected);
    }

    #[test]
    fn what_is_emitted_reads_back(sections in testing::maps(testing::maps(testing::strings().prop_map(text)).prop_map(Value::Map))) {
        let mut sections = sections;
        let value = [Value::Map(sections.clone())];
        let Ok(out) = emit(&value, Syntax::Ini, EmitOptions::default()) else { return Ok(()) };
        sections.insert(0, ("DEFAULT".into(), Value::Map(vec![])));
        prop_assert_eq!(tree(&text_of(&out)), show(&Value::Map(sections)));
    }
}
