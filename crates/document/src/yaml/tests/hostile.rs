//! Texts made to do harm: none panics, none takes long, none takes much memory.

use proptest::prelude::*;

use super::{generate, parse};
use crate::{Document, ErrorKind, Kind, Limits, NodeId, Syntax};
use bulla_core::SecretBytes;

const MEGABYTE: usize = 1 << 20;

/// What is wrong with a text that must be refused.
fn refused(text: &[u8]) -> ErrorKind {
    parse(text).err().expect("the text is refused").kind
}

fn taken(text: &[u8]) -> Document {
    parse(text).unwrap()
}

/// Reads a text of some size, and one eight times as large: that may not take much more than eight times as long.
fn grows_in_proportion(what: &str, text: impl Fn(usize) -> String) {
    const FEW: usize = 4_000;
    let time = |count: usize| {
        let text = SecretBytes::from(text(count).into_bytes());
        let start = cpu_seconds();
        let _ = Document::parse(Syntax::Yaml, text);
        cpu_seconds() - start
    };
    let few = time(FEW);
    let many = time(8 * FEW);
    assert!(many < 32.0 * few + 0.2, "{what}: {few} s, and {many} s for eight times as much");
}

/// How long this thread has run: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[test]
fn a_hundred_megabytes_of_nesting_or_aliases_are_refused_in_little_memory() {
    let anchored = format!("a: &a {{{}}}\nb:\n", (0..1_000).map(|n| format!("k{n}: v, ")).collect::<String>());
    for (start, piece) in [("a:\n  ", "["), ("a:\n  ", "- "), (anchored.as_str(), "- *a\n")] {
        let mut text = start.to_owned();
        text.push_str(&piece.repeat(100 * MEGABYTE / piece.len()));
        let before = peak_memory();
        let start = cpu_seconds();
        let text = SecretBytes::from(text.into_bytes());
        let kind = Document::parse(Syntax::Yaml, text).err().expect("the text is refused").kind;
        assert!(matches!(kind, ErrorKind::Limit(_)), "{piece}: {kind}");
        // Optimised, it takes a fortieth of a second.
        assert!(cpu_seconds() - start < 20.0, "{piece}: {} s", cpu_seconds() - start);
        // The text itself, twice (the test's copy of it), and what other tests need meanwhile.
        let most = before.max(300) + 500;
        assert!(peak_memory() < most, "{piece}: {} MiB of {most}", peak_memory());
    }
    for piece in ["{a: ", "? ", "a: {", "[[a: ", "!x [", "&a [", "- - ", "- ? "] {
        let text = format!("a:\n  {}", piece.repeat(MEGABYTE / piece.len()));
        let kind = refused(text.as_bytes());
        assert!(!matches!(kind, ErrorKind::Root(_)), "{piece}: {kind}");
    }
}

#[test]
fn texts_of_one_thing_take_time_in_proportion() {
    for piece in [
        " ",
        "\n",
        "#\n",
        "# c\n",
        "\r",
        "---\n# c\n",
        "---\n",
        "&a ",
        "*a ",
        "!a ",
        "'",
        "\"\\",
        ",",
        ": ",
        "\u{85}",
        "\t",
        "a",
    ] {
        grows_in_proportion(piece, |count| piece.repeat(count));
        grows_in_proportion(piece, |count| format!("a: {}", piece.repeat(count)));
        grows_in_proportion(piece, |count| format!("a: [{}", piece.repeat(count)));
        grows_in_proportion(piece, |count| format!("a: |\n  x{}", piece.repeat(count)));
    }
}

#[test]
fn aliases_that_multiply_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(matches!(refused(bomb.as_bytes()), ErrorKind::Limit(_)));

    // Each adds one level to the one before.
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..20_000 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(matches!(refused(chain.as_bytes()), ErrorKind::Limit(_)));
}

#[test]
fn an_alias_within_its_own_anchor_is_refused() {
    for text in ["a: &a [*a]\n", "a: &a {b: {c: *a}}\n", "a: &a\n  b: *a\n", "&a x: 1\nb: &b\n  <<: *b\n"] {
        assert!(matches!(refused(text.as_bytes()), ErrorKind::Syntax(_)), "{text}");
    }
}

#[test]
fn the_callers_limits_hold() {
    let limits = Limits { bytes: 100, depth: 3, nodes: 10 };
    let kind = |text: &str| {
        let text = SecretBytes::from(text.as_bytes());
        Document::parse_within(Syntax::Yaml, text, &limits).err().map(|error| error.kind)
    };
    assert!(kind("a: {b: {c: d}}\n").is_none());
    assert!(matches!(kind("a: {b: {c: {}}}\n"), Some(ErrorKind::Limit(_))));
    assert!(matches!(kind("a: {b: [c: d]}\n"), Some(ErrorKind::Limit(_))));
    assert!(matches!(kind("a: [1, 2, 3, 4, 5, 6, 7, 8, 9]\n"), Some(ErrorKind::Limit(_))));
    assert!(matches!(kind("# 1\n# 2\n# 3\n# 4\n# 5\n# 6\n# 7\n# 8\n# 9\na: 1\n"), Some(ErrorKind::Limit(_))));
    assert!(matches!(kind("a: &a [1, 2, 3]\nb: *a\nc: *a\n"), Some(ErrorKind::Limit(_))));
    assert!(matches!(kind(&" ".repeat(101)), Some(ErrorKind::Limit(_))));
}

#[test]
fn many_of_anything_take_time_in_proportion() {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    grows_in_proportion("keys", |count| lines(count, &|n| format!("k{n}: v\n")));
    grows_in_proportion("comments", |count| lines(count, &|n| format!("# {n}\n\nk{n}: v # {n}\n")));
    grows_in_proportion("anchors", |count| lines(count, &|n| format!("k{n}: &a{n} v\n")));
    grows_in_proportion("aliases", |count| lines(count, &|n| format!("k{n}: &a v\nl{n}: *a\n")));
    grows_in_proportion("items", |count| format!("l: [{}]\n", lines(count, &|n| format!("v{n}, "))));
    grows_in_proportion("entries", |count| format!("m: {{{}}}\n", lines(count, &|n| format!("k{n}: v, "))));
    grows_in_proportion("comments in flow", |count| format!("l: [\n{}]\n", lines(count, &|n| format!("v, # {n}\n"))));
    grows_in_proportion("comments that are lost", |count| lines(count, &|n| format!("k{n}: [ # c\nv]\n")));
    grows_in_proportion("comments in other columns", |count| {
        lines(count, &|n| format!("{}# {n}\n", " ".repeat(n % 7))) + "a: 1\n"
    });
    grows_in_proportion("documents", |count| lines(count, &|n| format!("---\nk{n}: v # c\n")));
    grows_in_proportion("words", |count| format!("a: {}\n", "x ".repeat(10 * count)));
    grows_in_proportion("escapes", |count| format!("a: \"{}\"\n", "x\\n".repeat(10 * count)));
    grows_in_proportion("quotes", |count| format!("a: '{}'\n", "x''".repeat(10 * count)));
    grows_in_proportion("a long comment", |count| format!("a: # {}\n", "x".repeat(10 * count)));
    grows_in_proportion("blanks", |count| format!("a:{}b\n", " ".repeat(10 * count)));
    grows_in_proportion("folds", |count| format!("a: x\n{}", "  y\n\n".repeat(count)));
    grows_in_proportion("a long key", |count| format!("? {}\n: v\n", "k".repeat(10 * count)));
    grows_in_proportion("a tag", |count| format!("a: !{} v\n", "t".repeat(10 * count)));
    // A key must have its `:` within 1024 characters.
    assert!(matches!(refused(format!("{}: v\n", "k".repeat(MEGABYTE)).as_bytes()), ErrorKind::Syntax(_)));
}

// What sops makes of comments in a list is taken out item by item.
#[test]
fn many_items_are_taken_out_in_time_in_proportion() {
    let time = |before: &str, between: &str, count: usize| {
        let text = format!("x:\n{before}{}z{}\n", format!("a{between}").repeat(count), before.replace("  [", "]"));
        let document = taken(text.replace("z- ", "z").as_bytes());
        let list = document.find(document.roots()[0], &[crate::Step::Key("x".into())]).unwrap();
        let items: Vec<NodeId> = document.children(list).filter(|&id| document.kind(id) == Kind::Scalar).collect();
        assert_eq!(items.len(), count + 1);
        let start = cpu_seconds();
        let mut patch = document.patch();
        for &item in &items[..count] {
            patch.remove(item).unwrap();
        }
        let left = patch.finish();
        let seconds = cpu_seconds() - start;
        let left = taken(left.expose());
        assert_eq!(left.children(NodeId(1)).filter(|&id| left.kind(id) == Kind::Scalar).count(), 1);
        seconds
    };
    for (before, between) in [("  [", ", "), ("- ", " # c\n- ")] {
        let (few, many) = (time(before, between, 2_000), time(before, between, 16_000));
        assert!(many < 32.0 * few + 0.2, "{before}: {few} s, and {many} s for eight times as much");
    }
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let line = |text: &[u8]| parse(text).err().map(|error| (error.line, error.kind));
    assert_eq!(line(b"a: 1\nb: \xff\n"), Some((Some(2), ErrorKind::InvalidUtf8)));
    assert!(matches!(line(b"a: 1\nb: \0\n"), Some((Some(2), ErrorKind::Syntax(_)))));
    assert!(matches!(line("a: 1\n\nb: \u{80}\n".as_bytes()), Some((Some(3), ErrorKind::Syntax(_)))));
    assert!(matches!(line("\u{FEFF}\u{FEFF}a: 1\n".as_bytes()), Some((Some(1), ErrorKind::Syntax(_)))));
    assert_eq!(line("\u{FEFF}a: 1\n".as_bytes()), None);
    assert_eq!(line(b"a: 1\r\nb: 2\r\n"), None);
    assert!(matches!(line(b"\xff\xfea\0:\0"), Some((Some(1), ErrorKind::InvalidUtf8))));
}

#[test]
fn a_document_that_is_no_map_is_refused_as_such() {
    for text in ["- a\n", "[a]\n", "a\n", "5\n", "\"a\"\n", "|\n  a\n", "# c\n", "\n", "a: 1\n---\n- b\n"] {
        assert!(matches!(refused(text.as_bytes()), ErrorKind::Root(_)), "{text:?}");
    }
    assert!(taken(b"").is_empty());
    for text in ["---\n", "--- ~\n", "null\n", "{}\n", "---\n# c\n"] {
        let document = taken(text.as_bytes());
        assert_eq!((document.roots().len(), document.kind(document.roots()[0])), (1, Kind::Map), "{text:?}");
    }
}

#[test]
fn a_key_that_stands_twice_is_refused_in_every_document() {
    for text in ["a: 1\na: 2\n", "{a: 1, 'a': 2}\n", "x: 1\n---\ny:\n  a: 1\n  b: 2\n  a: 3\n", "a: 1\n\"\\x61\": 2\n"]
    {
        assert_eq!(refused(text.as_bytes()), ErrorKind::DuplicateKey("a".into()), "{text:?}");
    }
    let many: String = (0..50).map(|n| format!("k{n}: v\n")).collect();
    assert_eq!(refused(format!("{many}k7: v\n").as_bytes()), ErrorKind::DuplicateKey("k7".into()));
}

#[test]
fn no_error_quotes_a_value() {
    for text in [
        "a: !!int s3cr3t\n",
        "a: \"s3cr3t\n",
        "a: s3cr3t: x\n",
        "a: !!binary s3cr3t!\n",
        "- s3cr3t\n",
        "a: [s3cr3t\n",
        "s3cr3t\n",
    ] {
        let error = parse(text.as_bytes()).err().unwrap().to_string();
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}

/// Any bytes, at best a text: no panic, spans inside the text, a tree that hangs together.
fn check_any(text: &[u8]) {
    let Ok(document) = parse(text) else { return };
    for id in (0..document.len()).map(|id| NodeId(u32::try_from(id).unwrap())) {
        let node = document.node(id);
        assert!(node.span.start <= node.span.end && node.span.end as usize <= text.len());
        assert!(node.entry.start <= node.entry.end && node.entry.end as usize <= text.len());
        assert!(node.end > id.0 && node.parent <= id.0);
        let _ = (document.source(id), document.scalar(id), document.key(id), document.line(id), document.restores(id));
        match document.parent(id) {
            Some(parent) => assert!(document.children(parent).any(|child| child == id)),
            None => assert!(document.roots().contains(&id) && document.kind(id) == Kind::Map),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_any(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ \\-a:?\\[\\]{},#&*!|>'\"%\n\r\t\u{85}\u{2028}é0-9]{0,60}") {
        check_any(text.as_bytes());
    }
}

#[test]
fn texts_changed_at_random_are_read_or_refused() {
    for text in generate::mutants(20_000) {
        check_any(&text);
    }
}
