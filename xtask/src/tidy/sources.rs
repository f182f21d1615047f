//! The source files themselves: size, first line, leftovers, and claims of the documents.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Finding;
use crate::process::Process;

/// Longest source file in lines, tests in it not counted. Past it a file is two ideas.
const LONGEST: usize = 600;

/// Files that may contain `unsafe`.
const UNSAFE: &[&str] = &["crates/core/src/memory.rs"];

pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let files = tracked(root)?;
    for file in &files {
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        let name = file.to_string_lossy();
        if name.ends_with(".rs") {
            source(&name, &text, &mut findings);
        }
        if name.ends_with(".md") {
            links(root, file, &text, &mut findings);
        }
    }
    manifests(root, &files, &mut findings);
    doors(root, &mut findings);
    Ok(findings)
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let listing = Process::new("git")
        .folder(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()?;
    let listing = String::from_utf8(listing)?;
    Ok(listing
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect())
}

fn source(name: &str, text: &str, findings: &mut Vec<Finding>) {
    let generated = text.starts_with("// @generated");
    let in_src = name.contains("/src/");
    if in_src && !generated && !text.starts_with("//!") && !text.starts_with("#!") {
        findings.push(format!("{name}:1: a file starts with what it is (`//! …`)"));
    }
    let own = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = own.lines().count();
    if in_src && !generated && lines > LONGEST {
        findings.push(format!("{name}: {lines} lines without tests: more than one idea? (limit {LONGEST})"));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        let number = number + 1;
        // Spelled in pieces, or this file would find itself.
        if code.contains(concat!("unsafe", " {")) && !UNSAFE.contains(&name) {
            findings.push(format!("{name}:{number}: unsafe code belongs to {}", UNSAFE.join(", ")));
        }
        if code.contains(concat!("#[ig", "nore")) {
            findings.push(format!("{name}:{number}: a test that never runs is no test"));
        }
        for leftover in [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("X", "XX")] {
            if line.contains(leftover) {
                findings.push(format!("{name}:{number}: {leftover}: do it, or make it an issue"));
            }
        }
    }
}

/// Relative links of Markdown files lead somewhere.
fn links(root: &Path, file: &Path, text: &str, findings: &mut Vec<Finding>) {
    let folder = root.join(file.parent().unwrap_or(Path::new("")));
    for (number, line) in text.lines().enumerate() {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:") && !folder.join(link).exists()
            {
                findings.push(format!("{}:{}: link to {link}, which does not exist", file.display(), number + 1));
            }
        }
    }
}

/// Every crate takes the workspace's lints and versions.
fn manifests(root: &Path, files: &[PathBuf], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| file.file_name().is_some_and(|name| name == "Cargo.toml")) {
        let name = file.to_string_lossy();
        let Ok(Ok(table)) = fs::read_to_string(root.join(file)).map(|text| text.parse::<toml::Table>()) else {
            findings.push(format!("{name}: not readable as TOML"));
            continue;
        };
        // The workspace's own; others are workspaces of their own.
        if name == "Cargo.toml" || name.starts_with("fuzz/") || name.starts_with("tests/interop/") {
            continue;
        }
        if table.get("lints").and_then(|lints| lints.get("workspace")) != Some(&toml::Value::Boolean(true)) {
            findings.push(format!("{name}: needs `[lints] workspace = true`"));
        }
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = table.get(section).and_then(toml::Value::as_table).into_iter().flatten();
            for (dependency, how) in dependencies {
                if how.get("workspace") != Some(&toml::Value::Boolean(true)) {
                    findings.push(format!("{name}: {dependency}: versions stand in the workspace's Cargo.toml only"));
                }
            }
        }
    }
}

/// The map of the code names every crate.
fn doors(root: &Path, findings: &mut Vec<Finding>) {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !map.contains(&format!("crates/{name}")) {
            findings.push(format!("ARCHITECTURE.md: does not say what crates/{name} is"));
        }
    }
}
