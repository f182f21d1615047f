//! Opening without a cluster, and what is said when it does not open.

use bulla_format::sealed::{PrivateKey, RsaSize};

use crate::seal::{SECRET, Who, bulla, kubeseal, shape, world};

#[test]
fn keys_come_from_pem_key_secrets_and_lists() {
    use base64::Engine;
    let world = world();
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem", SECRET).ok();
    let encode = |name: &str| base64::prelude::BASE64_STANDARD.encode(world.read(name));
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: k}}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n",
        encode("cert.pem"),
        encode("key.pem")
    );
    world.write("secret.yaml", &secret);
    let item = secret.lines().map(|line| format!("  {line}\n")).collect::<String>().replacen("  ", "- ", 1);
    world.write("list.yaml", format!("apiVersion: v1\nkind: List\nitems:\n{item}"));
    let other = PrivateKey::generate_rsa(RsaSize::Bits4096).unwrap();
    world.write("other.pem", other.to_pem().unwrap().expose());
    for keys in
        ["key.pem", "secret.yaml", "list.yaml", "other.pem,key.pem", "other.pem --recovery-private-key list.yaml"]
    {
        for who in [Who::Theirs, Who::Ours] {
            let opened =
                kubeseal(&world, who, &format!("--recovery-unseal --recovery-private-key {keys}"), sealed.text()).ok();
            assert_eq!(shape(opened.text())["data"]["password"], "aHVudGVyMg==", "{keys} {who:?}");
        }
    }
    let run = kubeseal(&world, Who::Ours, "--recovery-unseal --recovery-private-key other.pem", sealed.text()).fails(1);
    assert!(run.stderr.contains("\"password\": no key at hand opens it here"), "{}", run.stderr);
    assert!(!run.stderr.contains("hunter2"));
}

#[test]
fn each_item_says_why_it_does_not_open() {
    let world = world();
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem -o yaml", SECRET).ok();
    let open = "seal --recovery-unseal --recovery-private-key key.pem";
    let moved = sealed.text().replacen(
        "metadata:\n",
        "metadata:\n  annotations: {sealedsecrets.bitnami.com/cluster-wide: \"true\"}\n",
        1,
    );
    let run = bulla(&world, open, &moved).fails(25);
    let says = r#"it was sealed for strict scope in namespace "shop" under the name "db""#;
    assert!(run.stderr.matches(says).count() == 3, "{}", run.stderr);

    let renamed = sealed.text().replacen("  name: db", "  name: other", 1);
    assert!(bulla(&world, open, &renamed).fails(25).stderr.contains(says));

    let mut damaged = sealed.text().to_owned();
    let end = damaged.find('\n').map(|_| damaged.find("password: ").unwrap()).unwrap();
    let end = end + damaged[end..].find('\n').unwrap();
    let last = end - 8;
    let letter = if &damaged[last..=last] == "A" { "B" } else { "A" };
    damaged.replace_range(last..=last, letter);
    let run = bulla(&world, open, &damaged).fails(25);
    assert!(
        run.stderr.contains("\"password\": it is sealed to the key") && run.stderr.contains("damaged"),
        "{}",
        run.stderr
    );
    assert_eq!(run.stderr.matches("damaged").count(), 1);
}

#[test]
fn a_scope_in_the_template_widens_nothing() {
    // CVE-2026-22728: the template's annotations are anybody's.
    let world = world();
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem --scope namespace-wide -o yaml", SECRET).ok();
    let template = sealed.text().rfind("sealedsecrets.bitnami.com/namespace-wide").unwrap();
    let mut widened = sealed.text().to_owned();
    widened.insert_str(template, "sealedsecrets.bitnami.com/cluster-wide: \"true\"\n        ");
    bulla(&world, "seal --recovery-unseal --recovery-private-key key.pem", &widened).ok();
    let own = sealed.text().replacen("namespace-wide", "cluster-wide", 1);
    bulla(&world, "seal --recovery-unseal --recovery-private-key key.pem", &own).fails(25);
}

#[test]
fn what_is_opened_is_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    world.write("sealed.json", kubeseal(&world, Who::Theirs, "--cert cert.pem", SECRET).ok().stdout);
    bulla(&world, "seal --recovery-unseal --recovery-private-key key.pem -f sealed.json -w plain.yaml", "").ok();
    assert_eq!(std::fs::metadata(world.path("plain.yaml")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(world.read("plain.yaml").starts_with("---\n"));
}
