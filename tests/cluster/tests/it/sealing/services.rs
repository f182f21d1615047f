//! Keys that real key services wrap: AWS KMS (moto), OpenBao's transit engine, age.

use std::process::Command;

use bulla_cluster_tests::Namespace;
use bulla_test_support::bao::{Bao, with_root};
use bulla_test_support::moto::Moto;
use bulla_test_support::program;

use super::sealer::Sealer;
use super::{Keys, Operator, synced, value};

/// A SealedSecret is opened by whoever runs now.
fn opens(namespace: &Namespace, sealer: &Sealer, name: &str) {
    let sealed = sealer.seal(&namespace.name, name, &format!("the value of {name}"));
    namespace.apply(&serde_json::to_value(sealed).unwrap()).ok();
    namespace.eventually(name, || {
        value(namespace, name, "password") == format!("the value of {name}") && synced(namespace, name) == "True"
    });
}

#[test]
fn keys_wrapped_by_aws_kms_a_transit_engine_and_age_survive_the_loss_of_all_but_one() {
    let (namespace, keys) = (Namespace::new("services"), Keys::new());
    let (moto, bao) = (Moto::start(), Bao::start());
    let identity = keys.0.path().join("age");
    let made = Command::new(program("bin/age-keygen")).arg("-o").arg(&identity).output().unwrap();
    assert!(made.status.success());
    let recipient = Command::new(program("bin/age-keygen")).arg("-y").arg(&identity).output().unwrap();
    let recipient = String::from_utf8(recipient.stdout).unwrap().trim().to_owned();
    let (arn, transit) = (moto.create_key(), format!("{}/v1/{}", bao.url(), bao.make_key()));

    let in_the_cloud: Vec<_> = moto.env().into_iter().chain(with_root()).collect();
    let at_hand = vec![("SOPS_AGE_KEY_FILE".to_owned(), identity.display().to_string())];
    let start = |replica: &str, services: &[&str], variables: &[(String, String)]| {
        let flags = services.iter().flat_map(|service| ["--key-service", service]);
        let arguments: Vec<&str> =
            ["--namespace", &namespace.name, "--namespaces", &namespace.name].into_iter().chain(flags).collect();
        Operator::run(&keys, replica, &bulla_cluster_tests::kubeconfig(), &arguments, variables)
    };
    let all = [arn.as_str(), &transit, &recipient];
    bulla_cluster_tests::definitions();
    let operator = start("made", &all, &in_the_cloud).ready();
    let sealer = Sealer::of(&operator);
    opens(&namespace, &sealer, "first");
    let kinds = "jsonpath={.items[*].spec.wrapped.keyGroups[*].keys[*].kind}";
    let kinds = namespace.kubectl(&["get", "sealingkeys", "--output", kinds]).ok();
    assert_eq!(kinds.split(' ').count(), 3, "{kinds}");
    operator.end();

    // Started again, with everything there; without AWS; with neither, by the identity that lay in a safe.
    let operator = start("again", &all, &in_the_cloud).ready();
    opens(&namespace, &sealer, "again");
    operator.end();
    drop(moto);
    let operator = start("without-aws", &all, &in_the_cloud).ready();
    opens(&namespace, &sealer, "without-aws");
    operator.end();
    drop(bao);
    let operator = start("without-both", &all, &[in_the_cloud.as_slice(), &at_hand].concat()).ready();
    opens(&namespace, &sealer, "without-both");
    let log = operator.end();
    assert!(!log.contains("root-token-of-the-test") && !log.contains("AGE-SECRET-KEY"), "{log}");

    // Nobody is left who could open: it says who was asked.
    let operator = start("without-all", &all, &in_the_cloud);
    namespace.eventually("the reason", || {
        let (status, reason) = bulla_test_support::http(operator.api, "GET", "/readyz", &[], "");
        status == 503 && [&arn, &transit].iter().all(|service| reason.contains(service.as_str()))
    });
}
