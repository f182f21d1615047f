//! YAML that was changed in place, given to the real sops.

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar, Step, Syntax, Value};
use bulla_test_support::SOPS;

use crate::sops::{Workshop, tree, written};

fn parse(text: &str) -> Document {
    Document::parse(Syntax::Yaml, SecretBytes::from(text.as_bytes())).unwrap()
}

/// The single values of a document in sops' order, what aliases repeat included; without sops' own block.
fn values(document: &Document) -> Vec<NodeId> {
    let root = document.roots()[0];
    let metadata = document.find(root, &[Step::Key("sops".into())]);
    let inside = |id: NodeId| metadata.is_some_and(|metadata| document.subtree(metadata).any(|inner| inner == id));
    document.subtree(root).filter(|&id| document.kind(id) == Kind::Scalar && !inside(id)).collect()
}

/// Puts the ciphertext that sops made of a text in the place of its values, in the text itself.
fn encrypted_in_place(text: &str, by_sops: &str) -> String {
    let (plain, cipher) = (parse(text), parse(by_sops));
    let (ours, theirs) = (values(&plain), values(&cipher));
    assert_eq!(ours.len(), theirs.len(), "{by_sops}");
    let mut patch = plain.patch();
    for (&id, &theirs) in ours.iter().zip(&theirs) {
        if !plain.is_virtual(id) && cipher.scalar(theirs).as_bytes().is_some_and(|text| text.starts_with(b"ENC[")) {
            patch.set_value(id, &cipher.to_value(theirs)).unwrap();
        }
    }
    // Whole maps and lists behind aliases, at the places where sops has written them out.
    let root = plain.roots()[0];
    for id in plain.subtree(root).filter(|&id| plain.is_alias(id) && plain.kind(id) != Kind::Scalar) {
        let copy = cipher.find(cipher.roots()[0], &path(&plain, id)).unwrap();
        patch.set_value(id, &cipher.to_value(copy)).unwrap();
    }
    let metadata = cipher.find(cipher.roots()[0], &[Step::Key("sops".into())]).unwrap();
    patch.insert(root, &[("sops".into(), cipher.to_value(metadata))]).unwrap();
    String::from_utf8(patch.finish().expose().to_vec()).unwrap()
}

fn path(document: &Document, id: NodeId) -> Vec<Step> {
    let Some(parent) = document.parent(id) else { return Vec::new() };
    let mut path = path(document, parent);
    let items = document.children(parent).filter(|&child| document.kind(child) != Kind::Comment);
    let index = items.take_while(|&item| item != id).count();
    path.push(document.key(id).map_or(Step::Index(index), |key| Step::Key(key.to_owned())));
    path
}

const STYLES: &[&str] = &[
    "plain: text\nsingle: 'it''s'\ndouble: \"a\\tb\"\nnumber: 5\nfloat: 1.5\nbool: true\ntime: 2001-01-01\nempty: ''\nnothing:\n",
    "literal: |\n  one\n\n  two\nstrip: |-\n    one\nkeep: |+\n  one\n\nfolded: >\n  one\n  two\nheader: | # note\n  one\nlast: |\n  end\n",
    "flow: {a: b, c: [1, 'two', \"three\", four], d: true}\nlist: [x: y, z]\nmulti: [\n  one,\n  two\n]\n",
    "tag: !Ref thing\nsub: !Sub \"a b\"\nstr: !!str 5\nint: !!int \"7\"\nbin: !!binary aGVsbG8=\nverbatim: !<!x> y\nmap: !t {a: b}\n",
    "a: &a text\nb: &b !!str 5\nc: !!int &c 7\nd: !t &d x\ne: &e {x: y}\n",
    "base: &base\n  x: 1\n  y: [a, b]\ncopy: *base\nmerged:\n  <<: *base\n  z: 3\nscalar: &s text\nagain: *s\nlist:\n  - *s\n  - *base\n",
    "? explicit\n: value\n? |\n  block\n: value\n\"quoted key\": v\n",
    "stringData:\n  # about\n  password: s3cr3t # inline\n\n  # next\n  config: |\n    a: b\nkind: Secret\n# end\n",
    "{\"json\": [1, 2.5, true, \"s\"], \"o\": {\"p\": \"q\"}}\n",
    "a: plain\r\nb: |\r\n  one\r\n  two\r\nc: [x, y]\r\n",
    "\u{feff}a: b\nlist:\n- x\n- - y\n  - z\n-\n  k: v",
    "%YAML 1.1\n---\na: b\n...\n",
];

#[test]
fn the_real_sops_opens_what_is_encrypted_in_place() {
    let workshop = Workshop::new();
    for version in SOPS {
        for text in STYLES {
            let file = workshop.path().join("a.yaml");
            std::fs::write(&file, text).unwrap();
            workshop.sops(version, &["encrypt", "--in-place", "a.yaml"]).unwrap();
            let by_sops = std::fs::read_to_string(&file).unwrap();
            let expected = workshop.sops(version, &["decrypt", "--output-type", "json", "a.yaml"]).unwrap();
            let ours = encrypted_in_place(text, &by_sops);
            std::fs::write(&file, &ours).unwrap();
            let opened = workshop.sops(version, &["decrypt", "--output-type", "json", "a.yaml"]);
            assert_eq!(opened.as_ref(), Ok(&expected), "sops {version}:\n{ours}");
        }
    }
}

#[test]
fn what_sops_sees_is_what_the_tree_says() {
    let workshop = Workshop::new();
    for version in SOPS {
        for text in STYLES {
            let theirs = tree(Syntax::Json, &workshop.converted(version, "a.yaml", text, "json").unwrap());
            // JSON has no type for time stamps, and sops 3.11 reads its numbers as floats.
            let ours = tree(Syntax::Json, &written(&tree(Syntax::Yaml, text), Syntax::Json));
            assert_eq!(show(&ours), show(&theirs), "sops {version}: {text}");
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Map(entries) => {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {}", show(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Seq(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        _ => match value.as_scalar() {
            Some(Scalar::Str(bytes)) => format!("{:?}", String::from_utf8_lossy(&bytes)),
            Some(Scalar::Int(value)) => value.to_string(),
            Some(Scalar::Float(value)) => value.to_string(),
            Some(Scalar::Bool(value)) => value.to_string(),
            Some(Scalar::Time(text)) => format!("{text:?}"),
            _ => "null".into(),
        },
    }
}

// But for `<<`, which sops writes with a tag and without quotes.
#[test]
fn trees_are_written_as_sops_writes_them() {
    let json = r#"{"plain": "text", "words": "two words", "yes": "yes", "n": "n", "five": "5", "float": "1e3", "null": "null",
        "empty": "", "date": "2001-01-01", "clock": "12:30:45", "colon": "a: b", "hash": "a #b", "dash": "- x", "lone": "-",
        "marker": "---", "marked": "--- x", "quote": "it's", "double": "say \"x\"", "both": "'\"", "brackets": "[x]",
        "star": "*x", "space": " x", "end": "x ", "tab": "a\tb", "lines": "one\ntwo\n", "strip": "one\ntwo",
        "keep": "one\n\n", "back": "\\", "é": "ü", "key: x": 1, "- key": 2, "5": 3, "true": 4, "": 5, "?": "?x", "%": "%x",
        "at": "@x", "comma": "a, b", "int": 7, "number": 2.5, "bool": true, "nothing": null, "map": {}, "list": [],
        "nested": {"a": {"b": [1, [2, 3], {"c": "d", "e": {"f": "g"}}, [], {}, "one\ntwo\n", [[4]]]}}}"#;
    let workshop = Workshop::new();
    let theirs = workshop.converted("3.13.3", "a.json", json, "yaml").unwrap();
    assert_eq!(written(&tree(Syntax::Json, json), Syntax::Yaml), theirs);
}
