//! Whether a text is a policy, as far as that is seen without a server: what the peer refuses before it writes anything.

use super::{Body, Item, List, Value, items, unquoted};

/// Checks all rules.
///
/// # Errors
/// What is wrong with one, and where.
pub(super) fn check(body: &Body) -> Result<(), String> {
    for item in items(body) {
        match name(item) {
            "path" => path(item)?,
            // That older policies give themselves.
            "name" => text(item).map(drop)?,
            other => return Err(format!("invalid key {other:?} on line {}", item.lines.first)),
        }
    }
    Ok(())
}

fn path(item: &Item) -> Result<(), String> {
    let path = item.keys.get(1).map_or("path", |key| unquoted(key));
    let fail = |why: String| format!("path {path:?}: {why}");
    let Value::Object(rules) = &item.value else {
        return Err(fail(format!("it has no rules (line {})", item.lines.first)));
    };
    for rule in items(rules) {
        if !KEYS.contains(&name(rule)) {
            return Err(fail(format!("invalid key {:?} on line {}", name(rule), rule.lines.first)));
        }
    }
    if path.contains("+*") {
        return Err(fail("invalid use of wildcards ('+*' is forbidden)".to_owned()));
    }
    let mut limits = [0.0; 2];
    for rule in items(rules) {
        match name(rule) {
            "policy" => {
                let policy = text(rule).map_err(fail)?;
                if !matches!(policy, "deny" | "read" | "write" | "sudo") {
                    return Err(fail(format!("invalid policy {policy:?}")));
                }
            }
            "capabilities" => {
                for capability in texts(rule).map_err(fail)? {
                    if !CAPABILITIES.contains(&capability) {
                        return Err(fail(format!("invalid capability {capability:?}")));
                    }
                }
            }
            "required_parameters" | "mfa_methods" => drop(texts(rule).map_err(fail)?),
            "allowed_parameters" | "denied_parameters" => parameters(rule).map_err(fail)?,
            "pagination_limit" => {
                let limit = text(rule).map_err(fail)?;
                limit.parse::<i64>().map_err(|_| fail(format!("pagination_limit: {limit:?} is no number")))?;
            }
            "expiration" => time(text(rule).map_err(fail)?).map_err(fail)?,
            "min_wrapping_ttl" => limits[0] = seconds(rule)?,
            "max_wrapping_ttl" => limits[1] = seconds(rule)?,
            "list_scan_response_keys_filter_path" => {
                let lists =
                    items(rules).find(|one| name(one) == "capabilities").map(texts).transpose().map_err(fail)?;
                if !lists.is_some_and(|names| names.contains(&"list")) {
                    let why = "list_scan_response_keys_filter_path needs to be used on a path with the list capability";
                    return Err(why.to_owned());
                }
            }
            _ => {}
        }
    }
    match limits {
        [min, max] if min != 0.0 && max != 0.0 && max < min => {
            Err("max_wrapping_ttl cannot be less than min_wrapping_ttl".to_owned())
        }
        _ => Ok(()),
    }
}

fn name(item: &Item) -> &str {
    item.keys.first().map_or("", |key| unquoted(key))
}

fn text(item: &Item) -> Result<&str, String> {
    match &item.value {
        Value::Plain(text) => Ok(unquoted(text)),
        _ => Err(format!("{} on line {} is one value", name(item), item.lines.first)),
    }
}

fn texts(item: &Item) -> Result<Vec<&str>, String> {
    let bad = || format!("{} on line {} is a list of texts", name(item), item.lines.first);
    let Value::List(List { elements, .. }) = &item.value else { return Err(bad()) };
    let each = elements.iter().map(|element| match &element.value {
        Value::Plain(text) => Ok(unquoted(text)),
        _ => Err(bad()),
    });
    each.collect()
}

/// Names, each with a list.
fn parameters(item: &Item) -> Result<(), String> {
    let bad = |item: &Item| format!("{} on line {}: each name has a list", name(item), item.lines.first);
    let Value::Object(body) = &item.value else { return Err(bad(item)) };
    let is_list = |item: &Item| matches!(item.value, Value::List(_));
    items(body).find(|item| !is_list(item)).map_or(Ok(()), |item| Err(bad(item)))
}

/// A time: in RFC 3339, or Unix seconds.
fn time(given: &str) -> Result<(), String> {
    let is_time = given.is_empty() || given.parse::<i64>().is_ok() || given.parse::<jiff::Timestamp>().is_ok();
    if is_time { Ok(()) } else { Err(format!("invalid expiration time: {given:?} is none")) }
}

/// A duration, in seconds: a number, or numbers with units.
fn seconds(item: &Item) -> Result<f64, String> {
    let bad = || format!("error parsing {}: line {} has no duration", name(item), item.lines.first);
    let given = text(item).map_err(|_| bad())?.trim();
    let (sign, rest) = match given.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, given),
    };
    if rest.is_empty() && given.is_empty() || rest.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty() {
        return if rest.is_empty() {
            Ok(0.0)
        } else {
            rest.parse::<f64>().map(|number| sign * number).map_err(|_| bad())
        };
    }
    let (mut total, mut rest) = (0.0, rest);
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..at].parse().map_err(|_| bad())?;
        let units = UNITS.iter().find(|(unit, _)| rest[at..].starts_with(unit)).ok_or_else(bad)?;
        total += number * units.1;
        rest = &rest[at + units.0.len()..];
    }
    Ok(sign * total)
}

/// Longer names before those that they begin with.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86_400.0),
];
const KEYS: [&str; 13] = [
    "policy",
    "capabilities",
    "allowed_parameters",
    "denied_parameters",
    "required_parameters",
    "min_wrapping_ttl",
    "max_wrapping_ttl",
    "mfa_methods",
    "control_group",
    "expiration",
    "comment",
    "pagination_limit",
    "list_scan_response_keys_filter_path",
];
const CAPABILITIES: [&str; 9] = ["deny", "create", "read", "update", "delete", "list", "sudo", "patch", "scan"];
