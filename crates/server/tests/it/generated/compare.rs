//! Where two answers differ.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::wire::Answer;
use crate::own;

/// Names whose texts are each server's own, beside those of all comparisons.
const ALSO_OWN: &[&str] = &["id"];
/// Names whose values are a time, or counted.
const TIMES: &[&str] = &["server_time_utc", "creation_time_unix", "creation_time", "last_renewal_time", "encryptions"];
/// The same of random ones.
const ALSO_RANDOM: &[&str] = &["role_id", "plaintext", "derived_key", "csr"];

/// `PART: theirs | ours`, for each part of the answers that is not the same. `passed`: since the two were in the same state with nothing in them.
pub fn differences(theirs: &Answer, ours: &Answer, passed: Duration) -> Vec<String> {
    if theirs.status != ours.status {
        return vec![format!("status: {} {} | {} {}", theirs.status, theirs.body, ours.status, ours.body)];
    }
    let mut found = Vec::new();
    let names: std::collections::BTreeSet<_> = theirs.headers.keys().chain(ours.headers.keys()).collect();
    for name in names {
        let [theirs, ours] = [theirs, ours].map(|answer| answer.headers.get(name).map_or("nothing", String::as_str));
        if theirs != ours {
            found.push(format!("header {name}: {theirs} | {ours}"));
        }
    }
    bodies("", &theirs.body, &ours.body, passed, &mut found);
    found
}

fn bodies(at: &str, theirs: &Value, ours: &Value, passed: Duration, found: &mut Vec<String>) {
    let name = at.rsplit('/').next().unwrap_or_default();
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let inner = format!("{at}/{key}");
                match b.get(key) {
                    Some(other) => bodies(&inner, value, other, passed, found),
                    None => found.push(format!("{inner}: {value} | nothing")),
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                found.push(format!("{at}/{key}: nothing | {value}"));
            }
        }
        // One difference, not one for each place.
        (Value::Array(a), Value::Array(b)) if a != b && a.iter().chain(b).all(Value::is_string) && a.len() > 1 => {
            let sorted = |list: &[Value]| {
                let mut list: Vec<String> = list.iter().map(|text| plain(text.as_str().unwrap_or_default())).collect();
                list.sort_unstable();
                list
            };
            let plain_texts =
                |list: &[Value]| list.iter().map(|text| plain(text.as_str().unwrap_or_default())).collect::<Vec<_>>();
            if sorted(a) != sorted(b) {
                found.push(format!("{at}: {theirs} | {ours}"));
            } else if plain_texts(a) != plain_texts(b) {
                found.push(format!("order of {at}: {theirs} | {ours}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                bodies(&format!("{at}/{i}"), a, b, passed, found);
            }
        }
        (Value::String(a), Value::String(b)) if a.is_empty() == b.is_empty() && is_own(name) => {}
        (Value::String(a), Value::String(b)) if is_random(at, name) && own::alike(a, b) => {}
        (Value::String(a), Value::String(b)) if at == "/version" && b.starts_with(a.as_str()) => {}
        (Value::String(a), Value::String(b)) if plain(a) == plain(b) => {}
        (Value::Number(_), Value::Number(_)) if TIMES.contains(&name) => {}
        (Value::Number(a), Value::Number(b))
            if a.as_i64().zip(b.as_i64()).is_some_and(|(a, b)| (a - b).abs() <= own::slack(name, passed) && a > 10) => {
        }
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{at}: {a} | {b}")),
    }
}

fn is_own(name: &str) -> bool {
    own::is_own(name) || ALSO_OWN.contains(&name)
}

/// Whether a value is random: by its name, or a key that is given out, under its version.
fn is_random(at: &str, name: &str) -> bool {
    own::is_random(name) || ALSO_RANDOM.contains(&name) || at.starts_with("/data/keys/") && name.parse::<u32>().is_ok()
}

/// A text without what is each server's own: times, numbers of requests, hashes, tokens.
pub fn plain(text: &str) -> String {
    static OWN: LazyLock<regex::Regex> = LazyLock::new(|| {
        let own = [
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            r"h?[0-9a-f]{64}",
            r"\b(hv)?[sb]\.[A-Za-z0-9_-]{20,}",
            r"[a-z]+_[a-z0-9-]+_[0-9a-f]{8}",
            r"\b[A-Za-z0-9]{24}\b",
        ];
        regex::Regex::new(&own.join("|")).unwrap()
    });
    OWN.replace_all(text, "OWN").into_owned()
}
