//! What goes wrong with one pod is said to it, and harms no other.

use bulla_cluster_tests::Namespace;
use serde_json::json;

use super::{Door, cat, class, complaints};

#[test]
fn a_pod_whose_class_is_missing_waits_for_it_alone() {
    let door = Door::shared();
    let namespace = Namespace::new("missing");
    let objects = json!([{"objectName": "a", "contents": "x"}]);
    namespace.apply(&class("app", &objects)).ok();
    namespace.apply(&door.pod("waits", "later")).ok();
    let complaint = format!("SecretProviderClass {}/later does not exist", namespace.name);
    namespace.eventually("the complaint", || complaints(&namespace, "waits").contains(&complaint));
    namespace.apply(&door.pod("runs", "app")).ok();
    namespace.wait_for_pod("runs", "Running");
    // It comes when its class does.
    namespace.apply(&class("later", &objects)).ok();
    namespace.wait_for_pod("waits", "Running");
    assert_eq!(cat(&namespace, "waits", "/secrets/a"), "x");
}

#[test]
fn what_a_provider_complains_of_reaches_the_pod() {
    let door = Door::shared();
    let namespace = Namespace::new("refused");
    let mut unknown = class("unknown", &json!([]));
    unknown["spec"]["provider"] = "nobody".into();
    let mut fails = class("fails", &json!([]));
    fails["spec"]["parameters"]["failure"] = "the far side has no such secret".into();
    let mut denied = class("denied", &json!([]));
    denied["spec"]["parameters"]["audience"] = "somebody-else".into();
    let hostile = class("hostile", &json!([{"objectName": "../../escape", "contents": "x"}]));
    for (class, complaint) in [
        (unknown, "there is no provider \"nobody\"; known are test"),
        (fails, "test: the far side has no such secret"),
        (denied, "test: service account token for audience somebody-else is not set"),
        (hostile, "test: its answer is refused"),
    ] {
        let name = class["metadata"]["name"].as_str().unwrap();
        namespace.apply(&class).ok();
        namespace.apply(&door.pod(name, name)).ok();
        namespace.eventually(complaint, || complaints(&namespace, name).contains(complaint));
    }
}
