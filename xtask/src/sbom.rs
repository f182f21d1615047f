//! What the shipped binary is made of: every crate that is compiled into it, with its licence and checksum.
//!
//! Format: `CycloneDX` 1.6 in JSON (ECMA-424), which scanners read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::cargo;

/// The bill of materials of the binary.
pub fn of_binary(root: &Path) -> Result<Value> {
    let metadata = cargo(root).args(["metadata", "--format-version", "1", "--locked"]).output()?;
    let metadata: Value = serde_json::from_slice(&metadata)?;
    let tree = cargo(root)
        .args(["tree", "--package", "bulla", "--locked", "--edges", "normal", "--target", "x86_64-unknown-linux-gnu"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()?;
    let tree = String::from_utf8(tree)?;
    let used: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.trim_start_matches('v')))
        })
        .collect();
    let checksums = checksums(&std::fs::read_to_string(root.join("Cargo.lock"))?)?;
    let mut components = Vec::new();
    let mut version = "";
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let (Some(name), Some(its_version)) = (package["name"].as_str(), package["version"].as_str()) else { continue };
        if !used.contains(&(name, its_version)) {
            continue;
        }
        if name == "bulla" {
            version = its_version;
            continue;
        }
        let mut component = json!({
            "type": "library",
            "name": name,
            "version": its_version,
            "purl": format!("pkg:cargo/{name}@{its_version}"),
        });
        if let Some(licence) = package["license"].as_str() {
            // Old manifests write OR as a slash.
            component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
        }
        if let Some(checksum) = checksums.get(&(name.to_owned(), its_version.to_owned())) {
            component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        components.push(component);
    }
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "bulla", "version": version}},
        "components": components,
    }))
}

fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = lock.parse().context("Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    Ok(packages
        .filter_map(|package| {
            let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            Some(((text("name")?, text("version")?), text("checksum")?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_crate_of_the_binary_is_listed_with_its_licence() {
        let bill = super::of_binary(&crate::root()).unwrap();
        let components = bill["components"].as_array().unwrap();
        assert!(components.len() > 50);
        assert!(components.iter().all(|component| !component["licenses"].is_null()));
        let foreign = components.iter().filter(|component| !component["name"].as_str().unwrap().starts_with("bulla"));
        assert!(foreign.into_iter().all(|component| !component["hashes"].is_null()));
        assert!(components.iter().any(|component| component["name"] == "rustls"));
        assert!(components.iter().all(|component| component["name"] != "xtask"));
    }
}
