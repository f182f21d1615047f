//! Tests of the repository itself: what a compiler does not check and a reviewer forgets.

mod layers;
mod licences;
mod sources;

use std::path::Path;

use anyhow::{Result, bail};

use crate::process::cargo;

/// One thing that is wrong, as `PLACE: what`.
pub type Finding = String;

/// Runs every check and prints all findings.
pub fn check(root: &Path) -> Result<()> {
    let metadata = cargo(root).args(["metadata", "--format-version", "1", "--locked"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata)?;
    let mut findings = layers::check(&metadata);
    findings.extend(licences::check(root, &metadata)?);
    findings.extend(sources::check(root)?);
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("tidy: layers, licences, bans, sources, lints, sizes and docs are in order");
    Ok(())
}
