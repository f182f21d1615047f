#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::{unquote, variable_name};
use crate::testing::{self, CIPHERTEXT, check_any_bytes, check_insert, check_restores, show, text, text_of};
use crate::{Document, EmitOptions, Kind, Scalar, Step, Syntax, Value, emit};

fn parse(text: &str) -> Document {
    testing::parse(Syntax::Dotenv, text.as_bytes())
}

fn tree(text: &str) -> String {
    show(&testing::tree(Syntax::Dotenv, text.as_bytes()))
}

fn error(text: &str) -> String {
    testing::error(Syntax::Dotenv, text.as_bytes())
}

fn meaning(value: &str) -> String {
    String::from_utf8(unquote(value.as_bytes()).into_owned()).unwrap()
}

#[test]
fn a_text_that_sops_reads_stands_for_what_sops_sees() {
    assert_eq!(
        tree("A=\"x\"\n# c=1\nexport B = 'y' # z\r\nC=a\\nb\\\\nc\n\n=e\nA=\n  # d=1"),
        r#"{"A": "\"x\"", "export B ": " 'y' # z\r", "C": "a\nb\\\nc", "": "e", "A": "", "  # d": "1"}"#
    );
    // Quotes that span lines which sops reads each by itself.
    assert_eq!(tree("A=\"x\nB=y\"\n"), r#"{"A": "\"x", "B": "y\""}"#);
    assert_eq!(tree("A=\"x\n#\n\nB=y\"\n"), r#"{"A": "\"x", "B": "y\""}"#);
    assert_eq!(tree(""), "{}");
}

#[test]
fn a_comment_is_its_text_after_the_sign() {
    let document = parse("#a\n# b\r\nX=1\n#\n");
    let comments: Vec<_> = document
        .children(document.roots()[0])
        .filter(|&id| document.kind(id) == Kind::Comment)
        .map(|id| document.scalar(id).as_str().unwrap().to_owned())
        .collect();
    assert_eq!(comments, ["a", " b\r", ""]);
}

#[test]
fn a_quoted_value_may_span_lines_that_sops_would_refuse() {
    for (text, expected, meant) in [
        ("A=\"x\ny\"\nB=1\n", r#"{"A": "\"x\ny\"", "B": "1"}"#, "x\ny"),
        (
            "A=\"x\\ny\\\\nz\n\\\"q\\\"\n\n# no comment\" # c\n",
            r#"{"A": "\"x\ny\\\nz\n\\\"q\\\"\n\n# no comment\" # c"}"#,
            "x\ny\\nz\n\"q\"\n\n# no comment",
        ),
        ("A= 'x \"1\" $2\\n\r\ny'\r\n", r#"{"A": " \"x \\\"1\\\" \\$2\\\\n\ny\"\r"}"#, "x \"1\" $2\\n\ny"),
    ] {
        assert_eq!(tree(text), expected, "{text}");
        let document = parse(text);
        let id = document.child(document.roots()[0], &Step::Key("A".into())).unwrap();
        assert_eq!(meaning(document.scalar(id).as_str().unwrap()), meant, "{text}");
        assert!(!document.restores(id));
        check_restores(Syntax::Dotenv, text.as_bytes());
    }
}

#[test]
fn what_sops_makes_of_a_value_of_several_lines_means_the_same() {
    for text in ["A=\"x\\ty\n\\\\n $z\"\n", "A='x\ty\\\n \"$z\\n'\n"] {
        let document = parse(text);
        let id = document.child(document.roots()[0], &Step::Key("A".into())).unwrap();
        let value = document.scalar(id);
        // sops writes a decrypted value with its line ends as `\n`; that line is read again here.
        let by_sops = format!("A={}\n", value.as_str().unwrap().replace('\n', "\\n"));
        let again = parse(&by_sops);
        let id = again.child(again.roots()[0], &Step::Key("A".into())).unwrap();
        assert_eq!(unquote(again.scalar(id).as_bytes().unwrap()), unquote(value.as_bytes().unwrap()));
    }
}

#[test]
fn what_is_no_entry_is_an_error_with_its_line() {
    let entry = "expected NAME=value, or a comment with its # at the start of the line";
    assert_eq!(error("A=1\n\nfoo\n"), format!("line 3: {entry}"));
    assert_eq!(error("  # comment\n"), format!("line 1: {entry}"));
    assert_eq!(error("A=\"x\nfoo\n"), format!("line 2: {entry}"));
    assert_eq!(error("A=\"x\ny\" z\n"), format!("line 2: {entry}"));
    assert_eq!(error("A=1\nB=\0"), "line 2: a NUL byte, which no environment variable can hold");
    assert_eq!(testing::error(Syntax::Dotenv, b"A=\xff\n\xff=1"), "line 2: invalid UTF-8");
    assert_eq!(
        error("A='x\nB=y\nC=\"x\ny\"\n"),
        "line 1: a value opens a quote that nothing closes, in a text where other quotes span lines"
    );
}

#[test]
fn white_space_alone_is_a_blank_line() {
    assert_eq!(tree("\r\nA=1\r\n \t\r\nB=2\n  "), r#"{"A": "1\r", "B": "2"}"#);
    check_restores(Syntax::Dotenv, b"\r\nA=1\r\n \t\r\nB=2\n  ");
}

#[test]
fn bytes_that_are_no_utf_8_pass_through_values() {
    let document = testing::parse(Syntax::Dotenv, b"A=\xff\xfe\n");
    let id = document.child(document.roots()[0], &Step::Key("A".into())).unwrap();
    assert_eq!(document.scalar(id), Scalar::Str(b"\xff\xfe".as_slice().into()));
    assert!(document.restores(id));
}

#[test]
fn values_mean_what_dotenv_readers_take_them_for() {
    for (value, expected) in [
        ("x", "x"),
        (" x y \r", "x y"),
        ("x # c", "x"),
        ("x#y", "x#y"),
        ("# c", ""),
        ("\"x # y\"", "x # y"),
        ("\"x\" # c", "x"),
        ("\"x\"#y", "\"x\"#y"),
        ("\"x\" y", "\"x\" y"),
        ("\"x", "\"x"),
        ("'it\\'s'", "'it\\'s'"),
        ("'a\\tb\"$'", "a\\tb\"$"),
        ("\"a\\tb\\r\\\"\\\\\\$\\x\"", "a\tb\r\"\\$\\x"),
        ("\"a\nb\"", "a\nb"),
        ("\"a\\\nb\"", "a\\nb"),
        ("'a\nb'", "a\\nb"),
        ("a\nb # c\n", "a\nb # c\n"),
        ("\"\"", ""),
        ("\"", "\""),
        ("", ""),
    ] {
        assert_eq!(meaning(value), expected, "{value:?}");
    }
}

#[test]
fn names_lose_export_and_spaces() {
    for (key, name) in [
        ("A", "A"),
        ("export A", "A"),
        (" export\tA ", "A"),
        ("exportA", "exportA"),
        ("export", "export"),
        ("\u{feff}A", "A"),
    ] {
        assert_eq!(variable_name(key), name);
    }
}

#[test]
fn entries_are_added_at_the_end_and_come_out_again() {
    let entries = [("sops_mac".to_owned(), Value::str("a\nb=#")), ("n".to_owned(), Value::str("1"))];
    for (before, after) in [
        ("", "sops_mac=a\\nb=#\nn=1\n"),
        ("\n", "\nsops_mac=a\\nb=#\nn=1\n"),
        ("A=1\n", "A=1\nsops_mac=a\\nb=#\nn=1\n"),
        ("A=1", "A=1\nsops_mac=a\\nb=#\nn=1"),
        ("A=1\r\n# c", "A=1\r\n# c\nsops_mac=a\\nb=#\nn=1"),
    ] {
        let document = parse(before);
        check_insert(Syntax::Dotenv, before.as_bytes(), document.roots()[0], &entries);
        let mut patch = document.patch();
        patch.insert(document.roots()[0], &entries).unwrap();
        assert_eq!(text_of(&patch.finish()), after);
    }
}

#[test]
fn a_line_goes_with_all_of_a_value_and_nothing_else() {
    let document = parse("# c\nA=\"x\ny\" # z\n\nB=2");
    let child = |key: &str| document.child(document.roots()[0], &Step::Key(key.into())).unwrap();
    let without = |keys: &[&str]| {
        let mut patch = document.patch();
        for key in keys {
            patch.remove(child(key)).unwrap();
        }
        text_of(&patch.finish())
    };
    assert_eq!(without(&["A"]), "# c\n\nB=2");
    assert_eq!(without(&["B"]), "# c\nA=\"x\ny\" # z\n");
    assert_eq!(without(&["B", "A"]), "# c\n");
}

#[test]
fn what_dotenv_cannot_say_is_an_error() {
    for (key, value, message) in [
        ("A", Value::Null, "\"A\": dotenv has no null"),
        ("A", Value::Seq(vec![]), "dotenv has no lists and no maps, which \"A\" is"),
        ("A", Value::str("\0"), "\"A\": a dotenv value cannot hold a NUL byte"),
        ("A=B", Value::Int(1), "dotenv has no form for the name \"A=B\""),
        ("#A", Value::Int(1), "dotenv has no form for the name \"#A\""),
        ("", Value::Int(1), "dotenv has no form for the name \"\""),
        ("A\nB", Value::Int(1), "dotenv has no form for the name \"A\\nB\""),
    ] {
        let entries = [(key.to_owned(), value)];
        let document = parse("X=1\n#c\n");
        assert_eq!(document.patch().insert(document.roots()[0], &entries).unwrap_err().to_string(), message);
        let tree = [Value::Map(entries.to_vec())];
        assert_eq!(emit(&tree, Syntax::Dotenv, EmitOptions::default()).unwrap_err().to_string(), message);
    }
    let document = parse("#c\n");
    let comment = document.children(document.roots()[0]).next().unwrap();
    assert!(document.patch().set_scalar(comment, &Scalar::str("a\nB=1")).is_err());
}

#[test]
fn a_new_text_looks_as_sops_writes_it() {
    let tree = Value::Map(vec![
        ("a".into(), Value::Float(12.0)),
        ("b".into(), Value::Float(1e30)),
        ("c".into(), Value::Bool(true)),
        ("d".into(), Value::Time("2001-01-01T00:00:00Z".into())),
        ("e".into(), Value::str("l1\nl2")),
        ("f".into(), Value::Int(-3)),
    ]);
    let out = emit(&[tree], Syntax::Dotenv, EmitOptions::default()).unwrap();
    assert_eq!(text_of(&out), "a=12.0\nb=1E+30\nc=true\nd=2001-01-01T00:00:00Z\ne=l1\\nl2\nf=-3\n");
}

#[test]
fn quotes_that_nothing_closes_cost_linear_time() {
    let many = "A=\"x\nB='y\n".repeat(200_000);
    assert_eq!(parse(&many).len(), 400_001);
    let escaped = "A=\"x\\\n".repeat(400_000);
    assert_eq!(parse(&escaped).len(), 400_001);
}

fn texts() -> impl Strategy<Value = Vec<u8>> {
    testing::pieces(&[
        "A",
        "B=",
        "C_1=",
        "export ",
        "#",
        "=",
        "\"",
        "'",
        "\\",
        "\\n",
        "n",
        " ",
        "\r",
        "\n",
        "\n",
        "\nX=",
        "x",
        "\"x\ny\"\n",
    ])
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(text in texts()) {
        check_any_bytes(Syntax::Dotenv, &text);
    }

    #[test]
    fn encrypting_any_part_of_a_text_leaves_its_tree(text in texts(), parts in prop::collection::vec(any::<bool>(), 1..8)) {
        let Ok(document) = Document::parse(Syntax::Dotenv, bulla_core::SecretBytes::from(&text[..])) else { return Ok(()) };
        let mut patch = document.patch();
        let mut expected = document.to_value(document.roots()[0]);
        let Value::Map(entries) = &mut expected else { unreachable!() };
        let values = document.children(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Scalar);
        for ((id, entry), _) in values.zip(entries).zip(parts.iter().cycle()).filter(|(_, is_encrypted)| **is_encrypted) {
            patch.set_scalar(id, &Scalar::str(CIPHERTEXT)).unwrap();
            entry.1 = Value::str(CIPHERTEXT);
        }
        prop_assert_eq!(tree(&text_of(&patch.finish())), show(&expected));
    }

    #[test]
    fn an_insertion_and_a_removal_give_back_the_bytes(text in texts(), value in testing::strings()) {
        if let Ok(document) = Document::parse(Syntax::Dotenv, bulla_core::SecretBytes::from(&text[..])) {
            // Quotes could make one value of what comes after them.
            let value = value.replace(['"', '\''], "");
            check_insert(Syntax::Dotenv, &text, document.roots()[0], &[("sops_a".into(), Value::str(value)), ("sops_b".into(), Value::str(CIPHERTEXT))]);
        }
    }

    #[test]
    fn what_is_emitted_reads_back(entries in testing::maps(testing::strings().prop_map(text))) {
        let mut entries = entries;
        // A backslash before an `n` is where sops' own form is ambiguous.
        entries.retain(|(key, value)| !key.is_empty() && !key.starts_with('#') && !key.contains(['=', '\n'])
            && !value.as_scalar().unwrap().as_str().unwrap().contains("\\n"));
        let value = Value::Map(entries);
        let out = emit(std::slice::from_ref(&value), Syntax::Dotenv, EmitOptions::default()).unwrap();
        prop_assert_eq!(tree(&text_of(&out)), show(&value));
    }
}
