//! A policy's text as rules.
//!
//! ```text
//! path "PATTERN" { capabilities = ["read", …] … }
//! ```
//!
//! `*` at the end of a pattern stands for anything, `+` for one segment. Source: the peer's documentation, and its answers.

use std::collections::BTreeMap;

use bulla_core::hcl::{self, Body, Item, Value};

use crate::logical::parse_seconds;

/// What a rule allows, as bits.
pub mod capability {
    /// Nothing, whatever else is allowed.
    pub const DENY: u16 = 1;
    /// Write where nothing is.
    pub const CREATE: u16 = 1 << 1;
    /// Read.
    pub const READ: u16 = 1 << 2;
    /// Write where something is.
    pub const UPDATE: u16 = 1 << 3;
    /// Delete.
    pub const DELETE: u16 = 1 << 4;
    /// Names below.
    pub const LIST: u16 = 1 << 5;
    /// Paths that only operators should use.
    pub const SUDO: u16 = 1 << 6;
    /// Change parts.
    pub const PATCH: u16 = 1 << 7;
    /// All names below.
    pub const SCAN: u16 = 1 << 8;

    /// Names in the order of the alphabet.
    pub const NAMES: [(&str, u16); 9] = [
        ("create", CREATE),
        ("delete", DELETE),
        ("deny", DENY),
        ("list", LIST),
        ("patch", PATCH),
        ("read", READ),
        ("scan", SCAN),
        ("sudo", SUDO),
        ("update", UPDATE),
    ];
}

use capability::{CREATE, DELETE, DENY, LIST, READ, SUDO, UPDATE};

/// A rule: what may be done below one pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The pattern, without the `*` at its end.
    pub pattern: String,
    /// Whether there was one.
    pub prefix: bool,
    /// What is allowed, and under which conditions.
    pub grant: Grant,
}

/// What is allowed, and under which conditions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// Bits of [`capability`].
    pub capabilities: u16,
    /// The answer must be wrapped for at least so many seconds.
    pub min_wrapping_ttl: Option<i64>,
    /// The answer must be wrapped for at most so many seconds.
    pub max_wrapping_ttl: Option<i64>,
    /// Fields that may be sent, with the values they may have (none: any). Empty: all fields.
    pub allowed: BTreeMap<String, Vec<Value>>,
    /// Fields that may not be sent, with the values (none: any).
    pub denied: BTreeMap<String, Vec<Value>>,
    /// Fields that must be sent.
    pub required: Vec<String>,
    /// How many names a listing has at most.
    pub page: Option<i64>,
    /// Until when it counts, in Unix seconds.
    pub expires: Option<i64>,
}

/// Reads a policy.
///
/// # Errors
/// The text for whoever wrote it.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let body = hcl::parse(text).map_err(|error| error.to_string())?;
    let mut rules = Vec::new();
    for item in &body.items {
        match item.keys.first().map(String::as_str) {
            Some("path") => rules.push(rule(item)?),
            // A name that older policies give themselves.
            Some("name") | None => {}
            Some(other) => return Err(format!("invalid key {other:?} on line {}", item.line)),
        }
    }
    Ok(rules)
}

fn rule(item: &Item) -> Result<Rule, String> {
    let [_, pattern] = item.keys.as_slice() else {
        return Err(format!("line {}: a rule is written path \"…\" {{ … }}", item.line));
    };
    let Value::Body(body) = &item.value else {
        return Err(format!("path {pattern:?}: its capabilities stand in a block"));
    };
    let fail = |what: String| format!("path {pattern:?}: {what}");
    if pattern.contains("{{") {
        return Err(fail("templates ({{…}}) need the identity engine, which this server does not have yet".to_owned()));
    }
    if pattern.contains("+*") {
        return Err(fail("invalid use of wildcards ('+*' is forbidden)".to_owned()));
    }
    let stripped = pattern.strip_prefix('/').unwrap_or(pattern);
    let (stripped, prefix) = stripped.strip_suffix('*').map_or((stripped, false), |stripped| (stripped, true));
    let grant = grant(body).map_err(fail)?;
    Ok(Rule { pattern: stripped.to_owned(), prefix, grant })
}

fn grant(body: &Body) -> Result<Grant, String> {
    let mut grant = Grant::default();
    let mut seen: Vec<&str> = Vec::new();
    for Item { keys, value, line } in &body.items {
        let [key] = keys.as_slice() else { return Err(format!("invalid key {:?} on line {line}", keys.join(" "))) };
        if seen.contains(&key.as_str()) {
            return Err(format!("{key:?} is there twice, again on line {line}"));
        }
        seen.push(key);
        let seconds = || {
            let text = value.text().ok_or_else(|| format!("{key} is a duration"))?;
            parse_seconds(&text).ok().filter(|seconds| *seconds >= 0).ok_or_else(|| format!("{key} is a duration"))
        };
        match key.as_str() {
            "capabilities" => {
                let Value::List(_) = value else { return Err("capabilities is a list".to_owned()) };
                for name in value.texts().ok_or("capabilities is a list of names")? {
                    let known = capability::NAMES.iter().find(|(known, _)| *known == name);
                    grant.capabilities |= known.ok_or_else(|| format!("invalid capability {name:?}"))?.1;
                }
            }
            "policy" => grant.capabilities |= legacy(&value.text().unwrap_or_default())?,
            "min_wrapping_ttl" => grant.min_wrapping_ttl = Some(seconds()?).filter(|seconds| *seconds > 0),
            "max_wrapping_ttl" => grant.max_wrapping_ttl = Some(seconds()?).filter(|seconds| *seconds > 0),
            "allowed_parameters" => grant.allowed = parameters(key, value)?,
            "denied_parameters" => grant.denied = parameters(key, value)?,
            "required_parameters" => {
                let names = value.texts().ok_or("required_parameters is a list of names")?;
                grant.required = names.iter().map(|name| name.to_lowercase()).collect();
            }
            "pagination_limit" => {
                let limit = value.text().and_then(|text| text.parse::<i64>().ok());
                grant.page = Some(limit.ok_or("pagination_limit is a number")?).filter(|limit| *limit > 0);
            }
            "expiration" => {
                let text = value.text().unwrap_or_default();
                grant.expires = if text.is_empty() { None } else { Some(instant(&text)?) };
            }
            "comment" => {}
            // Not to heed a limit would be to allow what it forbids.
            "list_scan_response_keys_filter_path" | "response_keys_filter_path" | "control_group" | "mfa_methods" => {
                return Err(format!("{key} on line {line} is not supported by this server"));
            }
            other => return Err(format!("invalid key {other:?} on line {line}")),
        }
    }
    if grant.capabilities & DENY != 0 {
        return Ok(Grant { capabilities: DENY, expires: grant.expires, ..Grant::default() });
    }
    if let (Some(min), Some(max)) = (grant.min_wrapping_ttl, grant.max_wrapping_ttl)
        && max < min
    {
        return Err("max_wrapping_ttl cannot be less than min_wrapping_ttl".to_owned());
    }
    Ok(grant)
}

/// A time: in RFC 3339, or Unix seconds.
fn instant(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    // Its part of a second is not given away.
    let time: jiff::Timestamp = text.parse().map_err(|_| format!("invalid expiration time: {text:?} is none"))?;
    Ok(time.as_second())
}

/// What `policy = "…"` stood for before there were capabilities.
fn legacy(name: &str) -> Result<u16, String> {
    let write = CREATE | READ | UPDATE | DELETE | LIST;
    Ok(match name {
        "deny" => DENY,
        "read" => READ | LIST,
        "write" => write,
        "sudo" => write | SUDO,
        other => return Err(format!("invalid policy {other:?}")),
    })
}

fn parameters(key: &str, value: &Value) -> Result<BTreeMap<String, Vec<Value>>, String> {
    let Value::Body(body) = value else { return Err(format!("{key} is a block")) };
    let mut parameters = BTreeMap::new();
    for item in &body.items {
        let ([name], Value::List(values)) = (item.keys.as_slice(), &item.value) else {
            return Err(format!("{key}: each name has a list of values"));
        };
        parameters.insert(name.to_lowercase(), values.clone());
    }
    Ok(parameters)
}
