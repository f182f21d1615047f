//! Arrows point one way: doors -> engines -> core. Doors never import each other; the binary alone sees them all.

use serde_json::Value;

use super::Finding;

/// What each crate of ours may depend on, of ours. A crate that is missing here is a finding too.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bulla-core", &[]),
    ("bulla-document", &["bulla-core"]),
    ("bulla-hybrid", &["bulla-core"]),
    ("bulla-kms", &["bulla-core", "bulla-hybrid"]),
    ("bulla-format", &["bulla-core", "bulla-document", "bulla-hybrid"]),
    ("bulla-template", &["bulla-core"]),
    ("bulla-kube", &["bulla-core"]),
    ("bulla-store", &["bulla-core", "bulla-kms"]),
    (
        "bulla-operator",
        &[
            "bulla-core",
            "bulla-document",
            "bulla-format",
            "bulla-hybrid",
            "bulla-kms",
            "bulla-kube",
            "bulla-store",
            "bulla-template",
        ],
    ),
    ("bulla-node", &["bulla-core", "bulla-kube", "bulla-store"]),
    ("bulla-listen", &[]),
    ("bulla-server", &["bulla-core", "bulla-kms", "bulla-listen"]),
    ("bulla-agent", &["bulla-core", "bulla-kms", "bulla-listen", "bulla-template"]),
    ("bulla-client", &["bulla-core", "bulla-kms"]),
    (
        "bulla-cli",
        &[
            "bulla-agent",
            "bulla-client",
            "bulla-core",
            "bulla-document",
            "bulla-format",
            "bulla-kms",
            "bulla-kube",
            "bulla-listen",
            "bulla-node",
            "bulla-operator",
            "bulla-server",
            "bulla-store",
            "bulla-template",
        ],
    ),
    ("bulla", &["bulla-cli", "bulla-core"]),
    ("bulla-test-support", &[]),
    ("bulla-cluster-tests", &["bulla-test-support"]),
    ("xtask", &["bulla-format", "bulla-kube", "bulla-node", "bulla-test-support"]),
];

pub fn check(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let ours: Vec<&Value> = packages.iter().filter(|package| package["source"].is_null()).collect();
    let names: Vec<&str> = ours.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in &ours {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            findings.push(format!("{name}: not in the map of layers (xtask/src/tidy/layers.rs, ARCHITECTURE.md)"));
            continue;
        };
        // What tests use is free: a test of a lower layer may use a real part of a higher one.
        let used = package["dependencies"].as_array().unwrap_or(&empty).iter().filter(|d| d["kind"] != "dev");
        for dependency in used.filter_map(|dependency| dependency["name"].as_str()) {
            if names.contains(&dependency) && !allowed.contains(&dependency) {
                findings.push(format!("{name}: must not depend on {dependency}"));
            }
        }
    }
    findings
}
