//! What we encrypt the real sops decrypts, what it encrypts we decrypt, and both see the same in it.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Document, Syntax, Value};
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck, Rules, encrypt};

use crate::peers::{Peers, VERSIONS};

/// A file, and how it is called.
struct Sample {
    name: &'static str,
    kind: FileKind,
    text: &'static str,
}

const JSON: &[Sample] = &[
    json(r#"{"a":1}"#),
    json(
        "{\n  \"name\": \"x\",\n  \"list\": [1, 2.5, \"y\", null, {}, [], true, [\"deep\"]],\n  \"e\": \"\",\n  \"m\": {\"k\": false, \"k_unencrypted\": \"p\"}\n}\n",
    ),
    json(
        "{\n\t\"int\": 9007199254740991,\n\t\"neg\": -5,\n\t\"exp\": 1e21,\n\t\"small\": 1e-7,\n\t\"one\": 1.0,\n\t\"long\": 0.1000\n}",
    ),
    json(r#"{"esc":"a\u00e9\n\"\\\/\ud83d\ude00<>&","key\u0041":"x","":"empty key","a:b":"colon"}"#),
    json("{}\n"),
    json("{ \"a\" : { } , \"b\" : [ ] }\r\n"),
];

const DOTENV: &[Sample] = &[
    dotenv("A=1\n"),
    dotenv(
        "# comment\nA=x\n\n#second\nB=a b=c\nE=\nexport C=\"quoted\"\nD='single' # not a comment\ne_unencrypted=p\n",
    ),
    dotenv("A=line\\nbreak\nB=tab\there"),
    dotenv("A=x\r\nB=y\r\n"),
    dotenv("A=1\nA=2\n"),
    dotenv("#\n# only comments\n"),
    dotenv("=no key\nA:B=colon\nü=é\n"),
];

const fn dotenv(text: &'static str) -> Sample {
    Sample { name: "file.env", kind: FileKind::Text(Syntax::Dotenv), text }
}

#[test]
fn dotenv_is_exchanged_with_sops() {
    exchange(DOTENV);
}

const INI: &[Sample] = &[
    ini("[s]\nk = v\n"),
    ini("; top comment\ntop = 1\n\n[s]\n; of k\nk = v\nk2=w\n\n# of e\n[e]\n\n[more]\na_unencrypted = p\nempty =\n"),
    ini("[s]\r\nk = v\r\n"),
    ini("[s]\nk: v\nlong = a b c\nq = \"quoted\"\nsemi = a;b\n[s.t]\nk = x"),
    ini("a = 1\n"),
];

const fn ini(text: &'static str) -> Sample {
    Sample { name: "file.ini", kind: FileKind::Text(Syntax::Ini), text }
}

#[test]
fn ini_is_exchanged_with_sops() {
    exchange(INI);
}

// Where an entry has comments above it and behind it sops has one comment and we have two: it loses ours, and nothing else.
#[test]
fn ini_with_comments_at_line_ends_keeps_its_values_in_sops() {
    // With spaces in them, which base64 has not.
    let text = "; of one\n; of two\n\n# of three\na = 1 ; of end\n[s] ; of header\n; of first\n;of second\nk = v # of c\n; of final";
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    let sample = ini(text);
    let ours = encrypt(sample.kind, text.as_bytes().into(), peers.metadata(&key), &key, None).unwrap();
    assert_eq!(String::from_utf8_lossy(decrypt(sample.kind, ours.expose(), &key).expose()), text);
    assert!(!String::from_utf8_lossy(ours.expose()).contains("of "), "a comment stands in the file");
    for version in VERSIONS {
        let found = peers.sops_decrypt(version, sample.name, ours.expose());
        assert_eq!(tree(sample.kind, &found), tree(sample.kind, text.as_bytes()));
    }
}

const YAML: &[Sample] = &[
    yaml("a: 1\n"),
    yaml("a: 1"),
    yaml(
        "# top\na: hello\nb: 1\nl:\n    # in list\n    - x\n    - y\nm:\n    # in map\n    k: true\n    f: 1.5\n    n: null\n    e: \"\"\n    em: {}\n    el: []\nt: 2020-01-02\ntail: x\n# foot\n",
    ),
    yaml(
        "a: 0x1F\nb: 0o17\nc: 017\nd: 1_000\ne: 1.0\nf: 1e3\ng: .inf\nh: -.INF\ni: .nan\nj: 0b11\nk: +5\nl: ~\nm: Null\nn:\no: TRUE\np: no\nq: 12:30:45\n",
    ),
    yaml("t: 2001-12-14t21:59:43.10-05:00\nu: 2001-12-14 21:59:43.10 -5\nv: 2002-12-14\nw: 2001-12-15 2:59:43.10\n"),
    yaml(
        "a: \"esc \\u00e9 \\n\"\nb: 'it''s'\nc: \"plain\"\nd: |\n    lit\n    eral\ne: >-\n    folded\n    text\n\n    more\nf: |+\n    keep\n\ng: plain\n    over lines\nh: é\n",
    ),
    yaml("a: !!str 5\nb: !!binary aGVsbG8=\nc: !custom x\nd: !!int \"7\"\ne: !!float 3\n"),
    yaml("flow: {a: 1, b: [x, \"y\", {c: d}], e: }\nlist: [1, 2, 3]\n"),
    yaml("a: &x secret\nb: *x\nm: &m\n    k: v\n    l: [1, 2]\nn: *m\no:\n    <<: *m\n    z: 1\n"),
    yaml("---\na: 1\n---\nb: 2\n...\n---\n# c\nc: 3\n"),
    yaml("a_unencrypted:\n    x: plain # c\n    y: [1]\nb: secret\n"),
    yaml("list:\n    - a: 1\n      b: 2\n    -\n      - deep\n    - [x]\n    - null\nlist2:\n- x\n- y\n"),
    yaml("? a\n: 1\n\"quoted key\": 2\n'k': 3\n"),
    yaml("a: x\r\nb: y\r\n"),
    yaml(
        "k8s:\n    apiVersion: v1\n    kind: Secret\n    metadata:\n        name: x\n    stringData:\n        a.yaml: |\n            nested: true\n            list:\n              - 1\n",
    ),
    yaml("\n\na: 1\n\n\nb: 2\n\n"),
    yaml("{}\n"),
    yaml("{a: 1, b: {c: d}}\n"),
    yaml("{\n  \"a\": 1,\n  \"b\": [\n    \"json\"\n  ]\n}\n"),
    yaml("a: 1\n---\n---\nb: 2\n"),
    yaml("--- # c\na: 1\n...\n"),
    yaml("%YAML 1.1\n---\na: 1\n"),
    yaml("\u{feff}a: 1\n"),
    yaml("a:\tx\nb: \ty\n"),
    yaml(
        "a: 9223372036854775807\nb: -9223372036854775808\nc: 1e400\nd: 0.1\ne: 1e-7\nf: 123456789012345678901234567890\n",
    ),
    yaml("a: 'multi\n  line\n\n  quoted'\nb: \"multi \\\n  escaped\"\nc: [a,\n  b]\n"),
    yaml("key with spaces: x\n\"k\\u00e9\": y\n'': z\n"),
];

/// Comments in places where sops, writing a file anew, moves or loses them. Values are compared, and that every comment decrypts.
const YAML_COMMENTS: &[Sample] = &[
    yaml("a:\n    b: x\n    # foot of b\nc: y\n"),
    yaml("a:\n    b:\n        c: x\n        # foot of c\n\n    # foot of b\n\n# foot of a\n"),
    yaml("a: x # inline\nl: # of l\n    - y # of y\n    # before z\n    - z\n    # after z\nm: # of m\n    k: v\n"),
    yaml("# head\n\n# of a\na: x\n\n# between\n\n# of b\nb: y\n\n# end\n"),
    yaml("l:\n    # c1\n    # c2\n    - a: 1 # c3\n      # c4\n      b: 2\n    #c5\n"),
    yaml("a: | # block\n    text\nb: > # folded\n    text\n"),
];

const fn yaml(text: &'static str) -> Sample {
    Sample { name: "file.yaml", kind: FileKind::Text(Syntax::Yaml), text }
}

#[test]
fn yaml_is_exchanged_with_sops() {
    exchange(YAML);
}

#[test]
fn yaml_comments_decrypt_in_sops() {
    exchange_as(YAML_COMMENTS, Compare::Values);
}

#[test]
fn binary_is_exchanged_with_sops() {
    let binary = |text| Sample { name: "file.bin", kind: FileKind::Binary, text };
    exchange(&[binary("x"), binary(""), binary("any\0thing\u{80}\n"), binary("{\"data\": 1}")]);
}

const fn json(text: &'static str) -> Sample {
    Sample { name: "file.json", kind: FileKind::Text(Syntax::Json), text }
}

#[test]
fn json_is_exchanged_with_sops() {
    exchange(JSON);
}

#[test]
fn what_sops_refuses_to_encrypt_is_refused() {
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    let refused = [
        yaml("1: x\n"),
        yaml("a: {true: x}\n"),
        yaml("- a\n"),
        yaml("text\n"),
        yaml(""),
        yaml("a: 1\na: 2\n"),
        yaml("a: 18446744073709551615\n"),
        yaml("a: *none\n"),
        yaml("a: [\n"),
        yaml("sops: x\n"),
        json("[1]"),
        json("\"text\""),
        json("{\"sops\": {}}"),
        json("{\"a\": 1e999}"),
        dotenv("no equals sign\n"),
        dotenv("sops_version=1\n"),
        ini("[sops]\na = 1\n"),
    ];
    for sample in refused {
        let ours = encrypt(sample.kind, sample.text.as_bytes().into(), peers.metadata(&key), &key, None);
        assert!(ours.is_err(), "we take {:?}", sample.text);
        let file = peers.write(sample.name, sample.text.as_bytes());
        let theirs = peers.try_sops("3.13.3", &["--encrypt", "--age", &peers.recipient], &file);
        assert!(!theirs.status.success(), "sops takes {:?}", sample.text);
    }
}

/// Rules of each kind, with the flags that ask sops for them.
fn rules() -> Vec<(Vec<&'static str>, Rules)> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        (vec![], Rules { unencrypted_suffix: some("_unencrypted"), ..Rules::default() }),
        (vec!["--unencrypted-suffix", "e"], Rules { unencrypted_suffix: some("e"), ..Rules::default() }),
        (vec!["--encrypted-suffix", "e"], Rules { encrypted_suffix: some("e"), ..Rules::default() }),
        (vec!["--unencrypted-regex", "^[a-k]"], Rules { unencrypted_regex: some("^[a-k]"), ..Rules::default() }),
        (vec!["--encrypted-regex", "^[a-k]"], Rules { encrypted_regex: some("^[a-k]"), ..Rules::default() }),
        (
            vec!["--encrypted-regex", "^[a-k]", "--mac-only-encrypted"],
            Rules { encrypted_regex: some("^[a-k]"), mac_only_encrypted: true, ..Rules::default() },
        ),
        (vec!["--encrypted-comment-regex", "of"], Rules { encrypted_comment_regex: some("of"), ..Rules::default() }),
        (
            vec!["--unencrypted-comment-regex", "o[fn] "],
            Rules { unencrypted_comment_regex: some("o[fn] "), ..Rules::default() },
        ),
    ]
}

/// What is compared of a text that sops decrypted.
#[derive(Clone, Copy, PartialEq)]
enum Compare {
    /// Every byte.
    Text,
    /// Its values, and that no ciphertext is left in it.
    Values,
}

fn exchange(samples: &[Sample]) {
    exchange_as(samples, Compare::Text);
}

fn exchange_as(samples: &[Sample], compare: Compare) {
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    let metadata = peers.metadata(&key);
    for (index, sample) in samples.iter().enumerate() {
        // Every rule comes up with several samples.
        let rules = rules();
        let other = 1 + index % (rules.len() - 1);
        for (flags, rules) in [&rules[0], &rules[other]] {
            let rules = rules.clone();
            let metadata = bulla_format::sops::Metadata { rules, ..metadata.clone() };
            let plain = SecretBytes::from(sample.text.as_bytes());
            let ours = encrypt(sample.kind, plain, metadata, &key, None).unwrap();
            let shown = format!("{flags:?}\n{}\n---\n{}", sample.text, String::from_utf8_lossy(ours.expose()));

            let back = decrypt(sample.kind, ours.expose(), &key);
            assert_eq!(String::from_utf8_lossy(back.expose()), sample.text, "the bytes come back\n{shown}");

            for version in VERSIONS {
                let theirs = peers.sops_encrypt(version, flags, sample.name, sample.text.as_bytes());
                let wanted = peers.sops_decrypt(version, sample.name, &theirs);
                let found = peers.sops_decrypt(version, sample.name, ours.expose());
                let (found_text, wanted_text) = (String::from_utf8_lossy(&found), String::from_utf8_lossy(&wanted));
                let what = format!("sops {version} reads ours as its own\n{shown}");
                if compare == Compare::Text {
                    assert_eq!(found_text, wanted_text, "{what}");
                } else {
                    assert_eq!(tree(sample.kind, &found), tree(sample.kind, &wanted), "{what}");
                    assert!(!found_text.contains("ENC["), "{found_text}\n{what}");
                }

                let file = EncryptedFile::parse(sample.kind, SecretBytes::from(theirs.as_slice())).unwrap();
                let their_key = peers.data_key(file.metadata());
                let opened = decrypt(sample.kind, &theirs, &their_key);
                assert_eq!(
                    tree(sample.kind, opened.expose()),
                    tree(sample.kind, &wanted),
                    "we read sops {version}'s as it does\n{shown}"
                );
            }
        }
    }
}

fn decrypt(kind: FileKind, text: &[u8], key: &DataKey) -> SecretBytes {
    let file = EncryptedFile::parse(kind, SecretBytes::from(text)).unwrap();
    file.decrypt(key, MacCheck::Check).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(text))).text
}

fn tree(kind: FileKind, text: &[u8]) -> Vec<Value> {
    let FileKind::Text(syntax) = kind else { return vec![Value::Str(text.to_vec().into())] };
    let document = Document::parse(syntax, SecretBytes::from(text)).unwrap();
    document.roots().iter().map(|&root| as_sops_prints(document.to_value(root))).collect()
}

/// See [`as_sops_prints`].
pub fn as_sops_prints_all(values: Vec<Value>) -> Vec<Value> {
    values.into_iter().map(as_sops_prints).collect()
}

/// sops writes a float without a fraction as a whole number.
fn as_sops_prints(value: Value) -> Value {
    match value {
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Value::Int(format!("{number}").parse().unwrap())
        }
        Value::Float(number) if number.is_nan() => Value::str("NaN"),
        Value::Seq(items) => Value::Seq(items.into_iter().map(as_sops_prints).collect()),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, as_sops_prints(value))).collect())
        }
        other => other,
    }
}
