//! Licences, bans and sources of all dependencies, by `deny.toml`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;
use crate::process::cargo;

pub fn check(root: &Path, metadata: &Value) -> Result<Vec<Finding>> {
    let deny: toml::Table = std::fs::read_to_string(root.join("deny.toml"))?.parse().context("deny.toml")?;
    let policy = Policy::read(&deny)?;
    let mut findings = Vec::new();
    let used = compiled(root)?;
    for package in metadata["packages"].as_array().context("cargo metadata has no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        if !used.contains(&format!("{name} v{version}")) {
            continue;
        }
        let Some(source) = package["source"].as_str() else { continue };
        if !policy.registries.iter().any(|registry| source.strip_prefix("registry+") == Some(registry.as_str())) {
            findings.push(format!("{name} {version}: comes from {source}, which deny.toml does not allow"));
        }
        if policy.banned.iter().any(|banned| banned == name) {
            findings.push(format!("{name} {version}: banned in deny.toml"));
        }
        match package["license"].as_str() {
            Some(licence) if policy.accepts(name, licence) => {}
            Some(licence) => {
                findings.push(format!("{name} {version}: licence {licence:?} is not allowed in deny.toml"));
            }
            None => findings.push(format!("{name} {version}: states no licence")),
        }
    }
    Ok(findings)
}

/// Name and version of all packages that a build of the workspace compiles, as `NAME vVERSION`. (What `cargo metadata` resolves
/// names optional dependencies too that nobody enables.)
fn compiled(root: &Path) -> Result<BTreeSet<String>> {
    let tree = cargo(root)
        .args(["tree", "--workspace", "--locked", "--all-features", "--edges", "normal,build,dev"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--prefix", "none", "--format", "{p}"])
        .output()?;
    let tree = String::from_utf8(tree)?;
    Ok(tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect())
}

struct Policy {
    allowed: Vec<String>,
    exceptions: Vec<(String, Vec<String>)>,
    banned: Vec<String>,
    registries: Vec<String>,
}

impl Policy {
    fn read(deny: &toml::Table) -> Result<Self> {
        let strings = |value: Option<&toml::Value>| -> Vec<String> {
            let items = value.and_then(toml::Value::as_array);
            items.into_iter().flatten().filter_map(|item| item.as_str().map(ToOwned::to_owned)).collect()
        };
        let tables = |section: &str, key: &str| -> Vec<toml::Table> {
            let items = deny.get(section).and_then(|section| section.get(key)).and_then(toml::Value::as_array);
            items.into_iter().flatten().filter_map(|item| item.as_table().cloned()).collect()
        };
        let name =
            |table: &toml::Table| table.get("crate").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let licenses = deny.get("licenses").context("deny.toml has no [licenses]")?;
        let sources = deny.get("sources").context("deny.toml has no [sources]")?;
        Ok(Self {
            allowed: strings(licenses.get("allow")),
            exceptions: tables("licenses", "exceptions").iter().map(|t| (name(t), strings(t.get("allow")))).collect(),
            banned: tables("bans", "deny").iter().map(name).collect(),
            registries: strings(sources.get("allow-registry")),
        })
    }

    fn accepts(&self, package: &str, expression: &str) -> bool {
        let exception = self.exceptions.iter().find(|(name, _)| name == package);
        let allowed = |licence: &str| {
            self.allowed.iter().any(|allowed| allowed == licence)
                || exception.is_some_and(|(_, extra)| extra.iter().any(|allowed| allowed == licence))
        };
        satisfied(expression, &allowed)
    }
}

/// Whether an SPDX expression can be met. `OR` binds weaker than `AND`; the old `/` means `OR`.
fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    any(&mut rest, allowed) && rest.is_empty()
}

fn any(tokens: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = all(tokens, allowed);
    while let Some((&"OR", rest)) = tokens.split_first() {
        *tokens = rest;
        met |= all(tokens, allowed);
    }
    met
}

fn all(tokens: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut met = one(tokens, allowed);
    while let Some((&"AND", rest)) = tokens.split_first() {
        *tokens = rest;
        met &= one(tokens, allowed);
    }
    met
}

fn one(tokens: &mut &[&str], allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some((&first, rest)) = tokens.split_first() else { return false };
    *tokens = rest;
    if first == "(" {
        let met = any(tokens, allowed);
        return match tokens.split_first() {
            Some((&")", rest)) => {
                *tokens = rest;
                met
            }
            _ => false,
        };
    }
    match *tokens {
        ["WITH", exception, rest @ ..] => {
            *tokens = rest;
            allowed(&format!("{first} WITH {exception}"))
        }
        _ => allowed(first),
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    fn mit_or_apache(licence: &str) -> bool {
        licence == "MIT" || licence == "Apache-2.0 WITH LLVM-exception"
    }

    #[test]
    fn an_expression_is_met_by_what_is_allowed_and_no_other() {
        for met in
            ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR MIT", "(GPL-3.0 OR MIT) AND MIT", "Apache-2.0 WITH LLVM-exception OR X"]
        {
            assert!(satisfied(met, &mit_or_apache), "{met}");
        }
        for unmet in
            ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT", "MIT)", "MIT MIT", "MIT AND (GPL-3.0 OR X)"]
        {
            assert!(!satisfied(unmet, &mit_or_apache), "{unmet}");
        }
    }
}
