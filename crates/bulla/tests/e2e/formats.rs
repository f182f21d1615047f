//! Every format.

use crate::exchange::{exchange, exchange_with};
use crate::world::World;

#[track_caller]
fn exchange_as(name: &str, plain: impl AsRef<[u8]>) {
    let world = World::new();
    let recipient = world.recipient.clone();
    exchange(&world, name, plain.as_ref(), &["--age", &recipient]);
}

#[test]
fn yaml_with_everything_that_has_a_type() {
    exchange_as(
        "values.yaml",
        r#"# a comment at the top
string: plain
quoted: "double \"quoted\" é \u00e9"
single: 'it''s'
int: 42
negative: -7
octal: 017
hex: 0x1F
binary_number: 0b11
underscore: 1_000
float: 3.14
whole_float: 2.0
large: 1e21
tiny: 1e-7
infinity: .inf
yes_is_a_string: yes
lower: true
Titlecase: True
null_word: null
tilde: ~
nothing:
empty: ""
date: 2026-01-02
time: 2026-01-02T03:04:05.123456789+02:00
sexagesimal: 12:30:45
too_large_to_count: 1e400
"#,
    );
}

#[test]
fn yaml_with_every_way_to_write_a_text() {
    exchange_as(
        "texts.yaml",
        "literal: |\n    first\n      indented\n\n    last\nstripped: |-\n    no newline\nkept: |+\n    newlines\n\nfolded: >\n    one\n    line\n\n    another\nwrapped: one\n    two\nquoted: \"one\n    two\"\nunicode: \"日本語 🗝\"\n",
    );
}

#[test]
fn yaml_with_collections_of_every_shape() {
    exchange_as(
        "shapes.yaml",
        "map:\n  a: 1\n  nested:\n    deep: [1, two, {three: 3}]\nlist:\n- a\n- b: 1\n  c: 2\n- - nested\n  - list\nempty_map: {}\nempty_list: []\nflow: {a: b, \"c d\": [e]}\n\"quoted key\": v\n? complex\n: w\n",
    );
}

#[test]
fn yaml_with_comments_everywhere() {
    exchange_as(
        "comments.yaml",
        "# head\n\n# of a\na: 1 # beside a\n# between\nmap: # beside map\n    # in map\n    b: 2\n    # foot of map\nlist:\n    # in list\n    - x # beside x\n    - y\n# at the end\n",
    );
}

#[test]
fn yaml_with_anchors_aliases_and_merges() {
    exchange_as(
        "anchors.yaml",
        "base: &base\n    user: admin\n    password: hunter2\ncopy: *base\nmerged:\n    <<: *base\n    extra: 1\nscalar: &s secret\nagain: *s\n",
    );
}

#[test]
fn yaml_with_tags() {
    exchange_as(
        "tags.yaml",
        "bin: !!binary aGVsbG8=\nstr: !!str 5\nint: !!int \"5\"\nfloat: !!float 1\nown: !Ref thing\n",
    );
}

#[test]
fn yaml_of_several_documents() {
    exchange_as("several.yaml", "a: 1\nb: two\n---\n# second\nc: three\n---\nd:\n    - 4\n");
}

#[test]
fn a_kubernetes_manifest() {
    exchange_as(
        "secret.yml",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: web\n  labels: {app: web}\ntype: Opaque\nstringData:\n  DATABASE_URL: postgres://web:s3cr3t@db:5432/web\n  config.json: |\n    {\n      \"key\": \"value\"\n    }\ndata:\n  password: aHVudGVyMg==\n",
    );
}

#[test]
fn json() {
    exchange_as(
        "values.json",
        "{\n\t\"string\": \"a \\\"b\\\" \\u00e9 <&>\",\n\t\"int\": 42,\n\t\"float\": 1.5,\n\t\"exponent\": 1e3,\n\t\"true\": true,\n\t\"null\": null,\n\t\"empty\": \"\",\n\t\"list\": [1, \"two\", {\"three\": 3}, []],\n\t\"map\": {\"a\": {}}\n}\n",
    );
}

#[test]
fn json_on_one_line() {
    exchange_as("line.json", r#"{"a":"b","c":{"d":["e"]}}"#);
}

#[test]
fn large_integers_of_json_stay_whole() {
    // 3.11 reads every number as a float and changes this one; 3.13.2 was the first that does not.
    let world = World::new();
    let recipient = world.recipient.clone();
    exchange_with(&world, "3.13.3", "large.json", b"{\n\t\"id\": 9007199254740993\n}\n", &["--age", &recipient]);
}

#[test]
fn dotenv() {
    exchange_as(
        ".env",
        "# comment\nA=1\nB=two words\nQUOTED=\"quoted\"\nURL=postgres://u:p@h/d?x=y\nEMPTY=\nESCAPED=line\\nline\n\nLAST=x\n",
    );
}

#[test]
fn ini() {
    exchange_as(
        "settings.ini",
        "; comment\n[database]\nuser = web\npassword = s3cr3t\n\n[empty]\n\n[cache]\nurl = redis://c\n",
    );
}

#[test]
fn any_bytes() {
    exchange_as("key.bin", (0..=255).cycle().take(3000).collect::<Vec<u8>>());
    exchange_as("cert.pem", "-----BEGIN X-----\nAAAA\n-----END X-----\n");
}
