//! A file that sops and we change in turn.

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Syntax, Value};
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck, encrypt};

use crate::files::{DOTENV, JSON, LATER, path, tree};
use crate::peers::{Peers, VERSIONS};

const YAML: FileKind = FileKind::Text(Syntax::Yaml);
const INI: FileKind = FileKind::Text(Syntax::Ini);

/// A text, and a value of it to change.
const FILES: [(FileKind, &str, &str, &str); 4] = [
    (JSON, "f.json", "{\n\t\"a\": \"x\",\n\t\"m\": {\n\t\t\"k\": 1.0\n\t}\n}\n", "m.k"),
    (YAML, "f.yaml", "# c\na: 0x1F # d\nm:\n  k: >\n    folded\n    text\n  l: [1, 2]\n", "m.k"),
    (DOTENV, "f.env", "# c\nA=\"a\nb\"\nB=x\n", "B"),
    (INI, "f.ini", "; c\n[s]\nk = v\n", "s.k"),
];

fn bracketed(at: &str) -> String {
    at.split('.').map(|part| format!("[\"{part}\"]")).collect()
}

#[test]
fn what_we_set_sops_reads_and_what_it_sets_we_read() {
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    for (kind, name, text, at) in FILES {
        for version in VERSIONS {
            let sealed = encrypt(kind, text.as_bytes().into(), peers.metadata(&key), &key, None).unwrap();
            let file = EncryptedFile::parse(kind, sealed).unwrap();
            let ours = file.set(&key, &path(at), &Value::str("ours"), MacCheck::Strict, LATER).unwrap().unwrap();
            let read = peers.sops_decrypt(version, name, ours.expose());
            assert!(String::from_utf8_lossy(&read).contains("ours"), "{name} {version}");

            let on_disk = peers.write(name, ours.expose());
            peers.sops(version, &["set", name, &bracketed(at)], std::path::Path::new("\"theirs\""));
            let theirs = std::fs::read(on_disk).unwrap();
            let file = EncryptedFile::parse(kind, SecretBytes::from(theirs.as_slice())).unwrap();
            assert!(!file.has_bound_mac(), "sops drops what it does not know");
            let plain = file.decrypt(&key, MacCheck::Check).unwrap().text;
            let wanted = peers.sops_decrypt(version, name, &theirs);
            assert_eq!(
                crate::exchange::as_sops_prints_all(tree(kind, &String::from_utf8_lossy(plain.expose()))),
                crate::exchange::as_sops_prints_all(tree(kind, &String::from_utf8_lossy(&wanted))),
                "{name} {version}"
            );

            // Its file changed by us: nothing but the value, the MAC and the date.
            let again = file.set(&key, &path(at), &Value::str("ours again"), MacCheck::Check, LATER).unwrap().unwrap();
            let before: Vec<_> = theirs.split(|&byte| byte == b'\n').collect();
            let after: Vec<_> = again.expose().split(|&byte| byte == b'\n').collect();
            assert_eq!(before.len(), after.len(), "{name} {version}");
            assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 3, "{name} {version}");
            let read = peers.sops_decrypt(version, name, again.expose());
            assert!(String::from_utf8_lossy(&read).contains("ours again"), "{name} {version}");
        }
    }
}

#[test]
fn setting_and_removing_gives_the_tree_that_sops_gives() {
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    let text = "{\"a\": \"x\", \"m\": {\"k\": 1, \"l\": [1, {\"d\": 2}]}}";
    let yaml = "a: x\nm:\n    k: 1\n    l:\n        - 1\n        - d: 2\n";
    let map = Value::Map(vec![("n".into(), Value::Int(5)), ("e".into(), Value::Seq(vec![]))]);
    let cases = [
        ("[\"a\"]", "a", "\"new\"", Value::str("new")),
        ("[\"new\"][\"deep\"]", "new.deep", "true", Value::Bool(true)),
        ("[\"m\"][\"l\"][9]", "m.l.9", "null", Value::Null),
        ("[\"m\"][\"l\"][1][\"d\"]", "m.l.1.d", "\"\"", Value::str("")),
        ("[\"m\"]", "m", "{\"n\": 5, \"e\": []}", map),
        ("[\"a\"][\"b\"]", "a.b", "1", Value::Int(1)),
    ];
    for (kind, name, text) in [(JSON, "f.json", text), (YAML, "f.yaml", yaml)] {
        let sealed = encrypt(kind, text.as_bytes().into(), peers.metadata(&key), &key, None).unwrap();
        for (theirs, ours, json, value) in &cases {
            let file = EncryptedFile::parse(kind, sealed.clone()).unwrap();
            let changed = file.set(&key, &path(ours), value, MacCheck::Strict, LATER).unwrap().unwrap();
            let found = peers.sops_decrypt("3.13.3", name, changed.expose());
            let on_disk = peers.write(name, sealed.expose());
            peers.sops("3.13.3", &["set", name, theirs], std::path::Path::new(json));
            let wanted = peers.sops("3.13.3", &["decrypt"], &on_disk);
            let tree = |text: &[u8]| crate::exchange::as_sops_prints_all(tree(kind, &String::from_utf8_lossy(text)));
            assert_eq!(tree(&found), tree(&wanted), "{name} {ours}");
        }
        for (theirs, ours) in [
            ("[\"a\"]", "a"),
            ("[\"m\"][\"l\"][0]", "m.l.0"),
            ("[\"m\"]", "m"),
            ("[\"m\"][\"l\"][1][\"d\"]", "m.l.1.d"),
        ] {
            let file = EncryptedFile::parse(kind, sealed.clone()).unwrap();
            let changed = file.unset(&key, &path(ours), MacCheck::Strict, LATER).unwrap();
            let found = peers.sops_decrypt("3.13.3", name, changed.expose());
            let on_disk = peers.write(name, sealed.expose());
            peers.sops("3.13.3", &["unset", name], std::path::Path::new(theirs));
            let wanted = peers.sops("3.13.3", &["decrypt"], &on_disk);
            assert_eq!(
                tree(kind, &String::from_utf8_lossy(&found)),
                tree(kind, &String::from_utf8_lossy(&wanted)),
                "{name} {ours}"
            );
        }
    }
}

// sops makes items of comments in lists; decrypted they are comments again, where it prints them.
#[test]
fn a_file_of_sops_decrypts_to_the_text_that_sops_prints() {
    let peers = Peers::new();
    let text = "# top\na: x\nl:\n    # of y\n    - y\n    # of z\n    - z\nm:\n    # of k\n    k: v\n    e: {}\n    t: 2020-01-02T03:04:05Z\nonly:\n    - u\n# foot\n";
    for version in VERSIONS {
        let theirs = peers.sops_encrypt(version, &[], "f.yaml", text.as_bytes());
        let file = EncryptedFile::parse(YAML, SecretBytes::from(theirs.as_slice())).unwrap();
        let key = peers.data_key(file.metadata());
        let plain = file.decrypt(&key, MacCheck::Check).unwrap().text;
        let wanted = peers.sops_decrypt(version, "f.yaml", &theirs);
        assert_eq!(String::from_utf8_lossy(plain.expose()), String::from_utf8_lossy(&wanted), "{version}");
        // Comments have no index.
        assert_eq!(file.extract(&key, &path("l.1"), MacCheck::Check).unwrap(), Value::str("z"));
    }
}

#[test]
fn sops_rotates_and_edits_what_we_wrote() {
    let peers = Peers::new();
    let key = DataKey::generate().unwrap();
    for (kind, name, text, _) in FILES {
        for version in VERSIONS {
            let sealed = encrypt(kind, text.as_bytes().into(), peers.metadata(&key), &key, None).unwrap();
            let on_disk = peers.write(name, sealed.expose());
            peers.sops(version, &["rotate", "-i"], &on_disk);
            let rotated = std::fs::read(&on_disk).unwrap();
            let file = EncryptedFile::parse(kind, SecretBytes::from(rotated)).unwrap();
            let new_key = peers.data_key(file.metadata());
            assert!(new_key != key);
            file.decrypt(&new_key, MacCheck::Check).unwrap();
        }
    }
}
