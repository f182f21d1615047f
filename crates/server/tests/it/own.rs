//! What is another thing on each server, whichever requests are compared.

/// Names whose values are each server's own.
const OWN: &[&str] = &[
    "request_id",
    "accessor",
    "uuid",
    "description",
    "running_plugin_version",
    "plugin_version",
    "cluster_id",
    "cluster_name",
    "commit_date",
    "build_date",
    "entity_id",
    "wrapped_accessor",
    "secret_id_accessor",
    "secret_id",
    "nonce",
    "random_bytes",
    "backup",
    "client_token",
    "token",
    "token_accessor",
    "mount_accessor",
];

/// Names whose values are random: their form and length are compared.
const RANDOM: &[&str] = &[
    "ciphertext",
    "hmac",
    "signature",
    "public_key",
    "publickey",
    "otp",
    "password",
    "encoded_token",
    "verification_nonce",
];

/// Names whose values become less while time passes.
const COUNTING_DOWN: &[&str] = &["ttl", "lease_duration"];

/// By how much a number of this name may be another, where `passed` is all the time in which what it is about can have been made. A second may pass
/// between the two; on a machine that is busy one of the two may wait for longer.
pub fn slack(name: &str, passed: std::time::Duration) -> i64 {
    let passed = if COUNTING_DOWN.contains(&name) { i64::try_from(passed.as_secs()).unwrap_or(0) } else { 0 };
    2 + passed
}

/// Whether the value of this name is each server's own.
pub fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// Whether the value of this name is random.
pub fn is_random(name: &str) -> bool {
    RANDOM.contains(&name)
}

/// Whether two random texts have the same form: what is before their base64, and (as a signature can be some bytes shorter) nearly their length.
pub fn alike(a: &str, b: &str) -> bool {
    let form = |text: &str| match text.strip_prefix("vault:") {
        Some(rest) => rest.split(':').next().unwrap_or_default().to_owned(),
        None => format!(
            "{} {}",
            text.lines().next().filter(|line| line.contains("---")).unwrap_or_default(),
            text.ends_with('\n')
        ),
    };
    form(a) == form(b) && a.len().abs_diff(b.len()) <= 8 && a.is_empty() == b.is_empty()
}
