//! `bulla seal` keeps a file's order and comments.

use crate::seal::{Who, bulla, kubeseal, shape, world};
use crate::world::encrypt_secret;

const COMMENTED: &str = "\
# The shop.
apiVersion: v1
kind: Secret # not for Git
metadata:
  # Found by the deployment.
  name: db
  namespace: shop
  labels: {app: shop}
data:
  # Changed in May.
  password: aHVudGVyMg== # base64

  second: eA==
# Entered by hand.
stringData:
    user: admin
    # A file.
    config: |
      a: 1

      b: 2
# As ever.
type: Opaque
---
# Not a Secret.
apiVersion: v1
kind: ConfigMap
metadata: {name: plain}
data:
  a: b
";

#[test]
fn order_and_comments_stay_and_other_objects_are_left_alone() {
    let world = world();
    let sealed = bulla(&world, "seal --cert cert.pem", COMMENTED).ok();
    assert_eq!(sealed.stderr, "");
    let values: Vec<_> = sealed
        .text()
        .lines()
        .map(|line| match line.find(": Ag") {
            Some(at) => {
                format!("{}: Ag…{}", &line[..at], line[at + 3..].find(' ').map_or("", |space| &line[at + 3 + space..]))
            }
            None => line.to_owned(),
        })
        .collect();
    let expected = "\
# The shop.
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret # not for Git
metadata:
  name: db
  namespace: shop
spec:
  encryptedData:
    # Changed in May.
    password: Ag… # base64

    second: Ag…
    # Entered by hand.
    user: Ag…
    # A file.
    config: Ag…
  template:
    metadata:
      # Found by the deployment.
      name: db
      namespace: shop
      labels: {app: shop}
    # As ever.
    type: Opaque
---
# Not a Secret.
apiVersion: v1
kind: ConfigMap
metadata: {name: plain}
data:
  a: b
";
    assert_eq!(values.join("\n") + "\n", expected);
    let secret = sealed.text().split("---\n").next().unwrap();
    let opened = kubeseal(&world, Who::Theirs, "--recovery-unseal --recovery-private-key key.pem", secret).ok();
    assert_eq!(shape(opened.text())["data"]["config"], "YTogMQoKYjogMgo=", "a: 1, an empty line, b: 2");
}

#[test]
fn a_layout_that_cannot_be_kept_is_written_anew_and_opens() {
    let world = world();
    for text in [
        "{apiVersion: v1, kind: Secret, metadata: {name: db, namespace: shop}, data: {password: aHVudGVyMg==}}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: &m\n  name: db\n  namespace: shop\nx: *m\ndata: {password: aHVudGVyMg==}\n",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\n  namespace: shop\ndata:\n  password: eA==\nstringData:\n  password: hunter2\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"metadata\": {\"name\": \"db\", \"namespace\": \"shop\"}, \"data\": {\"password\": \"aHVudGVyMg==\"}}",
        "  apiVersion: v1\n  kind: Secret\n  metadata: {name: db, namespace: shop}\n  data: {password: aHVudGVyMg==}\n",
    ] {
        let sealed = bulla(&world, "seal --cert cert.pem", text).ok();
        let opened =
            kubeseal(&world, Who::Theirs, "--recovery-unseal --recovery-private-key key.pem", sealed.text()).ok();
        assert_eq!(shape(opened.text())["data"]["password"], "aHVudGVyMg==", "{text}");
    }
}

#[test]
fn annotations_that_hold_a_copy_are_left_out_of_the_kept_text_too() {
    let world = world();
    let sealed = bulla(&world, "seal --cert cert.pem --scope cluster-wide", crate::seal::SECRET).ok();
    assert!(!sealed.text().contains("hunter2") && !sealed.text().contains("uid:"), "{}", sealed.text());
    let canonical = kubeseal(&world, Who::Theirs, "--cert cert.pem --scope cluster-wide", crate::seal::SECRET).ok();
    assert_eq!(shape(sealed.text()), shape(canonical.text()));
}

#[test]
fn a_file_is_replaced_in_place() {
    let world = world();
    world.write("secret.yaml", COMMENTED);
    bulla(&world, "seal --cert cert.pem -i secret.yaml", "").ok();
    assert!(world.read("secret.yaml").contains("encryptedData:") && !world.read("secret.yaml").contains("admin"));
    // Sealed already: no Secret is left in it, and it stays.
    let before = world.read("secret.yaml");
    bulla(&world, "seal --cert cert.pem -i secret.yaml", "").fails(2);
    assert_eq!(world.read("secret.yaml"), before);
}

#[test]
fn a_file_of_sops_becomes_a_sealed_secret() {
    let world = world();
    world.write("secret.enc.yaml", COMMENTED.split("---\n").next().unwrap());
    world.real(&encrypt_secret("secret.enc.yaml")).ok();
    let sealed = bulla(&world, "seal --cert cert.pem --from sops secret.enc.yaml", "").ok();
    assert!(!sealed.text().contains("sops"), "{}", sealed.text());
    assert!(sealed.text().contains("# Changed in May."));
    let opened = kubeseal(&world, Who::Theirs, "--recovery-unseal --recovery-private-key key.pem", sealed.text()).ok();
    assert_eq!(shape(opened.text())["data"]["user"], "YWRtaW4=");
}
