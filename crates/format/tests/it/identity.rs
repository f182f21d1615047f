//! What is encrypted and decrypted is the same bytes, whatever it is; and what is set changes nothing else.

use bulla_document::{Document, ErrorKind, Kind, NodeId, Step, Syntax, Value};
use bulla_format::sops::{EncryptedFile, Error, FileKind, MacCheck, Metadata, Rules, encrypt, is_encrypted, kind_of};
use proptest::prelude::*;

use crate::files::{DATE, LATER, key, metadata, open, parse, seal_with, tree};

/// A key that no other in the same map has.
fn name(index: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "[a-z]{1,6}".prop_map(move |text| format!("{text}{index}")),
        1 => Just(format!("k{index}_unencrypted")),
        1 => Just(format!("\"quoted {index}\"")),
    ]
}

fn yaml_scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0x1F".to_owned()),
        Just("1.0".to_owned()),
        Just("1_000".to_owned()),
        Just("~".to_owned()),
        Just(String::new()),
        Just("''".to_owned()),
        Just("2001-12-14 21:59:43.10 -5".to_owned()),
        Just("!!str 5".to_owned()),
        Just("!!binary aGVsbG8=".to_owned()),
        Just("{a: 1, \"b\": [x, 'y']}".to_owned()),
        Just("[]".to_owned()),
        Just("[1, two, ]".to_owned()),
        Just("\"esc \\u00e9 \\n \\\" \\\\\"".to_owned()),
        "[a-z][a-z0-9 ]{0,10}[a-z0-9]",
        "[0-9]{1,12}",
        "-?[0-9]{1,5}\\.[0-9]{1,5}",
        "'[a-z#: ]{0,8}'",
        "\"[a-zé#: ]{0,8}\"",
        "(yes|no|true|False|null|NULL|off)",
    ]
}

/// Lines of a block scalar's contents.
fn block() -> impl Strategy<Value = (String, Vec<String>)> {
    ("[|>][+-]?", prop::collection::vec(prop_oneof![3 => "[a-z#:-][a-z #:-]{0,8}", 1 => Just(String::new())], 1..4))
}

#[derive(Clone, Debug)]
enum Yaml {
    Scalar(String, Option<String>),
    Block(String, Vec<String>),
    Map(Vec<(String, Yaml)>),
    List(Vec<Yaml>),
    Comment(String, Box<Yaml>),
}

fn yaml_tree() -> BoxedStrategy<Yaml> {
    let leaf = prop_oneof![
        4 => (yaml_scalar(), prop::option::weighted(0.2, "[a-z ]{0,5}")).prop_map(|(text, comment)| Yaml::Scalar(text, comment)),
        1 => block().prop_map(|(header, lines)| Yaml::Block(header, lines)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            3 => map_of(inner.clone()),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(Yaml::List),
            1 => ("[a-z ]{0,6}", inner).prop_map(|(text, inner)| Yaml::Comment(text, Box::new(inner))),
        ]
    })
    .boxed()
}

fn map_of(inner: impl Strategy<Value = Yaml> + Clone) -> impl Strategy<Value = Yaml> {
    prop::collection::vec(inner, 1..4).prop_flat_map(|values| {
        let names: Vec<_> = (0..values.len()).map(name).collect();
        names.prop_map(move |names| Yaml::Map(names.into_iter().zip(values.clone()).collect()))
    })
}

fn write_yaml(out: &mut String, value: &Yaml, indent: usize, step: usize) {
    let pad = " ".repeat(indent);
    match value {
        Yaml::Scalar(text, comment) => {
            let comment = comment.as_ref().map_or(String::new(), |comment| format!(" #{comment}"));
            out.push_str(&format!(" {text}{comment}\n"));
        }
        Yaml::Block(header, lines) => {
            out.push_str(&format!(" {header}\n"));
            for line in lines {
                out.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("{pad}{line}\n") });
            }
        }
        Yaml::Map(entries) => {
            out.push('\n');
            for (key, value) in entries {
                let value = write_comments(out, value, &pad);
                out.push_str(&format!("{pad}{key}:"));
                write_yaml(out, value, indent + step, step);
            }
        }
        Yaml::List(items) => {
            out.push('\n');
            for item in items {
                let item = write_comments(out, item, &pad);
                out.push_str(&format!("{pad}-"));
                write_yaml(out, item, indent + step, step);
            }
        }
        Yaml::Comment(_, inner) => write_yaml(out, inner, indent, step),
    }
}

fn write_comments<'y>(out: &mut String, mut value: &'y Yaml, pad: &str) -> &'y Yaml {
    while let Yaml::Comment(text, inner) = value {
        out.push_str(&format!("{pad}#{text}\n"));
        value = inner;
    }
    value
}

fn yaml() -> impl Strategy<Value = String> {
    let document = (map_of(yaml_tree()), 1..5usize, prop::option::weighted(0.3, "[a-z ]{0,6}"));
    (prop::collection::vec(document, 1..3), any::<bool>(), any::<bool>()).prop_map(|(documents, cut, crlf)| {
        let mut text = String::new();
        for (index, (value, step, foot)) in documents.iter().enumerate() {
            if index > 0 {
                text.push_str("---\n");
            }
            let mut body = String::new();
            write_yaml(&mut body, value, 0, *step);
            text.push_str(&body[1..]);
            if let Some(foot) = foot {
                text.push_str(&format!("# {foot}\n"));
            }
        }
        if cut && !text.contains("|+") && !text.contains(">+") {
            text.truncate(text.trim_end().len());
        }
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("1.0".to_owned()),
        Just("1E+2".to_owned()),
        Just("-0".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"\\u00e9\\/\\n\\ud83d\\ude00\"".to_owned()),
        Just("\"<&>\"".to_owned()),
        "\"[a-zé ]{0,10}\"",
        "-?[1-9][0-9]{0,18}",
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec(inner, 0..4).prop_map(|values| json_map(&values, " ")),
        ]
    })
}

fn json_map(values: &[String], space: &str) -> String {
    let entries: Vec<_> =
        values.iter().enumerate().map(|(index, value)| format!("\"k{index}\":{space}{value}")).collect();
    format!("{{{}}}", entries.join(&format!(",{space}")))
}

fn json() -> impl Strategy<Value = String> {
    (prop::collection::vec(json_value(), 0..5), prop_oneof![Just(""), Just(" "), Just("\n  "), Just("\r\n\t")], "(|\n)")
        .prop_map(|(values, space, end)| format!("{}{end}", json_map(&values, space)))
}

fn dotenv() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[A-Z]{1,4}=[a-z0-9 \"'#=\\\\n]{0,10}",
        1 => "[A-Z]{1,4}=\"[a-z]{0,4}\n[a-z]{0,4}\"",
        1 => "#[a-z ]{0,8}",
        1 => Just(String::new()),
    ];
    (prop::collection::vec(line, 0..8), "(|\n)").prop_map(|(lines, end)| format!("{}{end}", lines.join("\n")))
}

fn ini() -> impl Strategy<Value = String> {
    let entry = prop_oneof![
        4 => "[a-z]{1,3} ?[=:] ?[a-z0-9]{0,8}",
        1 => "[a-z]{1,3} = \"[a-z ]{0,4}\"",
        1 => "[a-z]{1,3} = `[a-z ]{0,4}`",
        1 => "[;#] ?[a-z ]{0,8}",
        1 => Just(String::new()),
    ];
    let section = ("(\\[[a-z]{1,4}\\])", prop::collection::vec(entry.clone(), 0..5));
    (prop::collection::vec(entry, 0..3), prop::collection::vec(section, 0..4), "(|\n)").prop_map(
        |(top, sections, end)| {
            let sections = sections.into_iter().flat_map(|(name, entries)| [vec![name], entries].concat());
            let lines: Vec<_> = top.into_iter().chain(sections).collect();
            format!("{}{end}", lines.join("\n"))
        },
    )
}

fn toml() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("0x1F".to_owned()),
        Just("1.0".to_owned()),
        Just("true".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("'lit'".to_owned()),
        Just("\"\"\"\nmulti\nline\"\"\"".to_owned()),
        Just("[1, 2, # c\n 3]".to_owned()),
        Just("{ a = 1, b = \"x\" }".to_owned()),
        "\"[a-z ]{0,6}\"",
        "[1-9][0-9]{0,5}",
    ];
    let entries = |values: Vec<String>| {
        values.iter().enumerate().map(|(index, value)| format!("k{index} = {value}\n")).collect::<String>()
    };
    let table = prop::collection::vec(value.clone(), 0..4).prop_map(entries);
    (prop::collection::vec(value, 0..4).prop_map(entries), prop::collection::vec(table, 0..3)).prop_map(
        |(top, tables)| {
            let tables: String = tables
                .iter()
                .enumerate()
                .map(|(index, table)| format!("# of t{index}\n[t{index}]\n{table}\n"))
                .collect();
            format!("{top}{tables}")
        },
    )
}

fn texts() -> impl Strategy<Value = (FileKind, String)> {
    let of = |syntax| move |text| (FileKind::Text(syntax), text);
    prop_oneof![
        4 => yaml().prop_map(of(Syntax::Yaml)),
        2 => json().prop_map(of(Syntax::Json)),
        1 => dotenv().prop_map(of(Syntax::Dotenv)),
        1 => ini().prop_map(of(Syntax::Ini)),
        1 => toml().prop_map(of(Syntax::Toml)),
    ]
}

fn all_rules() -> impl Strategy<Value = Rules> {
    let some = |text: &str| Some(text.to_owned());
    prop_oneof![
        4 => Just(Rules::default()),
        1 => Just(Rules { encrypted_regex: some("^[a-k]"), mac_only_encrypted: true, ..Rules::default() }),
        1 => Just(Rules { unencrypted_regex: some("^[a-k]"), ..Rules::default() }),
        1 => Just(Rules { encrypted_suffix: some("0"), ..Rules::default() }),
        1 => Just(Rules { encrypted_comment_regex: some("[a-f]"), ..Rules::default() }),
        1 => Just(Rules { unencrypted_comment_regex: some("^[a-f ]*$"), ..Rules::default() }),
    ]
}

/// A text of ours; what no reader takes is of no interest here.
fn is_readable(kind: FileKind, text: &str) -> bool {
    let FileKind::Text(syntax) = kind else { return true };
    Document::parse(syntax, text.as_bytes().into()).is_ok_and(|document| !document.roots().is_empty())
}

/// The paths of all single values of the first document.
fn leaves(kind: FileKind, text: &str) -> Vec<Vec<Step>> {
    fn walk(document: &Document, id: NodeId, path: &mut Vec<Step>, out: &mut Vec<Vec<Step>>) {
        if document.kind(id) == Kind::Scalar {
            // Where a key stands there twice, a path leads to the first.
            if document.find(document.roots()[0], path) == Some(id) {
                out.push(path.clone());
            }
            return;
        }
        let entries = document.children(id).filter(|&child| document.kind(child) != Kind::Comment);
        for (index, child) in entries.enumerate() {
            path.push(document.key(child).map_or(Step::Index(index), |key| Step::Key(key.to_owned())));
            walk(document, child, path, out);
            path.pop();
        }
    }
    let FileKind::Text(syntax) = kind else { return Vec::new() };
    let document = Document::parse(syntax, text.as_bytes().into()).unwrap();
    let mut out = Vec::new();
    walk(&document, document.roots()[0], &mut Vec::new(), &mut out);
    out
}

fn at<'v>(value: &'v mut Value, path: &[Step]) -> &'v mut Value {
    path.iter().fold(value, |value, step| match (value, step) {
        (Value::Map(entries), Step::Key(key)) => &mut entries.iter_mut().find(|(name, _)| name == key).unwrap().1,
        (Value::Seq(items), Step::Index(index)) => &mut items[*index],
        _ => panic!("no such place"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn encrypting_and_decrypting_gives_the_same_bytes((kind, text) in texts(), rules in all_rules()) {
        prop_assume!(is_readable(kind, &text));
        let sealed = seal_with(kind, &text, Metadata { rules, ..metadata() });
        let opened = open(kind, &sealed);
        prop_assert!(opened == text, "{text}\n--- became\n{opened}\n--- by way of\n{sealed}");
        prop_assert!(is_encrypted(kind, sealed.as_bytes()) && !is_encrypted(kind, text.as_bytes()));
    }

    #[test]
    fn editing_and_changing_nothing_gives_the_same_ciphertext((kind, text) in texts()) {
        prop_assume!(is_readable(kind, &text));
        let sealed = seal_with(kind, &text, metadata());
        let opened = parse(kind, &sealed).decrypt(&key(), MacCheck::Strict).unwrap();
        let again = encrypt(kind, opened.text, metadata(), &key(), Some(&opened.stash)).unwrap();
        let again = String::from_utf8(again.expose().to_vec()).unwrap();
        let differ = sealed.lines().zip(again.lines()).filter(|(a, b)| a != b).count();
        prop_assert!(sealed.lines().count() == again.lines().count() && (1..=4).contains(&differ), "{sealed}\n---\n{again}");
    }

    #[test]
    fn setting_a_value_changes_that_value_and_nothing_else((kind, text) in texts(), pick: prop::sample::Index, rules in all_rules()) {
        prop_assume!(is_readable(kind, &text));
        let leaves = leaves(kind, &text);
        prop_assume!(!leaves.is_empty());
        let path = pick.get(&leaves);
        let value = Value::str("a new value");
        let sealed = seal_with(kind, &text, Metadata { rules, ..metadata() });
        let changed = parse(kind, &sealed).set(&key(), path, &value, MacCheck::Strict, LATER);
        let changed = changed.unwrap_or_else(|error| panic!("{error}\n{text}\n{path:?}")).unwrap();
        let changed = String::from_utf8(changed.expose().to_vec()).unwrap();
        let opened = open(kind, &changed);
        let mut wanted = tree(kind, &text);
        *at(&mut wanted[0], path) = value;
        prop_assert!(tree(kind, &opened) == wanted, "{text}\n--- became\n{opened}\n--- by way of\n{changed}");
    }

    #[test]
    fn removing_a_value_removes_that_value_and_nothing_else((kind, text) in texts(), pick: prop::sample::Index) {
        prop_assume!(is_readable(kind, &text));
        let leaves = leaves(kind, &text);
        prop_assume!(!leaves.is_empty());
        let path = pick.get(&leaves);
        let sealed = seal_with(kind, &text, metadata());
        let changed = parse(kind, &sealed).unset(&key(), path, MacCheck::Strict, LATER);
        // What cannot be taken out without changing what is around it stays.
        if matches!(&changed, Err(Error::Document(error)) if matches!(error.kind, ErrorKind::Unrepresentable(_))) {
            return Ok(());
        }
        let changed = changed.unwrap_or_else(|error| panic!("{error}\n{text}\n{path:?}\n{sealed}"));
        let changed = String::from_utf8(changed.expose().to_vec()).unwrap();
        let opened = open(kind, &changed);
        let mut wanted = tree(kind, &text);
        let (last, parent) = path.split_last().unwrap();
        match (at(&mut wanted[0], parent), last) {
            (Value::Map(entries), Step::Key(key)) => { let index = entries.iter().position(|(name, _)| name == key).unwrap(); entries.remove(index); }
            (Value::Seq(items), Step::Index(index)) => { items.remove(*index); }
            _ => unreachable!(),
        }
        prop_assert!(tree(kind, &opened) == wanted, "{text}\n--- became\n{opened}\n--- by way of\n{changed}");
    }

    #[test]
    fn any_bytes_are_encrypted_as_binary(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let sealed = encrypt(FileKind::Binary, bytes.as_slice().into(), metadata(), &key(), None).unwrap();
        prop_assert_eq!(kind_of("file", sealed.expose()), FileKind::Binary);
        let opened = EncryptedFile::parse(FileKind::Binary, sealed).unwrap().decrypt(&key(), MacCheck::Strict).unwrap();
        prop_assert_eq!(opened.text.expose(), bytes.as_slice());
    }

    #[test]
    fn no_bytes_panic((kind, text) in texts(), cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        prop_assume!(is_readable(kind, &text));
        let mut bytes = seal_with(kind, &text, metadata()).into_bytes();
        for (index, byte) in cuts {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let Ok(file) = EncryptedFile::parse(kind, bytes.into()) else { return Ok(()) };
        for check in [MacCheck::Ignore, MacCheck::Strict] {
            let _ = file.decrypt(&key(), check);
            let _ = file.set(&key(), &[Step::Key("k0".into())], &Value::Int(1), check, DATE);
            let _ = file.unset(&key(), &[Step::Key("k0".into())], check, DATE);
            let _ = file.extract(&key(), &[Step::Key("k0".into())], check);
        }
    }
}
