//! `user_lockout` blocks.

use bulla_core::hcl::Body;

use super::{is_on, seconds, text};
use crate::core::lockout::{ByKind, Limits};

/// Reads a block. What it does not say is as the peer has it; `all` is not looked at for it.
///
/// # Errors
/// What is wrong.
pub fn read(kind: &str, body: &Body) -> Result<Limits, String> {
    let block = format!("user_lockout {kind:?}");
    if !ByKind::KINDS.contains(&kind.to_lowercase().as_str()) && !matches!(kind, "all" | "ldap") {
        return Err(format!("{block}: no method of this kind locks out; \"all\", \"approle\" and \"userpass\" do"));
    }
    let known = &["lockout_threshold", "lockout_duration", "lockout_counter_reset", "disable_lockout"];
    for name in body.items.iter().map(|item| item.keys.join(" ")) {
        if !known.contains(&name.as_str()) {
            // Somebody relies on a limit that would not be there.
            return Err(format!("{block}: {name} is not known; {} are", known.join(", ")));
        }
    }
    if is_on(body, "disable_lockout")? {
        return Ok(Limits::OFF);
    }
    let mut limits = Limits::default();
    if let Some(text) = text(body, "lockout_threshold") {
        let threshold = text.parse::<u64>().ok().filter(|threshold| *threshold > 0);
        limits.threshold = threshold
            .ok_or_else(|| format!("{block}: lockout_threshold is a number from 1; disable_lockout turns it off"))?;
    }
    let duration = |key: &str, otherwise| match body.value(key) {
        None => Ok(otherwise),
        Some(value) => seconds(&format!("{block}: {key}"), value)
            .map(|seconds| std::time::Duration::from_secs(seconds.unsigned_abs())),
    };
    limits.duration = duration("lockout_duration", limits.duration)?;
    limits.reset = duration("lockout_counter_reset", limits.reset)?;
    Ok(limits)
}
