#![allow(clippy::unwrap_used, clippy::similar_names, reason = "tests")]

use bulla_core::SecretBytes;
use proptest::prelude::*;
use toml_edit::{Item, TableLike};

use crate::testing::{self, check_any_bytes, check_insert, check_restores, show, text_of, trees};
use crate::{Document, EmitOptions, ErrorKind, Kind, Limits, NodeId, Scalar, Step, Syntax, Value, emit};

fn parse(text: &str) -> Document {
    testing::parse(Syntax::Toml, text.as_bytes())
}

fn tree(text: &str) -> String {
    show(&testing::tree(Syntax::Toml, text.as_bytes()))
}

fn error(text: &str) -> String {
    testing::error(Syntax::Toml, text.as_bytes())
}

fn find(document: &Document, path: &str) -> NodeId {
    let steps: Vec<_> =
        path.split('/').map(|step| step.parse().map_or_else(|_| Step::Key(step.into()), Step::Index)).collect();
    document.find(document.roots()[0], &steps).unwrap()
}

fn patched(text: &str, change: impl Fn(&Document, &mut crate::Patch<'_>)) -> String {
    let document = parse(text);
    let mut patch = document.patch();
    change(&document, &mut patch);
    text_of(&patch.finish())
}

fn inserted(text: &str, path: Option<&str>, key: &str, value: &Value) -> String {
    let document = parse(text);
    let map = path.map_or(document.roots()[0], |path| find(&document, path));
    let entries = [(key.to_owned(), value.clone())];
    let mut patch = document.patch();
    patch.insert(map, &entries).unwrap();
    let with = text_of(&patch.finish());
    // Not `check_insert`: ids move when a table is added in the middle.
    let again = parse(&with);
    let map = path.map_or(again.roots()[0], |path| find(&again, path));
    let mut patch = again.patch();
    patch.remove(again.child(map, &Step::Key(key.to_owned())).unwrap()).unwrap();
    assert_eq!(text_of(&patch.finish()), text, "by way of {with:?}");
    with
}

#[test]
fn a_tree_has_tables_from_headers_dotted_keys_and_brackets() {
    let text = "\u{feff}a.b.c = 1 # x\n'q' = [1, [\"x\"], { y = 0xFF, z.w = +1_000 }]\n[t.u]\nv = -0.0\n[[l]]\nm = true\n[[l.n]]\n\
                [[l]]\n[t]\nw = inf\n[\"a b\".c]\n\"\\u0041\" = '''\r\nx'''\n[l.o]\np = \"\"\"a\\\n   b\"\"\"\n";
    assert_eq!(
        tree(text),
        "{\"a\": {\"b\": {\"c\": 1}}, \"q\": [1, [\"x\"], {\"y\": 255, \"z\": {\"w\": 1000}}], \"t\": {\"u\": {\"v\": \
         -0.0f}, \"w\": inff}, \"l\": [{\"m\": true, \"n\": [{}]}, {\"o\": {\"p\": \"ab\"}}], \"a b\": {\"c\": {\"A\": \
         \"x\"}}}"
    );
    check_restores(Syntax::Toml, text.as_bytes());
}

#[test]
fn date_times_with_an_offset_are_times_and_others_are_kept_by_their_text() {
    for (source, expected, restores) in [
        ("1979-05-27T07:32:00Z", "@1979-05-27T07:32:00Z", true),
        ("1979-05-27 07:32:00.500-07:00", "@1979-05-27T07:32:00.5-07:00", false),
        ("1979-05-27t07:32z", "@1979-05-27T07:32:00Z", false),
        ("1979-05-27T07:32:00+00:00", "@1979-05-27T07:32:00Z", false),
        ("1979-05-27T07:32:60Z", "\"1979-05-27T07:32:60Z\"", false),
        ("1979-05-27T07:32:00.1234567891Z", "\"1979-05-27T07:32:00.1234567891Z\"", false),
        ("1979-05-27T07:32:00", "\"1979-05-27T07:32:00\"", false),
        ("1979-05-27", "\"1979-05-27\"", false),
        ("07:32:00.5", "\"07:32:00.5\"", false),
    ] {
        let text = format!("a = {source}\n");
        assert_eq!(tree(&text), format!("{{\"a\": {expected}}}"));
        let document = parse(&text);
        assert_eq!(document.restores(find(&document, "a")), restores, "{source}");
        check_restores(Syntax::Toml, text.as_bytes());
    }
}

#[test]
fn sources_that_a_value_does_not_give_back_are_said_to_need_keeping() {
    for (source, restores) in [
        ("\"x\"", true),
        (r#""\n\t\"\\\u0000é""#, false),
        (r#""\n\"\\\u0000é""#, true),
        ("'x\\'", true),
        ("\"\"\"\nx\n  \"quoted\" \\\\\n\"\"\"", true),
        ("'''\nx\n'it''s'\n'''", true),
        ("'''x\ny'''", false),
        ("\"\"\"x\"\"\"", true),
        ("\"\"\"x\\\n  y\"\"\"", false),
        ("12", true),
        ("+12", false),
        ("0x1f", false),
        ("1_000", false),
        ("1.5", true),
        ("1e21", true),
        ("1E21", false),
        ("-inf", true),
        ("nan", true),
        ("true", true),
    ] {
        let text = format!("a = {source}\nb = [{source}]\n");
        let document = parse(&text);
        assert_eq!(document.restores(find(&document, "a")), restores, "{source}");
        check_restores(Syntax::Toml, text.as_bytes());
    }
}

#[test]
fn comments_stand_before_what_they_head_or_end_the_line_of() {
    let text = "# 1\na = 1 # 2\n# 3\n\n[t] # 4\n# 5\nb = [ # 6\n  # 7\n  1, # 8\n  2 # 9\n] # 10\n# 11\n[[l]]\n# 12\n";
    let document = parse(text);
    let outline: Vec<_> = document
        .subtree(document.roots()[0])
        .skip(1)
        .map(|id| match document.kind(id) {
            Kind::Comment => format!("#{}", document.scalar(id).as_str().unwrap()),
            _ => document.key(id).unwrap_or("-").to_owned(),
        })
        .collect();
    assert_eq!(
        outline,
        [
            "# 1", "# 2", "a", "# 3", "# 4", "t", "# 5", "# 10", "b", "# 6", "# 7", "# 8", "-", "# 9", "-", "l",
            "# 11", "-", "# 12"
        ]
    );
    assert_eq!(document.parent(document.subtree(document.roots()[0]).last().unwrap()), Some(document.roots()[0]));
    check_restores(Syntax::Toml, text.as_bytes());
}

#[test]
fn errors_say_what_and_on_which_line() {
    for (text, message) in [
        ("a = 1\na = 2\n", "line 2: duplicate key \"a\""),
        ("a.b = 1\na.b = 2\n", "line 2: duplicate key \"b\""),
        ("[a]\n[b]\n[a]\n", "line 3: duplicate key \"a\""),
        ("a = 1\n[a.b]\n", "line 2: duplicate key \"a\""),
        ("a = []\n[[a]]\n", "line 2: duplicate key \"a\""),
        ("a = {}\n[a.b]\n", "line 2: duplicate key \"a\""),
        ("[a]\nb.c = 1\n[a.b]\n", "line 3: duplicate key \"b\""),
        ("[a.b]\n[a]\nb.c = 1\n", "line 3: duplicate key \"b\""),
        ("a = { b = 1, b.c = 2 }\n", "line 1: duplicate key \"b\""),
        ("a = 99999999999999999999\n", "line 1: a whole number too large for 64 bits"),
        ("a = 1e999\n", "line 1: a number too large for 64 bits"),
        ("a = 2001-02-30\n", "line 1: a date or time that does not exist"),
        ("\na = \n", "line 2: string values must be quoted, expected literal string"),
        ("a = \"x\n", "line 1: invalid basic string, expected `\"`"),
        ("a\n", "line 1: key with no value, expected `=`"),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
    assert_eq!(testing::error(Syntax::Toml, b"a = 1\nb = '\xff'"), "line 2: invalid UTF-8");
}

#[test]
fn hostile_nesting_ends_in_an_error() {
    let brackets = format!("a = {}", "[".repeat(1_000_000));
    assert_eq!(error(&brackets), "line 1: brackets nested deeper than 128 levels");
    let tables = format!("a = {}", "{a=".repeat(1_000_000));
    assert_eq!(error(&tables), "line 1: brackets nested deeper than 128 levels");
    let dots = format!("[a{}]", ".a".repeat(100_000));
    assert_eq!(error(&dots), "line 1: nested deeper than 1000 levels");
    let limits = Limits { nodes: 100, ..Limits::default() };
    let many = format!("a = [{}]", "1,".repeat(200));
    let within = Document::parse_within(Syntax::Toml, SecretBytes::from(many.as_bytes()), &limits);
    assert!(matches!(within.map_err(|error| error.kind), Err(ErrorKind::Limit(_))));
    let deep = format!("a = {}{}", "[".repeat(128), "]".repeat(128));
    assert_eq!(parse(&deep).len(), 129);
}

#[test]
fn a_changed_value_moves_no_other_byte() {
    let text = "a = 'x' # c\n[t]\nb   = [ 1, 0x2 ]\n";
    assert_eq!(
        patched(text, |document, patch| {
            patch.set_scalar(find(document, "a"), &Scalar::str("it's")).unwrap();
            patch.set_scalar(find(document, "t/b/1"), &Scalar::Float(1.0)).unwrap();
        }),
        "a = \"it's\" # c\n[t]\nb   = [ 1, 1.0 ]\n"
    );
}

#[test]
fn metadata_is_added_as_tables_at_the_end_and_comes_out_again() {
    let age = Value::Map(vec![
        ("recipient".into(), Value::str("age1")),
        ("enc".into(), Value::str("-----BEGIN\nx\n-----END\n")),
    ]);
    let sops = Value::Map(vec![
        ("mac".into(), Value::str("ENC[x]")),
        ("age".into(), Value::Seq(vec![age.clone(), age])),
        ("empty".into(), Value::Seq(vec![])),
    ]);
    let block = "[sops]\nmac = \"ENC[x]\"\nempty = []\n\n[[sops.age]]\nrecipient = \"age1\"\nenc = \
                 \"\"\"\n-----BEGIN\nx\n-----END\n\"\"\"\n\n[[sops.age]]\nrecipient = \"age1\"\nenc = \
                 \"\"\"\n-----BEGIN\nx\n-----END\n\"\"\"\n";
    for before in ["", "\n", "a = 1\n", "[t]\na = 1\n\n# end\n", "# end\n\n", "[[t]]\n[t.u]\n\n"] {
        let separator = if before.is_empty() { "" } else { "\n" };
        assert_eq!(inserted(before, None, "sops", &sops), format!("{before}{separator}{block}"));
    }
    let without_end = inserted("a = 1\n# end", None, "sops", &sops);
    assert_eq!(without_end, format!("a = 1\n# end\n\n{}", block.trim_end_matches('\n')));
    let crlf = inserted("a=1\r\nb=2", None, "sops", &sops);
    let enc = "\"\"\"\n-----BEGIN\nx\n-----END\n\"\"\"";
    let block = block.replace(enc, "\"-----BEGIN\\nx\\n-----END\\n\"").replace(" = ", "=").replace('\n', "\r\n");
    assert_eq!(crlf, format!("a=1\r\nb=2\r\n\r\n{}", block.trim_end()));
}

#[test]
fn entries_are_added_where_their_table_stands() {
    let value = Value::str("v");
    for (text, path, expected) in [
        ("", None, "k = \"v\"\n"),
        ("[t]\n", None, "k = \"v\"\n[t]\n"),
        ("\u{feff}# c\n[t]", None, "\u{feff}k = \"v\"\n# c\n[t]"),
        ("a=1 # c\n\n[t]\n", None, "a=1 # c\nk=\"v\"\n\n[t]\n"),
        ("[t]\n  a = 1\n# d\n[u]\n", Some("t"), "[t]\n  a = 1\n  k = \"v\"\n# d\n[u]\n"),
        ("[t]\n[u]", Some("u"), "[t]\n[u]\nk = \"v\""),
        ("[[l]]\na = 1\n[[l]]\n", Some("l/0"), "[[l]]\na = 1\nk = \"v\"\n[[l]]\n"),
        ("[t]\na.b = 1\na.'c d'.e = 2\nf = 3\n", Some("t/a"), "[t]\na.b = 1\na.'c d'.e = 2\na.k = \"v\"\nf = 3\n"),
        ("a.'c d'.e = 2\nf = 3\n", Some("a/c d"), "a.'c d'.e = 2\na.\"c d\".k = \"v\"\nf = 3\n"),
        ("t = {}\n", Some("t"), "t = { k = \"v\" }\n"),
        ("t = { a=1,b=2 }\n", Some("t"), "t = { a=1,b=2,k=\"v\" }\n"),
        ("t = { a = 1 } # c\n", Some("t"), "t = { a = 1, k = \"v\" } # c\n"),
        ("t = {\n  a = 1,\n}\n", Some("t"), "t = {\n  a = 1,\n  k = \"v\",\n}\n"),
    ] {
        assert_eq!(inserted(text, path, "k", &value), expected, "{text:?}");
    }
    let with_header = patched("[a.b]\nc = 1\n[d]\n", |document, patch| {
        patch.insert(find(document, "a"), &[("k".into(), Value::Map(vec![("x".into(), Value::Int(1))]))]).unwrap();
    });
    assert_eq!(with_header, "[a.b]\nc = 1\n\n[a]\nk = { x = 1 }\n[d]\n");
}

#[test]
fn items_are_pushed_and_removed_with_their_commas_and_comments() {
    for (text, expected) in [
        ("a = []", "a = [7]"),
        ("a = [ ]", "a = [7 ]"),
        ("a = [1]", "a = [1, 7]"),
        ("a = [ 1,2 ]", "a = [ 1,2,7 ]"),
        ("a = [1, ]", "a = [1, 7, ]"),
        ("a = [\n  1, # x\n  2, # y\n]", "a = [\n  1, # x\n  2, # y\n  7,\n]"),
        ("a = [\n  1, # x\n  2 # y\n]", "a = [\n  1, # x\n  2,\n  7 # y\n]"),
        ("a = [\n  # x\n  1\n]", "a = [\n  # x\n  1,\n  7\n]"),
    ] {
        let with = patched(text, |document, patch| patch.push(find(document, "a"), &Value::Int(7)).unwrap());
        assert_eq!(with, expected);
        let back = patched(&with, |document, patch| {
            let list = find(document, "a");
            let last = document.children(list).filter(|&id| document.kind(id) == Kind::Scalar).last().unwrap();
            patch.remove(last).unwrap();
        });
        assert_eq!(back, text, "by way of {with}");
    }
    let remove = |text: &str, items: &[usize]| {
        patched(text, |document, patch| {
            for item in items {
                patch.remove(find(document, &format!("a/{item}"))).unwrap();
            }
        })
    };
    let lines = "a = [\n  # first\n  1, # x\n  # second\n  2, # y\n  3\n]";
    assert_eq!(remove(lines, &[0]), "a = [\n  # first\n  # second\n  2, # y\n  3\n]");
    assert_eq!(remove(lines, &[1]), "a = [\n  # first\n  1, # x\n  # second\n  3\n]");
    assert_eq!(remove(lines, &[2]), "a = [\n  # first\n  1, # x\n  # second\n  2, # y\n]");
    assert_eq!(remove("a = [ 1, 2, # x\n  3 ]", &[1]), "a = [ 1,\n  3 ]");
    assert_eq!(remove("a = [1, 2, 3]", &[0, 2]), "a = [2]");
    assert_eq!(remove("a = [ 1, 2, 3, ]", &[0, 1, 2]), "a = []");
}

#[test]
fn tables_go_with_all_their_lines() {
    let text = "x = 1\n\n# c\n[a] # d\ny = 1\n\n[b]\n\n[a.c]\nz.q = 1\nz.r = 2\n\n[[l]]\n[[l.m]]\n\n[[l]]\nn = 1";
    let remove = |path: &str| patched(text, |document, patch| patch.remove(find(document, path)).unwrap());
    assert_eq!(remove("a"), "x = 1\n\n# c\n\n[b]\n\n[[l]]\n[[l.m]]\n\n[[l]]\nn = 1");
    assert_eq!(remove("a/c/z").as_str(), text.replace("z.q = 1\nz.r = 2\n", ""));
    assert_eq!(remove("l/0").as_str(), text.replace("\n[[l]]\n[[l.m]]\n", ""));
    assert_eq!(remove("l").as_str(), text.replace("\n\n[[l]]\n[[l.m]]\n\n[[l]]\nn = 1", ""));
}

#[test]
fn a_table_becomes_a_value_and_a_value_a_table() {
    let map = Value::Map(vec![("x".into(), Value::Seq(vec![Value::Int(1)]))]);
    let set = |text: &str, path: &str, value: &Value| {
        patched(text, |document, patch| patch.set_value(find(document, path), value).unwrap())
    };
    assert_eq!(set("a = 1 # c\n", "a", &map), "a = { x = [1] } # c\n");
    assert_eq!(set("b = 1\n[a]\nc = 1\n", "a", &Value::Int(2)), "b = 1\na = 2\n");
    assert_eq!(set("b = 1\n[a]\nc = 1\n", "a", &map), "b = 1\n\n[a]\nx = [1]\n");
    assert_eq!(set("[[a]]\nb = 1\n[[a]]\n", "a", &Value::Int(2)), "a = 2\n");
}

#[test]
fn a_table_is_pushed_behind_the_last_of_its_list() {
    let map = Value::Map(vec![("x".into(), Value::Int(1))]);
    let push =
        |text: &str, path: &str| patched(text, |document, patch| patch.push(find(document, path), &map).unwrap());
    assert_eq!(push("[[a]]\n[a.b]\nc = 1\n[d]\n", "a"), "[[a]]\n[a.b]\nc = 1\n\n[[a]]\nx = 1\n[d]\n");
    assert_eq!(push("[[a]]\n[[a.b]]\n[[a]]\n", "a/0/b"), "[[a]]\n[[a.b]]\n\n[[a.b]]\nx = 1\n[[a]]\n");
    let document = parse("[[a]]\n");
    assert!(document.patch().push(find(&document, "a"), &Value::Int(1)).is_err());
}

#[test]
fn what_toml_cannot_say_is_an_error() {
    let document = parse("a = 1 # c\n");
    for value in [Value::Null, Value::Str(vec![0xff].into()), Value::Time("12:00:00".into())] {
        let entries = [("k".to_owned(), value.clone())];
        assert!(document.patch().insert(document.roots()[0], &entries).is_err());
        assert!(document.patch().set_value(find(&document, "a"), &value).is_err());
        assert!(emit(&[Value::Map(entries.to_vec())], Syntax::Toml, EmitOptions::default()).is_err());
    }
    let comment = document.children(document.roots()[0]).next().unwrap();
    assert!(document.patch().set_scalar(comment, &Scalar::str("a\nb = 1")).is_err());
    assert!(emit(&[Value::Int(1)], Syntax::Toml, EmitOptions::default()).is_err());
}

/// The tree as `toml_edit` reads it, with dates as this crate gives them out.
fn oracle(text: &str) -> Option<Value> {
    fn table(table: &dyn TableLike, text: &str) -> Value {
        Value::Map(table.iter().map(|(key, item)| (key.to_owned(), value(item, text))).collect())
    }
    fn single(value: &toml_edit::Value, text: &str) -> Value {
        match value {
            toml_edit::Value::String(value) => Value::str(value.value().as_str()),
            toml_edit::Value::Integer(value) => Value::Int(*value.value()),
            toml_edit::Value::Float(value) => Value::Float(*value.value()),
            toml_edit::Value::Boolean(value) => Value::Bool(*value.value()),
            toml_edit::Value::Datetime(value) => Value::str(&text[value.span().unwrap()]),
            toml_edit::Value::Array(items) => Value::Seq(items.iter().map(|item| single(item, text)).collect()),
            toml_edit::Value::InlineTable(entries) => table(entries, text),
        }
    }
    fn value(item: &Item, text: &str) -> Value {
        match item {
            Item::None => Value::Null,
            Item::Value(value) => single(value, text),
            Item::Table(entries) => table(entries, text),
            Item::ArrayOfTables(tables) => Value::Seq(tables.iter().map(|entries| table(entries, text)).collect()),
        }
    }
    let document = toml_edit::Document::parse(text).ok()?;
    Some(table(document.as_table(), text))
}

/// The tree with sorted keys: which table comes first is not part of TOML. Times as text.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(mut entries) => {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Seq(items) => Value::Seq(items.into_iter().map(sorted).collect()),
        Value::Time(text) => Value::str(text),
        other => other,
    }
}

fn texts() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => ("[a-c](\\.[a-c]){0,2}", values()).prop_map(|(key, value)| format!("{key} = {value}")),
        2 => "[a-d](\\.[a-d]){0,2}".prop_map(|path| format!("[{path}]")),
        1 => "[a-d](\\.[a-d]){0,2}".prop_map(|path| format!("[[{path}]]")),
        1 => prop::sample::select(vec!["", "# c", "  ", "\t# d"]).prop_map(str::to_owned),
    ];
    let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", " # e\n", "\n\n"]);
    (prop::collection::vec((line, end), 0..10), prop::sample::select(vec!["", "", "z.z = 1"])).prop_map(
        |(lines, last)| {
            let mut text: String = lines.into_iter().flat_map(|(line, end)| [line, end.to_owned()]).collect();
            text.push_str(last);
            text
        },
    )
}

fn values() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "-0",
        "0x1f",
        "1.5",
        "inf",
        "true",
        "\"x\"",
        "'y'",
        "\"\"\"\nl1\nl2\"\"\"",
        "'''l'''",
        "\"\\u0041\\t\"",
        "2001-02-03T04:05:06Z",
        "2001-02-03",
        "12:00:00",
        "\"\"\"a\\\n b\"\"\"",
        "\"\"\"\"q\"\"\"\"",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 4, |inner| {
        let space = prop::sample::select(vec!["", " ", "\n", "\n  ", " # c\n "]);
        prop_oneof![
            (prop::collection::vec((space, inner.clone()), 0..4), any::<bool>(), any::<bool>()).prop_map(
                |(items, comma, newline)| {
                    let items: Vec<_> = items.into_iter().map(|(space, item)| format!("{space}{item}")).collect();
                    let comma = if comma && !items.is_empty() { "," } else { "" };
                    format!("[{}{comma}{}]", items.join(","), if newline { "\n" } else { "" })
                }
            ),
            prop::collection::vec(("[a-c](\\.[a-c])?", inner), 0..3).prop_map(|entries| {
                let entries: Vec<_> = entries.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_text_reads_as_toml_edit_reads_it(text in texts()) {
        let ours = Document::parse(Syntax::Toml, SecretBytes::from(text.as_bytes()));
        match (ours, oracle(&text)) {
            (Ok(ours), Some(theirs)) => {
                prop_assert_eq!(show(&sorted(ours.to_value(ours.roots()[0]))), show(&sorted(theirs)));
            }
            // A dotted key cannot lead into an array of tables, which `toml_edit` overlooks.
            (Err(error), Some(_)) => {
                prop_assert!(matches!(error.kind, ErrorKind::DuplicateKey(_)) && text.contains("[["), "{}", error);
            }
            (Ok(_), None) => prop_assert!(false, "accepted"),
            (Err(_), None) => {}
        }
    }

    #[test]
    fn encrypting_and_decrypting_gives_back_the_bytes(text in texts()) {
        if Document::parse(Syntax::Toml, SecretBytes::from(text.as_bytes())).is_ok() {
            check_restores(Syntax::Toml, text.as_bytes());
        }
    }

    #[test]
    fn metadata_added_and_removed_gives_back_the_bytes(text in texts(), sops in trees()) {
        let Ok(document) = Document::parse(Syntax::Toml, SecretBytes::from(text.as_bytes())) else { return Ok(()) };
        let without_nulls = without_nulls(sorted_tables_last(sops));
        check_insert(Syntax::Toml, text.as_bytes(), document.roots()[0], &[("sops".into(), without_nulls)]);
    }

    #[test]
    fn entries_go_in_and_come_out_everywhere(text in texts(), value in testing::strings()) {
        let Ok(document) = Document::parse(Syntax::Toml, SecretBytes::from(text.as_bytes())) else { return Ok(()) };
        let entries = [("new".to_owned(), Value::str(value.as_str()))];
        for map in document.subtree(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Map) {
            let mut patch = document.patch();
            if patch.insert(map, &entries).is_err() {
                continue;
            }
            let with = text_of(&patch.finish());
            let again = parse(&with);
            let new = again.subtree(again.roots()[0]).find(|&id| again.key(id) == Some("new")).unwrap();
            prop_assert_eq!(show(&again.to_value(new)), show(&Value::str(value.as_str())));
            prop_assert_eq!(again.parent(new).and_then(|parent| again.key(parent)), document.key(map));
            let mut patch = again.patch();
            if patch.remove(new).is_err() {
                continue;
            }
            let back = text_of(&patch.finish());
            // A table that had no header keeps the one it got.
            if document.node(map).style != super::Form::Implicit as u8 {
                prop_assert_eq!(&back, &text, "by way of {:?}", with);
            }
        }
    }

    #[test]
    fn every_entry_can_be_removed_and_the_rest_stays(text in texts()) {
        let Ok(document) = Document::parse(Syntax::Toml, SecretBytes::from(text.as_bytes())) else { return Ok(()) };
        for id in document.subtree(document.roots()[0]).skip(1) {
            let mut patch = document.patch();
            if patch.remove(id).is_err() {
                continue;
            }
            let rest = text_of(&patch.finish());
            let expected = remaining(&document, document.roots()[0], id).unwrap();
            let found = testing::tree(Syntax::Toml, rest.as_bytes());
            let canonical = |tree| show(&sorted(pruned(tree)));
            prop_assert_eq!(canonical(found), canonical(expected), "without {:?}: {:?}", document.key(id), rest);
        }
    }

    #[test]
    fn what_is_emitted_reads_back(value in trees()) {
        let value = without_nulls(value);
        let out = emit(std::slice::from_ref(&value), Syntax::Toml, EmitOptions::default()).unwrap();
        prop_assert_eq!(tree_sorted(&text_of(&out)), show(&sorted(value)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in testing::pieces(&[
        "a", "b", "=", " = ", ".", "[", "]", "[[", "]]", "{", "}", ",", "\n", "\n", "\"", "'", "\"\"\"", "'''", "#", "\\", "1",
        "-", "0x", "_", "2001-02-03", "T", ":", "inf", "true", "\r", "\t", "\n[a]\n", "\na.b=", "\n[[a.b]]\n", "={", "=[",
    ])) {
        check_any_bytes(Syntax::Toml, &text);
    }
}

fn tree_sorted(text: &str) -> String {
    show(&sorted(testing::tree(Syntax::Toml, text.as_bytes())))
}

/// Without empty tables: those that only dotted keys or headers below make go with the last entry that names them.
fn pruned(value: Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Map(entries) => entries.is_empty(),
        Value::Seq(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key, pruned(value)))
                .filter(|(_, value)| !is_empty(value))
                .collect(),
        ),
        Value::Seq(items) => Value::Seq(items.into_iter().map(pruned).filter(|value| !is_empty(value)).collect()),
        other => other,
    }
}

/// The tree below `id` without `removed`.
fn remaining(document: &Document, id: NodeId, removed: NodeId) -> Option<Value> {
    if id == removed {
        return None;
    }
    let children = document.children(id).filter(|&child| document.kind(child) != Kind::Comment);
    Some(match document.kind(id) {
        Kind::Map => Value::Map(
            children
                .filter_map(|child| {
                    Some((document.key(child).unwrap().to_owned(), remaining(document, child, removed)?))
                })
                .collect(),
        ),
        Kind::Seq => Value::Seq(children.filter_map(|child| remaining(document, child, removed)).collect()),
        _ => document.to_value(id),
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Null => Value::Bool(false),
        Value::Seq(items) => Value::Seq(items.into_iter().map(without_nulls).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}

/// Entries in the order in which they are written: single values, then tables.
fn sorted_tables_last(value: Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> =
                entries.into_iter().map(|(key, value)| (key, sorted_tables_last(value))).collect();
            entries.sort_by_key(|(_, value)| super::emit::is_table(value));
            Value::Map(entries)
        }
        Value::Seq(items) => {
            let is_table = items.iter().all(|item| matches!(item, Value::Map(_)));
            Value::Seq(if is_table { items.into_iter().map(sorted_tables_last).collect() } else { items })
        }
        other => other,
    }
}
