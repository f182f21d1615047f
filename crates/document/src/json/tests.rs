#![allow(clippy::unwrap_used, clippy::similar_names, reason = "tests")]

use std::fmt::Write;

use bulla_core::SecretBytes;
use proptest::prelude::*;

use crate::testing::{self, CIPHERTEXT, check_any_bytes, check_insert, check_restores, show, text_of, tree, trees};
use crate::{Document, EmitOptions, ErrorKind, Limits, NodeId, Scalar, Step, Syntax, Value, emit};

fn parse(text: &str) -> Document {
    testing::parse(Syntax::Json, text.as_bytes())
}

fn error(text: &[u8]) -> String {
    testing::error(Syntax::Json, text)
}

fn find(document: &Document, path: &str) -> NodeId {
    let steps: Vec<_> =
        path.split('/').map(|step| step.parse().map_or_else(|_| Step::Key(step.into()), Step::Index)).collect();
    document.find(document.roots()[0], &steps).unwrap()
}

#[test]
fn a_tree_has_order_types_and_decoded_strings() {
    let text = r#" {"b": [1, -0, 1.0, 1e3, null, true, false, {}, []], "a\u0041": "x\n\"\/\ud83d\ude00\ud800y"} "#;
    assert_eq!(
        show(&tree(Syntax::Json, text.as_bytes())),
        "{\"b\": [1, 0, 1.0f, 1000.0f, null, true, false, {}, []], \"aA\": \"x\\n\\\"/😀\u{fffd}y\"}"
    );
}

#[test]
fn whole_numbers_keep_all_64_bits_and_larger_ones_round_as_in_sops() {
    let text = br#"{"a":9223372036854775807,"b":-9223372036854775808,"c":9223372036854775808,"d":1e-400}"#;
    assert_eq!(
        show(&tree(Syntax::Json, text)),
        r#"{"a": 9223372036854775807, "b": -9223372036854775808, "c": 9.223372036854776e18f, "d": 0.0f}"#
    );
}

#[test]
fn errors_say_what_and_on_which_line() {
    for (text, message) in [
        (&b""[..], "line 1: the text is empty where a JSON object must be"),
        (b"\n[1]", "line 2: the root is a list; wrap it: {\"data\": […]}"),
        (b"\n\n\"x\"", "line 3: the root is a single value; wrap it: {\"data\": …}"),
        (b"\xef\xbb\xbf{}", "line 1: a byte order mark before the JSON; save the file as UTF-8 without it"),
        (b"{\n\"a\": \"\xff\"}", "line 2: invalid UTF-8"),
        (b"{\n\"a\": \"\0\"}", "line 2: a control character in a string (a line break? write it as \\n)"),
        (b"{\"a\": \"\n\"}", "line 1: a control character in a string (a line break? write it as \\n)"),
        (b"{\"a\": 1,\n}", "line 2: expected a key in double quotes"),
        (b"{\"a\": [1,]}", "line 1: expected a value"),
        (b"{\"a\": [,1]}", "line 1: expected a value"),
        (b"{,}", "line 1: expected a key in double quotes"),
        (b"{\"a\" 1}", "line 1: expected `:` after the key"),
        (b"{\"a\": 1 \"b\": 2}", "line 1: expected `,` or `}`"),
        (b"{\"a\": [1 2]}", "line 1: expected `,` or `]`"),
        (b"{\"a\": 1", "line 1: the text ends inside an object or a list"),
        (b"{\"a\":", "line 1: the text ends where a value must be"),
        (b"{\"a\": \"x", "line 1: a string without its closing quote"),
        (b"{\"a\": \"\\x\"}", "line 1: an unknown escape in a string"),
        (b"{\"a\": \"\\u00g0\"}", "line 1: an escape \\u without its four hexadecimal digits"),
        (b"{\"a\": 01}", "line 1: a number cannot start with 0"),
        (b"{\"a\": -}", "line 1: expected a digit"),
        (b"{\"a\": 1.}", "line 1: expected a digit"),
        (b"{\"a\": 1e400}", "line 1: a number too large for 64 bits"),
        (b"{}\n{}", "line 2: there is more text after the end of the JSON object"),
        (b"{\"a\": 1,\n\"\\u0061\": 2}", "line 2: duplicate key \"a\""),
    ] {
        assert_eq!(error(text), message, "{:?}", String::from_utf8_lossy(text));
    }
}

#[test]
fn duplicate_keys_are_found_in_large_and_nested_objects() {
    let many: Vec<_> = (0..100).map(|at| format!("\"k{at}\": {{\"x\": {at}}}")).collect();
    let text = format!("{{{}, \"k7\": 1}}", many.join(","));
    assert_eq!(error(text.as_bytes()), "line 1: duplicate key \"k7\"");
    assert_eq!(error(br#"{"a": [{"b": 1, "b": 2}]}"#), "line 1: duplicate key \"b\"");
}

#[test]
fn hostile_nesting_ends_in_an_error_and_costs_no_stack() {
    let deep = b"{\"a\":".repeat(10_000_000);
    assert_eq!(error(&deep), "line 1: nested deeper than 1000 levels");
    let limits = Limits { bytes: usize::MAX, depth: usize::MAX, nodes: 100_000 };
    let lists = [b"{\"a\":".to_vec(), b"[".repeat(1_000_000)].concat();
    let within = Document::parse_within(Syntax::Json, SecretBytes::from(&lists[..]), &limits);
    assert!(matches!(within.map_err(|error| error.kind), Err(ErrorKind::Limit(_))));
}

#[test]
fn the_deepest_text_that_is_read_can_be_used_in_every_way() {
    let deep = format!("{}1{}", "{\"a\": ".repeat(1000), "}".repeat(1000));
    let document = parse(&deep);
    let value = document.to_value(document.roots()[0]);
    let text = emit(std::slice::from_ref(&value), Syntax::Json, EmitOptions { indent: Some(0) }).unwrap();
    assert_eq!(show(&tree(Syntax::Json, text.expose())), show(&value));
    let mut patch = document.patch();
    patch.set_value(NodeId(1), &value).unwrap();
    patch.insert(document.roots()[0], &[("b".into(), value)]).unwrap();
    assert_eq!(patch.finish().len(), 2 * deep.len() + "{\"a\": , \"b\": }".len());
}

#[test]
fn a_text_longer_than_the_limit_is_not_read() {
    let limits = Limits { bytes: 4, ..Limits::default() };
    let error = Document::parse_within(Syntax::Json, SecretBytes::from(&b"{  }\n"[..]), &limits).err().unwrap();
    assert_eq!(error.to_string(), "the text is 5 bytes long, more than 4");
}

#[test]
fn a_changed_value_moves_no_other_byte() {
    let document = parse("{\n  \"a\" : \"x\",\n\n  \"b\": [1,2 , {\"c\":null}]\n}");
    let mut patch = document.patch();
    patch.set_scalar(find(&document, "b/2/c"), &Scalar::str("new \"line\"\n<&>")).unwrap();
    patch.set_scalar(find(&document, "a"), &Scalar::Int(7)).unwrap();
    let expected = "{\n  \"a\" : 7,\n\n  \"b\": [1,2 , {\"c\":\"new \\\"line\\\"\\n<&>\"}]\n}";
    assert_eq!(text_of(&patch.finish()), expected);
}

#[test]
fn sources_that_a_value_does_not_give_back_are_said_to_need_keeping() {
    for (source, restores) in [
        ("\"plain\"", true),
        (r#""a\nb\"\\""#, true),
        ("\"<é>\"", true),
        (r#""\u003c""#, false),
        (r#""\/""#, false),
        (r#""\ud800""#, false),
        ("12", true),
        ("-0", false),
        ("1.5", true),
        ("1.50", false),
        ("1.0", false),
        ("1e3", false),
        ("123456789012345678901234567890", false),
        ("true", true),
    ] {
        let text = format!("{{\"a\": {source}}}");
        let document = parse(&text);
        assert_eq!(document.restores(find(&document, "a")), restores, "{source}");
        check_restores(Syntax::Json, text.as_bytes());
    }
}

fn inserted(text: &str, path: Option<&str>) -> String {
    let document = parse(text);
    let map = path.map_or(document.roots()[0], |path| find(&document, path));
    let value = Value::Map(vec![("x".into(), Value::Seq(vec![Value::Int(1), Value::Int(2)]))]);
    let entries = [("s".to_owned(), value), ("t".to_owned(), Value::Null)];
    check_insert(Syntax::Json, text.as_bytes(), map, &entries);
    let mut patch = document.patch();
    patch.insert(map, &entries[..1]).unwrap();
    text_of(&patch.finish())
}

#[test]
fn an_entry_is_added_in_the_layout_that_stands_there() {
    for (text, path, expected) in [
        ("{\"a\":1}\n", None, "{\"a\":1,\"s\":{\"x\":[1,2]}}\n"),
        ("{ \"a\": 1, \"b\": 2 }", None, "{ \"a\": 1, \"b\": 2, \"s\": {\"x\": [1, 2]} }"),
        ("{\n  \"a\": 1\n}", None, "{\n  \"a\": 1,\n  \"s\": {\n    \"x\": [\n      1,\n      2\n    ]\n  }\n}"),
        (
            "{\r\n\t\"a\":1\r\n}\r\n",
            None,
            "{\r\n\t\"a\":1,\r\n\t\"s\":{\r\n\t\t\"x\":[\r\n\t\t\t1,\r\n\t\t\t2\r\n\t\t]\r\n\t}\r\n}\r\n",
        ),
        ("{ \"a\": 1\n, \"b\": 2\n}", None, "{ \"a\": 1\n, \"b\": 2\n, \"s\": {\n\t\"x\": [\n\t\t1,\n\t\t2\n\t]\n}\n}"),
        ("{}\n", None, "{\n\t\"s\": {\n\t\t\"x\": [\n\t\t\t1,\n\t\t\t2\n\t\t]\n\t}\n}\n"),
        ("{\n}\n", None, "{\"s\": {\n\t\t\"x\": [\n\t\t\t1,\n\t\t\t2\n\t\t]\n\t}\n}\n"),
        ("{\"a\": {}}", Some("a"), "{\"a\": {\"s\": {\"x\": [1, 2]}}}"),
        (
            "{\n  \"a\": {}\n}",
            Some("a"),
            "{\n  \"a\": {\n    \"s\": {\n      \"x\": [\n        1,\n        2\n      ]\n    }\n  }\n}",
        ),
    ] {
        assert_eq!(inserted(text, path), expected, "{text:?}");
    }
}

#[test]
fn entries_come_out_with_the_right_commas_whatever_stays() {
    let text = "{ \"a\": 1, \"b\": 2 , \"c\": 3,\"d\": 4 }";
    for (names, expected) in [
        (&["a"][..], "{ \"b\": 2 , \"c\": 3,\"d\": 4 }"),
        (&["a", "b"], "{ \"c\": 3,\"d\": 4 }"),
        (&["c", "b"], "{ \"a\": 1,\"d\": 4 }"),
        (&["d", "c"], "{ \"a\": 1, \"b\": 2 }"),
        (&["a", "d", "b"], "{ \"c\": 3 }"),
        (&["a", "b", "c", "d"], "{}"),
    ] {
        let document = parse(text);
        let mut patch = document.patch();
        for name in names {
            patch.remove(find(&document, name)).unwrap();
        }
        assert_eq!(text_of(&patch.finish()), expected);
    }
}

#[test]
fn adding_and_removing_in_one_patch_replaces() {
    let document = parse("{\"a\": 1, \"b\": [1, 2]}");
    let mut patch = document.patch();
    patch.remove(find(&document, "b/0")).unwrap();
    patch.push(find(&document, "b"), &Value::str("x")).unwrap();
    patch.remove(find(&document, "a")).unwrap();
    patch.insert(document.roots()[0], &[("a".into(), Value::Bool(true))]).unwrap();
    assert_eq!(text_of(&patch.finish()), "{\"b\": [2, \"x\"], \"a\": true}");

    let document = parse("{\"b\": [1, 2]}");
    let mut patch = document.patch();
    patch.remove(find(&document, "b/0")).unwrap();
    patch.remove(find(&document, "b/1")).unwrap();
    patch.push(find(&document, "b"), &Value::Int(3)).unwrap();
    patch.push(find(&document, "b"), &Value::Int(4)).unwrap();
    assert_eq!(text_of(&patch.finish()), "{\"b\": [3, 4]}");
}

#[test]
fn a_key_that_is_there_cannot_be_added_again() {
    let document = parse("{\"a\": 1}");
    let entry = |key: &str| (key.to_owned(), Value::Null);
    let mut patch = document.patch();
    assert!(patch.insert(document.roots()[0], &[entry("a")]).is_err());
    assert!(patch.insert(document.roots()[0], &[entry("b"), entry("b")]).is_err());
    patch.remove(find(&document, "a")).unwrap();
    patch.insert(document.roots()[0], &[entry("a")]).unwrap();
    assert_eq!(text_of(&patch.finish()), "{\"a\": null}");
}

#[test]
fn a_scalar_becomes_a_tree_and_a_tree_a_scalar() {
    let document = parse("{\n  \"a\": 1,\n  \"b\": {\n    \"c\": 2\n  }\n}\n");
    let mut patch = document.patch();
    patch.set_value(find(&document, "a"), &Value::Map(vec![("x".into(), Value::Seq(vec![]))])).unwrap();
    patch.set_value(find(&document, "b"), &Value::str("s")).unwrap();
    assert_eq!(text_of(&patch.finish()), "{\n  \"a\": {\n    \"x\": []\n  },\n  \"b\": \"s\"\n}\n");
}

#[test]
fn a_root_is_replaced_by_an_object_only_and_never_removed() {
    let document = parse("{\n  \"a\": 1\n}\n");
    let root = document.roots()[0];
    let mut patch = document.patch();
    assert!(patch.set_value(root, &Value::Int(1)).is_err());
    assert!(patch.remove(root).is_err());
    patch.set_value(root, &Value::Map(vec![("b".into(), Value::Int(2))])).unwrap();
    assert_eq!(text_of(&patch.finish()), "{\n  \"b\": 2\n}\n");
}

#[test]
fn a_new_text_looks_as_sops_writes_it() {
    let tree = Value::Map(vec![
        ("a<".into(), Value::Seq(vec![Value::Int(1), Value::Float(2.0), Value::Float(1e21), Value::Null])),
        ("b".into(), Value::str("<&>\u{2028}é\u{7f}\u{1}\u{8}\n\"")),
        ("c".into(), Value::Map(vec![])),
        ("d".into(), Value::Time("2001-02-03T04:05:06Z".into())),
    ]);
    let expected = "{\n\t\"a\\u003c\": [\n\t\t1,\n\t\t2,\n\t\t1e+21,\n\t\tnull\n\t],\n\t\"b\": \
                    \"\\u003c\\u0026\\u003e\\u2028é\u{7f}\\u0001\\b\\n\\\"\",\n\t\"c\": {},\n\t\"d\": \
                    \"2001-02-03T04:05:06Z\"\n}\n";
    let out = emit(std::slice::from_ref(&tree), Syntax::Json, EmitOptions::default()).unwrap();
    assert_eq!(text_of(&out), expected);
    let out = emit(&[Value::Map(vec![("a".into(), Value::Int(1))])], Syntax::Json, EmitOptions { indent: Some(2) });
    assert_eq!(text_of(&out.unwrap()), "{\n  \"a\": 1\n}\n");
}

#[test]
fn what_json_cannot_say_is_an_error() {
    for value in [Value::Float(f64::NAN), Value::Str(vec![0xff].into())] {
        let document = parse("{\"a\": 1}");
        assert!(document.patch().set_value(find(&document, "a"), &value).is_err());
        assert!(emit(&[Value::Map(vec![("a".into(), value)])], Syntax::Json, EmitOptions::default()).is_err());
    }
    assert!(emit(&[Value::Null, Value::Null], Syntax::Json, EmitOptions::default()).is_err());
}

#[test]
fn every_key_of_a_huge_object_is_found_in_linear_time() {
    let entries: Vec<_> = (0..40_000).map(|at| (format!("key{at}"), Value::Int(at))).collect();
    let text = emit(&[Value::Map(entries)], Syntax::Json, EmitOptions::default()).unwrap();
    let document = testing::parse(Syntax::Json, text.expose());
    for at in (0..40_000).rev() {
        let id = document.child(document.roots()[0], &Step::Key(format!("key{at}"))).unwrap();
        assert_eq!(document.scalar(id), Scalar::Int(at));
    }
    assert_eq!(document.child(document.roots()[0], &Step::Key("key40000".into())), None);
}

/// Any white space that JSON allows between two tokens.
fn space() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 2 => Just(" ".to_owned()), 1 => "[ \t\r\n]{0,3}"]
}

/// A tree written with random white space and random escapes.
fn texts() -> impl Strategy<Value = String> {
    (trees(), prop::collection::vec((space(), any::<u8>()), 1..20)).prop_map(|(tree, noise)| {
        let mut noise = noise.into_iter().cycle();
        let mut out = String::new();
        write_noisy(&tree, &mut noise, &mut out);
        out
    })
}

fn write_noisy(value: &Value, noise: &mut impl Iterator<Item = (String, u8)>, out: &mut String) {
    let (space, escape) = noise.next().unwrap();
    out.push_str(&space);
    match value {
        Value::Map(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_noisy(&Value::str(key.as_str()), noise, out);
                out.push(':');
                write_noisy(value, noise, out);
            }
            out.push_str(&space);
            out.push('}');
        }
        Value::Seq(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_noisy(item, noise, out);
            }
            out.push(']');
        }
        Value::Str(bytes) if escape % 4 == 0 => {
            out.push('"');
            for unit in std::str::from_utf8(bytes).unwrap().encode_utf16() {
                write!(out, "\\u{unit:04X}").unwrap();
            }
            out.push('"');
        }
        Value::Str(bytes) => out.push_str(&serde_json::to_string(std::str::from_utf8(bytes).unwrap()).unwrap()),
        Value::Float(value) => write!(out, "{value:e}").unwrap(),
        scalar => {
            let text = emit(std::slice::from_ref(scalar), Syntax::Json, EmitOptions::default()).unwrap();
            out.push_str(text_of(&text).trim());
        }
    }
    out.push_str(&space);
}

proptest! {
    #[test]
    fn what_is_emitted_reads_back(value in trees()) {
        let out = emit(std::slice::from_ref(&value), Syntax::Json, EmitOptions::default()).unwrap();
        prop_assert_eq!(show(&tree(Syntax::Json, out.expose())), show(&as_read(value)));
    }

    #[test]
    fn a_text_in_any_layout_reads_as_another_parser_reads_it(text in texts()) {
        let ours: serde_json::Value = {
            let out = emit(&[tree(Syntax::Json, text.as_bytes())], Syntax::Json, EmitOptions::default());
            serde_json::from_slice(out.unwrap().expose()).unwrap()
        };
        let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert!(same(&ours, &theirs), "{ours}\n{theirs}");
    }

    #[test]
    fn encrypting_and_decrypting_gives_back_the_bytes(text in texts()) {
        check_restores(Syntax::Json, text.as_bytes());
    }

    #[test]
    fn an_insertion_and_a_removal_give_back_the_bytes(text in texts(), entries in testing::maps(Just(Value::str(CIPHERTEXT)))) {
        let document = parse(&text);
        for map in document.subtree(document.roots()[0]).filter(|&id| document.kind(id) == crate::Kind::Map) {
            let mut entries = entries.clone();
            entries.retain(|(key, _)| document.child(map, &Step::Key(key.clone())).is_none());
            check_insert(Syntax::Json, text.as_bytes(), map, &entries);
        }
    }

    #[test]
    fn any_patch_gives_the_intended_tree(text in texts(), choices in prop::collection::vec(0_u8..4, 1..30), new in trees()) {
        let document = parse(&text);
        let mut patch = document.patch();
        let mut choices = choices.into_iter().cycle();
        let expected = change(&document, document.roots()[0], &mut choices, &new, &mut patch).unwrap();
        let text = patch.finish();
        prop_assert_eq!(show(&as_read(tree(Syntax::Json, text.expose()))), show(&as_read(expected)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in testing::pieces(
        &["{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"b\"", "1", "-", ".5", "e9", "null", "true", "\\", "\\u", "d800", " ", "\n", "{\"k\":"]
    )) {
        check_any_bytes(Syntax::Json, &text);
    }
}

/// Changes the tree below `id` as `choices` say, in the patch and in a copy; `None` if the node is taken out.
fn change(
    document: &Document,
    id: NodeId,
    choices: &mut impl Iterator<Item = u8>,
    new: &Value,
    patch: &mut crate::Patch<'_>,
) -> Option<Value> {
    let is_root = document.parent(id).is_none();
    match choices.next() {
        Some(0) if !is_root => {
            patch.remove(id).unwrap();
            return None;
        }
        Some(1) if !is_root => {
            patch.set_value(id, new).unwrap();
            return Some(new.clone());
        }
        _ => {}
    }
    let mut changed = |child| change(document, child, choices, new, patch);
    Some(match document.kind(id) {
        crate::Kind::Map => {
            let mut entries: Vec<_> = document
                .children(id)
                .filter_map(|child| Some((document.key(child).unwrap().to_owned(), changed(child)?)))
                .collect();
            if document.child(id, &Step::Key("new key".into())).is_none() && choices.next() == Some(2) {
                entries.push(("new key".into(), new.clone()));
                patch.insert(id, &entries[entries.len() - 1..]).unwrap();
            }
            Value::Map(entries)
        }
        crate::Kind::Seq => {
            let mut items: Vec<_> = document.children(id).filter_map(&mut changed).collect();
            if choices.next() == Some(2) {
                patch.push(id, new).unwrap();
                items.push(new.clone());
            }
            Value::Seq(items)
        }
        _ => document.to_value(id),
    })
}

/// The tree as it is read again: a whole float is written as a whole number, as sops does.
fn as_read(value: Value) -> Value {
    match value {
        Value::Float(float) => crate::number::go_json(float).unwrap().parse().map_or(value, Value::Int),
        Value::Seq(items) => Value::Seq(items.into_iter().map(as_read).collect()),
        Value::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| (key, as_read(value))).collect()),
        other => other,
    }
}

/// Equal, a whole float and a whole number being equal as well.
fn same(a: &serde_json::Value, b: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (a, b) {
        // That parser may be off by the last bit of a float.
        (Number(a), Number(b)) => {
            a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= a.abs() * f64::EPSILON)
        }
        (Array(a), Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Object(a), Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b))),
        _ => a == b,
    }
}
