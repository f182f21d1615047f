//! What `check` found, for people and for programs.

use std::fmt::Write;

use bulla_core::KeyId;
use serde_json::json;

use super::{File, Finding, Origin, Report};
use crate::shell;

/// For people: configurations with what is wrong in them, files that were named, and files that are wrong.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    for config in &report.configs {
        for error in &config.errors {
            let _ = writeln!(out, "{}: error: {error}", config.path.display());
        }
        for warning in &config.warnings {
            let _ = writeln!(out, "{}: warning: {warning}", config.path.display());
        }
    }
    for file in &report.files {
        if file.origin == Origin::Named || file.finding.is_wrong() {
            let _ = writeln!(out, "{}: {}", file.path.display(), told(file));
        }
        if file.origin == Origin::Named {
            keys(&mut out, file);
        }
    }
    let wrong = report.files.iter().filter(|file| file.finding.is_wrong()).count();
    let encrypted = report.files.iter().filter(|file| file.is_encrypted()).count();
    let _ = writeln!(
        out,
        "{} configurations, {} files: {encrypted} encrypted, {wrong} not as they should be",
        report.configs.len(),
        report.files.len()
    );
    out
}

/// For programs.
pub(crate) fn json(report: &Report) -> serde_json::Value {
    let configs: Vec<_> = report
        .configs
        .iter()
        .map(|config| json!({"path": config.path.to_string_lossy(), "errors": config.errors, "warnings": config.warnings}))
        .collect();
    let files: Vec<_> = report
        .files
        .iter()
        .map(|file| {
            let (missing, extra) = match &file.finding {
                Finding::Drift { missing, extra, .. } => (shown(missing), shown(extra)),
                _ => (vec![], vec![]),
            };
            json!({
                "path": file.path.to_string_lossy(),
                "state": file.state(),
                "ok": !file.finding.is_wrong(),
                "rule": file.rule.as_ref().map(|rule| json!({
                    "config": rule.config.to_string_lossy(),
                    "number": rule.number,
                    "line": rule.line,
                    "groups": rule.groups.iter().map(|group| shown(group)).collect::<Vec<_>>(),
                    "shamir_threshold": rule.threshold,
                    "meets_every_file": rule.meets_all,
                })),
                "keys_missing": missing,
                "keys_extra": extra,
                "message": told(file),
            })
        })
        .collect();
    json!({"ok": !report.has_errors(), "configs": configs, "files": files})
}

impl File {
    fn is_encrypted(&self) -> bool {
        match self.finding {
            Finding::Fine | Finding::NoRule | Finding::Drift { .. } => true,
            Finding::Plain | Finding::Absent | Finding::ShouldBeEncrypted | Finding::Unknown(_) => false,
        }
    }

    fn state(&self) -> &'static str {
        match self.finding {
            Finding::Fine => "encrypted",
            Finding::Plain => "plain",
            Finding::Absent => "absent",
            Finding::ShouldBeEncrypted => "should-be-encrypted",
            Finding::NoRule => "encrypted-without-rule",
            Finding::Drift { .. } => "drift",
            Finding::Unknown(_) => "unknown",
        }
    }
}

fn told(file: &File) -> String {
    let path = shell::argument(&file.path);
    let rule = match &file.rule {
        Some(rule) => {
            let line = rule.line.map_or_else(String::new, |line| format!(" (line {line})"));
            format!("meets rule {} of {}{line}", rule.number, rule.config.display())
        }
        None => "meets no rule".to_owned(),
    };
    match &file.finding {
        Finding::Fine => format!("{rule}; encrypted for just its keys"),
        Finding::Plain => format!("{rule}; plain"),
        Finding::Absent => format!("{rule}; there is no such file"),
        Finding::NoRule => format!("{rule}; encrypted"),
        Finding::ShouldBeEncrypted => format!("error: {rule} and is plain; run: bulla encrypt --in-place {path}"),
        Finding::Drift { missing, extra, groups_differ } => {
            let mut text = format!("error: {rule} and is encrypted for others");
            for (what, keys) in [("cannot be opened by", missing), ("can be opened by", extra)] {
                if !keys.is_empty() {
                    let _ = write!(text, "; {what} {}", shown(keys).join(", "));
                }
            }
            if *groups_differ {
                text.push_str("; its key groups or threshold differ");
            }
            text + &format!("; run: bulla updatekeys {path}")
        }
        Finding::Unknown(problem) => format!("error: {problem}"),
    }
}

fn keys(out: &mut String, file: &File) {
    let Some(rule) = &file.rule else { return };
    for (index, group) in rule.groups.iter().enumerate() {
        if rule.groups.len() > 1 {
            let needed = rule.threshold.unwrap_or(rule.groups.len());
            let _ = writeln!(out, "  group {} ({needed} of {} are needed)", index + 1, rule.groups.len());
        }
        for key in group {
            let _ = writeln!(out, "  {} {key}", key.kind());
        }
    }
}

fn shown(keys: &[KeyId]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}
