//! `.sops.yaml`: what sops takes we take, what it refuses we refuse, and both make the same of it.

use bulla_core::{KeyId, SecretBytes};
use bulla_document::Syntax;
use bulla_format::sops::config::Config;
use bulla_format::sops::{EncryptedFile, FileKind, Rules};

use crate::peers::{Peers, VERSIONS};

/// What comes of encrypting `x.yaml` under a configuration; `R` in it is a recipient.
enum Outcome {
    Encrypts,
    NoRule,
    Fails,
}
use Outcome::{Encrypts, Fails, NoRule};

const CASES: &[(&str, Outcome)] = &[
    ("creation_rules:\n  - age: R\n    unknown_field: 3\nfoo: bar\n", Encrypts),
    ("creation_rules:\n  - age: R\n    path_regex: 5\n", NoRule),
    ("creation_rules:\n  - age: R\n    path_regex: null\n", Encrypts),
    ("creation_rules:\n  - age: R\n    path_regex: \\.yaml$\n    encrypted_regex: ^a\n", Encrypts),
    ("creation_rules:\n  - age: R\n    shamir_threshold: '2'\n", Fails),
    ("creation_rules:\n  - age: R\n    shamir_threshold: 1.0\n", Encrypts),
    ("creation_rules:\n  - age: R\n    mac_only_encrypted: 'true'\n", Fails),
    ("creation_rules:\n  - age: R\n    mac_only_encrypted: yes\n", Encrypts),
    ("creation_rules:\n  - age: R\n    mac_only_encrypted: true\n    unencrypted_suffix: _pt\n", Encrypts),
    ("creation_rules:\n  - age: R\n    age: R\n", Fails),
    ("creation_rules:\n  age: R\n", Fails),
    ("creation_rules: []\n", NoRule),
    ("creation_rules:\n  - age: R\n    path_regex: '('\n", Fails),
    ("creation_rules:\n  - path_regex: nope\n    age: R\n", NoRule),
    ("creation_rules:\n  - path_regex: x\n    age: R\n  - path_regex: '('\n    age: R\n", Encrypts),
    ("creation_rules:\n  - path_regex: x\n    age: R\n  - path_regex: y\n    age: nope\n", Encrypts),
    ("creation_rules:\n  - path_regex: x\n    age: nope\n", Fails),
    ("creation_rules:\n  - age: R\n    encrypted_regex: a\n    encrypted_suffix: b\n", Fails),
    ("creation_rules:\n  - age: [R, 5]\n", Fails),
    ("creation_rules:\n  - age: {a: b}\n", Fails),
    ("creation_rules:\n  - age: 5\n", Fails),
    ("creation_rules:\n  - age: ['R,R']\n", Encrypts),
    ("creation_rules:\n  - age: 'R, ,'\n", Encrypts),
    ("creation_rules:\n  - age: ['R, ,']\n", Fails),
    ("creation_rules:\n  - key_groups:\n    - age: R\n", Fails),
    ("creation_rules:\n  - key_groups:\n    - age: [R]\n      merge:\n      - age: [R]\n    age: nope\n", Encrypts),
    ("creation_rules:\n  - key_groups:\n    - age: [R]\n    - age: [R]\n    shamir_threshold: 2\n", Encrypts),
    ("creation_rules:\n  - key_groups:\n    - age: [R]\n    - {}\n", Fails),
    ("creation_rules:\n  - key_groups: []\n    age: R\n", Encrypts),
    ("creation_rules:\n  - age: R\nstores:\n  yaml:\n    indent: x\n", Fails),
    ("creation_rules:\n  - age: R\nstores:\n  yaml:\n    indent: 2\n  json: {indent: -1}\n", Encrypts),
    ("- a\n", Fails),
    ("creation_rules:\n  - age: R\n    hckms: 'a:b'\n", Fails),
    ("creation_rules:\n  - age: R\n    unencrypted_regex: 5\n", Encrypts),
    ("creation_rules:\n  - &a\n    age: R\n  - *a\n", Encrypts),
    ("x: &k [R]\ncreation_rules:\n  - age: *k\n", Encrypts),
    ("x: &r {age: R, encrypted_regex: ^a}\ncreation_rules:\n  - <<: *r\n    path_regex: x\n", Encrypts),
    ("creation_rules:\n  - hc_vault_transit_uri: http://x\n", Fails),
    (
        "creation_rules:\n  - age: R\ndestination_rules:\n  - s3_bucket: b\n    path_regex: x\n    recreation_rule:\n      pgp: F\n",
        Encrypts,
    ),
    ("creation_rules:\n  - path_regex: (?i)^X\\.\n    age: R\n", Encrypts),
    ("creation_rules:\n  - path_regex: ^\\w+\\.y[[:alpha:]]ml$\n    age: R\n", Encrypts),
    ("creation_rules: [\n", Fails),
];

#[test]
fn configurations_mean_what_they_mean_to_sops() {
    let peers = Peers::new();
    let input = peers.write("x.yaml", b"a: 1\nb: 2\n");
    for (text, outcome) in CASES {
        let text = text.replace('R', &peers.recipient);
        peers.write(".sops.yaml", text.as_bytes());
        let ours = Config::parse(text.as_bytes()).and_then(|config| {
            let rule = config.rule_for("x.yaml")?;
            Ok(rule.map(|(_, rule)| rule.clone()))
        });
        for version in VERSIONS {
            let theirs = peers.try_sops(version, &["encrypt"], &input);
            let said = String::from_utf8_lossy(&theirs.stderr);
            match outcome {
                Encrypts => {
                    assert!(theirs.status.success(), "sops {version} refuses\n{text}\n{said}");
                    let kind = FileKind::Text(Syntax::Yaml);
                    let file = EncryptedFile::parse(kind, SecretBytes::from(theirs.stdout)).unwrap();
                    let Ok(Some(rule)) = &ours else { panic!("we refuse\n{text}\n{ours:?}") };
                    let mut rules = rule.rules.clone();
                    // What sops writes where no rule is set.
                    if rules.selectors().iter().all(|(_, value)| value.is_none()) {
                        rules.unencrypted_suffix = Some(Rules::DEFAULT_UNENCRYPTED_SUFFIX.to_owned());
                    }
                    // sops 3.11 reads `yes` as it should; both write the rule that is set.
                    assert_eq!(file.metadata().rules.selectors(), rules.selectors(), "{text}");
                    let mut keys: Vec<Vec<KeyId>> = Vec::new();
                    for group in &file.metadata().groups {
                        let mut group: Vec<_> = group.iter().map(|key| key.id.clone()).collect();
                        group.dedup();
                        keys.push(group);
                    }
                    assert_eq!(rule.groups, keys, "{text}");
                }
                NoRule => {
                    assert!(!theirs.status.success() && said.contains("no matching creation rules"), "{said}\n{text}");
                    assert!(matches!(ours, Ok(None)), "{text}\n{ours:?}");
                }
                Fails => {
                    assert!(!theirs.status.success(), "sops {version} takes\n{text}");
                    assert!(ours.is_err(), "we take\n{text}");
                }
            }
        }
    }
}

#[test]
fn every_kind_of_key_is_read_as_a_list_and_as_one_text() {
    let direct = "creation_rules:\n  - kms: arn:aws:kms:eu:1:key/a+arn:aws:iam::1:role/r, arn:aws:kms:eu:1:key/b\n    aws_profile: p\n    pgp: [AA BB, CC]\n    gcp_kms: projects/p\n    hckms: ['r:u']\n    azure_keyvault: https://v.vault.azure.net/keys/n/1\n    hc_vault_transit_uri: https://h:8200/v1/transit/keys/k\n    age: age1x\n";
    let groups = "creation_rules:\n  - key_groups:\n    - kms: [{arn: 'arn:aws:kms:eu:1:key/a', role: 'arn:aws:iam::1:role/r', aws_profile: p}, {arn: 'arn:aws:kms:eu:1:key/b', aws_profile: p}]\n      pgp: [AA BB, CC]\n      gcp_kms: [{resource_id: projects/p}]\n      hckms: [{key_id: 'r:u'}]\n      azure_keyvault: [{vaultUrl: 'https://v.vault.azure.net', key: n, version: '1'}]\n      hc_vault: ['https://h:8200/v1/transit/keys/k']\n      age: [age1x]\n";
    let keys = |text: &str| {
        let config = Config::parse(text.as_bytes()).unwrap();
        let (_, rule) = config.rule_for("any").unwrap().unwrap();
        assert_eq!(rule.groups.len(), 1);
        rule.groups[0].clone()
    };
    assert_eq!(keys(direct), keys(groups));
    let kinds: Vec<_> = keys(direct).iter().map(KeyId::kind).collect();
    assert_eq!(kinds, ["age", "pgp", "pgp", "kms", "kms", "gcp_kms", "hckms", "azure_kv", "hc_vault"]);
}

#[test]
fn a_context_is_only_read_in_groups() {
    let config =
        Config::parse(b"creation_rules:\n  - key_groups:\n    - kms: [{arn: a, context: {x: y, n: 5}}]\n").unwrap();
    let (_, rule) = config.rule_for("any").unwrap().unwrap();
    let KeyId::AwsKms { context, .. } = &rule.groups[0][0] else { panic!("another kind") };
    assert_eq!(context.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["n=5", "x=y"]);
}

#[test]
fn what_is_wrong_is_said_with_the_rule_the_field_and_the_line() {
    for (text, words) in [
        ("creation_rules:\n  - age: a\n  - age: [5]\n", ["line 3", "creation_rules[1].age[0]"]),
        ("creation_rules:\n  - path_regex: '('\n", ["line 2", "path_regex"]),
        ("creation_rules:\n  - encrypted_regex: '('\n    age: age1x\n", ["line 2", "encrypted_regex"]),
        (
            "creation_rules:\n  - age: age1x\n    shamir_threshold: many\n",
            ["line 3", "creation_rules[0].shamir_threshold"],
        ),
    ] {
        let message = match Config::parse(text.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(config) => config.problems().collect::<Vec<_>>().join("\n"),
        };
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn what_is_not_known_is_listed() {
    let config = Config::parse(
        b"a: 1\ncreation_rules:\n  - age: age1x\n    patH_regex: x\n  - key_groups: [{agee: []}]\nstores: {toml: {}}\n",
    )
    .unwrap();
    let warnings = config.warnings.join("\n");
    for word in ["line 1: a ", "line 4: creation_rules[0].patH_regex", "key_groups[0].agee", "stores.toml"] {
        assert!(warnings.contains(word), "{warnings}");
    }
}

#[test]
fn indents_and_destinations_are_kept() {
    let text = "stores: {yaml: {indent: 2}, json: {indent: 0}}\ndestination_rules:\n  - path_regex: x\n    s3_bucket: b\n    s3_prefix: p/\n    omit_extensions: true\n    recreation_rule: {age: age1x}\n  - vault_path: v\n    vault_kv_version: 1\n";
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.indent.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["json=0", "yaml=2"]);
    assert_eq!(config.destination_rules[0].s3, Some(("b".to_owned(), "p/".to_owned())));
    assert!(config.destination_rules[0].omit_extensions);
    assert_eq!(config.destination_rules[0].recreation_rule.groups.len(), 1);
    assert_eq!(config.destination_rules[1].vault.as_ref().unwrap().kv_version, 1);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn an_empty_file_has_no_rules() {
    for text in ["", "# only a comment\n", "creation_rules:\n", "null\n", "---\n"] {
        let config = Config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(config.creation_rules.is_empty());
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(creation_rules:|\\n|  |- |age: |key_groups: |merge: |stores: |[\\[\\]{},:&*a!|>#'\"]|<<: ){0,24}") {
        if let Ok(config) = Config::parse(text.as_bytes()) {
            let _ = config.rule_for("x.yaml");
            let _ = config.problems().count();
        }
    }
}
