#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const ENC: &str = "ENC[AES256_GCM,data:p673w==,iv:YY==,tag:UQ==,type:str]";

#[test]
fn endings_decide_as_in_sops() {
    for (name, syntax) in [
        ("a/b.yaml", Some(Syntax::Yaml)),
        ("b.yml", Some(Syntax::Yaml)),
        ("b.json", Some(Syntax::Json)),
        (".env", Some(Syntax::Dotenv)),
        ("prod.env", Some(Syntax::Dotenv)),
        ("b.ini", Some(Syntax::Ini)),
        ("b.toml", Some(Syntax::Toml)),
        ("b.YAML", None),
        ("b.pem", None),
        ("yaml", None),
        ("", None),
    ] {
        assert_eq!(syntax_of_name(name), syntax, "{name}");
        if syntax.is_some() {
            assert_eq!(detect(name, b"\0"), syntax, "{name}");
        }
    }
}

#[test]
fn metadata_is_recognised_whatever_the_name() {
    for (syntax, text) in [
        (Syntax::Json, format!("{{\n\"a\": \"{ENC}\",\n\"sops\": {{\"lastmodified\": \"x\", \"mac\": \"{ENC}\"}}}}")),
        (Syntax::Yaml, format!("a: {ENC}\nsops:\n    lastmodified: x\n    mac: {ENC}\n")),
        (Syntax::Dotenv, format!("a b={ENC}\nsops_lastmodified=x\nsops_mac={ENC}\n")),
        (Syntax::Ini, format!("a = {ENC}\n\n[sops]\nlastmodified = x\nmac = {ENC}\n")),
        (Syntax::Toml, format!("a = \"{ENC}\"\n\n[sops]\nlastmodified = \"x\"\nmac = \"{ENC}\"\n")),
    ] {
        for name in ["", "x", "x.pem", "x.enc", ".env.prod"] {
            assert_eq!(detect(name, text.as_bytes()), Some(syntax), "{name}");
        }
    }
}

#[test]
fn the_content_decides_where_the_name_says_nothing() {
    for (name, text, syntax) in [
        (".env.prod", "a=1\nexport B=\"x\ny\"\n", Some(Syntax::Dotenv)),
        ("app.env.local", "# c\nA=1\r\n", Some(Syntax::Dotenv)),
        ("deploy/env", "A=\n", None),
        (".env.local", "", Some(Syntax::Dotenv)),
        (".env.local", "foo\n", None),
        ("secrets.enc", "A_KEY=1\nB=\"two words\"\n", Some(Syntax::Dotenv)),
        ("secrets", "a_key=1\n", None),
        ("secrets", "{\"a\": 1}", Some(Syntax::Json)),
        ("secrets", "{\"a\": 1", None),
        ("secrets", "[1]", None),
        ("secrets", "# c\n[a]\nb = \"x\"\n", Some(Syntax::Toml)),
        ("secrets", "; c\n[a]\nb = x\n", Some(Syntax::Ini)),
        ("secrets", "[a]\n", None),
        ("secrets", "# c\na: 1\nb:\n  - x\n", Some(Syntax::Yaml)),
        ("secrets", "---\na: 1\n---\nb: 2\n", Some(Syntax::Yaml)),
        ("-", "a: 1\n", Some(Syntax::Yaml)),
        ("", "a: 1\n", Some(Syntax::Yaml)),
        ("secrets.yaml.enc", "some key: 1\n", Some(Syntax::Yaml)),
        ("secrets.json.bak", "a: 1\n", None),
        ("a.b/secrets", "A=1\n", Some(Syntax::Dotenv)),
        ("secrets.txt", "A=1\n", None),
        ("id_rsa.pem", "A=1\n", None),
    ] {
        assert_eq!(detect(name, text.as_bytes()), syntax, "{name} {text:?}");
    }
}

/// What must never be taken apart: its keys would stay readable.
const OTHERS: [&str; 22] = [
    "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIEogIBAAKCAQEA\nabcd==\n-----END RSA PRIVATE KEY-----\n",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nBG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n",
    "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ\n",
    "# created: 2020-01-01T00:00:00Z\n# public key: age1x\nAGE-SECRET-KEY-1QQQQ\n",
    "c2VjcmV0Cg==\n",
    "JBSWY3DPEHPK3PXP=",
    "JBSWY3DPEHPK3PXP======\n",
    "QUJD=\nREVG=\n",
    "hunter2\n",
    "user:password\n",
    "machine example.com login me password secret\n",
    "FROM debian\nENV A=b\nRUN make\n",
    "#!/bin/sh\nexport A=b\n",
    "export A=b\necho $A\n",
    "A=$(cat secret)\nexport A\n",
    "TOKEN=$(cat secret)\nB=1\n",
    "TOKEN=`cat secret`\n",
    "import os\nA = 1\nprint(A)\n",
    "try:\n  import x\nexcept ImportError:\n  x = None\n",
    "[x for x in y]\nA = 1\n",
    "fn main() {\n    let a = 1;\n}\n",
    "<?xml version=\"1.0\"?>\n<a b=\"c\"/>\n",
];

#[test]
fn keys_scripts_and_source_code_are_nothing_of_all_this() {
    for text in OTHERS {
        for name in ["secret", "", ".env.prod", "secret.enc"] {
            assert_eq!(detect(name, text.as_bytes()), None, "{name} {text:?}");
        }
    }
}

#[test]
fn the_files_of_this_crate_are_nothing_of_all_this() {
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let mut count = 0;
    for source in sources.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        assert_eq!(detect("code", &std::fs::read(source).unwrap()), None);
        count += 1;
    }
    assert!(count > 10);
}

proptest! {
    #[test]
    fn random_bytes_are_nothing_of_all_this(bytes in prop::collection::vec(any::<u8>(), 8..400)) {
        // Once in a hundred thousand times they are a text, and that may be one: `A=…`.
        prop_assume!(std::str::from_utf8(&bytes).is_err());
        prop_assert_eq!(detect("x", &bytes), None);
    }

    #[test]
    fn base64_and_base32_are_nothing_of_all_this(
        text in prop_oneof!["[A-Za-z0-9+/]{4,200}={0,2}", "[A-Z2-7]{8,64}={0,6}", "([A-Za-z0-9+/]{76}\n){1,4}[A-Za-z0-9+/]{10}==?\n"]
    ) {
        for name in ["x", ".env.prod"] {
            prop_assert_eq!(detect(name, text.as_bytes()), None);
        }
    }
}
