//! A secret as templates see it, and when it is to be read again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bulla_core::SecretString;
use bulla_template::Value;

use crate::api::{at, is_true_at, number_at, text_at};
use crate::config::Rendering;
use crate::renewal::chance;

/// The answer of a server with consul-template's names.
pub(super) fn shown(answer: &Value) -> Value {
    let named = |value: &Value, names: &[(&str, &str)]| match value {
        Value::Map(_) => Value::map(names.iter().map(|(name, key)| ((*name).into(), field(value, key)))),
        _ => Value::Nil,
    };
    let auth = [
        ("ClientToken", "client_token"),
        ("Accessor", "accessor"),
        ("Policies", "policies"),
        ("Metadata", "metadata"),
        ("LeaseDuration", "lease_duration"),
        ("Renewable", "renewable"),
    ];
    let wrap = [
        ("Token", "token"),
        ("TTL", "ttl"),
        ("CreationTime", "creation_time"),
        ("WrappedAccessor", "wrapped_accessor"),
    ];
    Value::map([
        ("RequestID".into(), field(answer, "request_id")),
        ("LeaseID".into(), field(answer, "lease_id")),
        ("LeaseDuration".into(), field(answer, "lease_duration")),
        ("Renewable".into(), field(answer, "renewable")),
        ("Data".into(), or_empty_map(at(answer, &["data"]))),
        ("Warnings".into(), or_empty_list(at(answer, &["warnings"]))),
        ("Auth".into(), named(&at(answer, &["auth"]), &auth)),
        ("WrapInfo".into(), named(&at(answer, &["wrap_info"]), &wrap)),
    ])
}

/// With the types of Go's fields: numbers are integers.
fn field(value: &Value, key: &str) -> Value {
    match at(value, &[key]) {
        Value::Number(_) => Value::Int(number_at(value, &[key]).and_then(|n| i64::try_from(n).ok()).unwrap_or(0)),
        Value::Missing | Value::Nil => Value::text(""),
        other => other,
    }
}

fn or_empty_map(value: Value) -> Value {
    if value.is_nil() { Value::map([]) } else { value }
}

fn or_empty_list(value: Value) -> Value {
    if value.is_nil() { Value::list(Vec::new()) } else { value }
}

/// Whether a versioned secret was deleted: then the server answers with what it was, and nothing in it.
pub(super) fn is_deleted(answer: &Value) -> bool {
    let metadata = at(answer, &["data", "metadata"]);
    // One that lives has a time, too, if its end is set: `delete_version_after`.
    let has_end = text_at(&metadata, &["deletion_time"]).is_some() || is_true_at(&metadata, &["destroyed"]);
    has_end && at(answer, &["data", "data"]).is_nil()
}

/// What of a secret can be renewed.
pub(super) enum Renewed {
    /// The lease with this id.
    Lease(SecretString),
    /// The secret is a token.
    Token(SecretString),
}

/// What of a secret can be renewed, and how long it lives.
pub(super) fn lease(answer: &Value) -> Option<(Renewed, Duration)> {
    let part = |path: &[&str], id: &str, make: fn(SecretString) -> Renewed| {
        let inner = at(answer, path);
        let seconds = number_at(&inner, &["lease_duration"]).filter(|seconds| *seconds > 0)?;
        let id = text_at(&inner, &[id]).filter(|_| is_true_at(&inner, &["renewable"]))?;
        Some((make(id), Duration::from_secs(seconds)))
    };
    part(&["auth"], "client_token", Renewed::Token).or_else(|| part(&[], "lease_id", Renewed::Lease))
}

/// How long a secret that cannot be renewed is left as it is.
pub(super) fn keeps_for(answer: &Value, rendering: &Rendering) -> Duration {
    let seconds = |path: &[&str]| number_at(answer, path).filter(|seconds| *seconds > 0);
    let has = |key: &str| !at(answer, &["data", key]).is_nil();
    let has_lease = text_at(answer, &["lease_id"]).is_some();
    if has("rotation_period") && !has_lease {
        // The second after it is rotated, not before.
        if let Some(ttl) = number_at(answer, &["data", "ttl"]) {
            return Duration::from_secs(ttl + 1);
        }
    }
    let auth = seconds(&["auth", "lease_duration"]);
    let mut lease = auth.or_else(|| seconds(&["lease_duration"])).map(Duration::from_secs);
    if !has_lease && auth.is_none() {
        // Unversioned secrets come with 768 hours that nobody meant. The peer believes them, and sees no change for a month.
        lease = lease.map(|lease| lease.min(rendering.static_interval));
    }
    if !has_lease && has("certificate") {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = seconds(&["data", "expiration"]).map(|end| Duration::from_secs(end).saturating_sub(now));
        lease = left.filter(|left| !left.is_zero()).or(lease);
    }
    if !has_lease && has("secret_id") {
        lease = seconds(&["data", "secret_id_ttl"]).map(|ttl| Duration::from_secs(ttl + 1)).or(lease);
    }
    let lease = lease.unwrap_or(rendering.static_interval);
    let part = rendering.lease_threshold + (chance() - 0.5) * 0.1;
    lease.mul_f64(if part > 0.0 && part < 1.0 { part } else { rendering.lease_threshold })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_template::Limits;

    use super::*;

    fn answer(text: &str) -> Value {
        Value::from_json_exact(text.as_bytes(), Limits::default()).unwrap()
    }

    const RENDERING: Rendering = Rendering {
        exit_on_retry_failure: false,
        static_interval: Duration::from_mins(5),
        connections: 1,
        lease_threshold: 0.9,
    };

    #[test]
    fn a_secret_is_read_again_before_it_ends() {
        for (text, least, most) in [
            (r#"{"data":{}}"#, 255, 285),
            (r#"{"lease_duration":1000,"lease_id":"x"}"#, 850, 950),
            (r#"{"lease_duration":2764800,"lease_id":"","data":{}}"#, 255, 285),
            (r#"{"lease_duration":100,"lease_id":"","data":{}}"#, 85, 95),
            (r#"{"auth":{"lease_duration":100},"lease_duration":0}"#, 85, 95),
            (r#"{"data":{"rotation_period":100,"ttl":7}}"#, 8, 8),
            (r#"{"data":{"rotation_period":1,"ttl":18446744073709551615}}"#, 100_000_000_001, 100_000_000_001),
            (r#"{"data":{"secret_id":"x","secret_id_ttl":99}}"#, 85, 95),
            (r#"{"data":{"certificate":"x","expiration":1}}"#, 255, 285),
        ] {
            for _ in 0..50 {
                let keeps = keeps_for(&answer(text), &RENDERING);
                assert!(keeps >= Duration::from_secs(least) && keeps <= Duration::from_secs(most), "{text}: {keeps:?}");
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let certificate = answer(&format!(r#"{{"data":{{"certificate":"x","expiration":{}}}}}"#, now + 1000));
        let keeps = keeps_for(&certificate, &RENDERING).as_secs();
        assert!((800..=950).contains(&keeps), "{keeps}");
    }

    #[test]
    fn what_can_be_renewed_has_an_id() {
        let of = |text: &str| lease(&answer(text)).unwrap().0;
        assert!(matches!(of(r#"{"lease_id":"x","renewable":true,"lease_duration":5}"#), Renewed::Lease(_)));
        let token = r#"{"lease_id":"","auth":{"client_token":"t","renewable":true,"lease_duration":5}}"#;
        assert!(matches!(of(token), Renewed::Token(_)));
        for text in [
            r#"{"lease_id":"","renewable":true,"lease_duration":5}"#,
            r#"{"lease_id":"x","renewable":false,"lease_duration":5}"#,
            r#"{"lease_id":"x","renewable":true,"lease_duration":0}"#,
            r#"{"auth":{"client_token":"t","renewable":false,"lease_duration":5}}"#,
        ] {
            assert!(lease(&answer(text)).is_none(), "{text}");
        }
        assert!(is_deleted(&answer(r#"{"data":{"data":null,"metadata":{"deletion_time":"2026"}}}"#)));
        assert!(is_deleted(&answer(r#"{"data":{"data":null,"metadata":{"deletion_time":"","destroyed":true}}}"#)));
        assert!(!is_deleted(&answer(r#"{"data":{"data":{},"metadata":{"deletion_time":""}}}"#)));
        let lives =
            r#"{"data":{"data":{"a":"b"},"metadata":{"deletion_time":"2999-01-01T00:00:00Z","destroyed":false}}}"#;
        assert!(!is_deleted(&answer(lives)));
    }
}
