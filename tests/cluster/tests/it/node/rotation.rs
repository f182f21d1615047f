//! A class that changes reaches what is mounted, before the kubelet asks again.

use std::time::{Duration, Instant};

use bulla_cluster_tests::Namespace;
use serde_json::json;

use super::{Door, cat, class};

/// Well below the minute after which the kubelet asks.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_changed_class_reaches_its_files_at_once() {
    let door = Door::shared();
    let namespace = Namespace::new("rotation");
    let counted = json!({"objectName": "counted", "counted": true});
    let named = |contents: &str| json!({"objectName": "named", "contents": contents});
    namespace.apply(&class("app", &json!([counted, named("old")]))).ok();
    namespace.apply(&door.pod("p", "app")).ok();
    namespace.wait_for_pod("p", "Running");
    let read = || cat(&namespace, "p", "/secrets/counted") + " " + &cat(&namespace, "p", "/secrets/named");
    assert_eq!(read(), "1 old");

    let begun = Instant::now();
    namespace.kubectl(&["annotate", "secretproviderclass", "app", "bulla.dev/refresh=now"]).ok();
    namespace.eventually("what was asked for anew", || read() == "2 old");
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    let status = format!("secretproviderclasspodstatus/p-{}-app", namespace.name);
    let version = || namespace.field(&status, ".status.objects[0].version");
    namespace.eventually("its version", || version() == "v2");

    let begun = Instant::now();
    let mut changed = class("app", &json!([counted, named("new")]));
    changed["metadata"]["annotations"] = json!({"bulla.dev/refresh": "now"});
    namespace.apply(&changed).ok();
    namespace.eventually("what has changed", || read() == "3 new");
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    let of = "--field-selector=involvedObject.name=p,reason=MountRotationComplete";
    namespace.eventually("the event", || !namespace.kubectl(&["get", "events", of, "-o", "name"]).ok().is_empty());

    // A pod may ask, too.
    let begun = Instant::now();
    namespace.kubectl(&["annotate", "pod", "p", "bulla.dev/refresh=now"]).ok();
    namespace.eventually("what the pod asked for", || read() == "4 new");
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());

    // A class that is gone takes nothing from a pod that runs.
    namespace.kubectl(&["delete", "secretproviderclass", "app"]).ok();
    let of = "--field-selector=involvedObject.name=p,reason=MountRotationFailed";
    namespace.eventually("the warning", || !namespace.kubectl(&["get", "events", of, "-o", "name"]).ok().is_empty());
    assert_eq!(read(), "4 new");
}
