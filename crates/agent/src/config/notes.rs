//! What is accepted and means nothing here: each with what that means for whoever wrote it.

use super::fields::Fields;

/// What the top is called.
pub(super) const TOP: &str = "the configuration";

/// Settings of the peer's, by where they stand and how they are called.
const MEANING: &[(&str, &str, &str)] = &[
    (TOP, "telemetry", "there are no metrics"),
    (TOP, "cluster_name", "it is a name for metrics, and there are none"),
    (TOP, "disable_mlock", "memory that holds secrets is locked as far as the system lets"),
    (TOP, "templates", "write each as template { … }"),
    (TOP, "seal", "nothing is kept that would be sealed"),
    (TOP, "kms", "nothing is kept that would be sealed"),
    ("auto_auth", "enable_reauth_on_new_credentials", "files are read again when a token ends"),
    (
        "api_proxy",
        "enforce_consistency",
        "a request that the server answers with 412 is sent again, whatever this says",
    ),
    ("api_proxy", "when_inconsistent", "a request that the server answers with 412 is sent again, whatever this says"),
    (
        "cache",
        "persist",
        "nothing is cached, so nothing is kept over a restart: after one the agent logs in and reads anew",
    ),
    ("cache", "cache_static_secrets", "nothing is cached: each request gets what the server has now"),
    (
        "cache",
        "disable_caching_dynamic_secrets",
        "nothing is cached: each request for a dynamic secret makes a new one",
    ),
    (
        "listener",
        "proxy_protocol_behavior",
        "a proxy before it must not send that header: such a connection is refused as malformed",
    ),
    ("listener", "custom_response_headers", "answers have the headers that the server gave them"),
    ("listener", "max_request_size", "a request's body has at most 32 MiB"),
    ("listener", "http_read_header_timeout", "a request's head has 10 seconds"),
    ("listener", "http_read_timeout", "a request's body has 30 seconds"),
    ("listener", "http_write_timeout", "who takes nothing of an answer for 30 seconds is left"),
    ("listener", "http_idle_timeout", "a connection without a request is closed after 10 seconds"),
];

/// Notes what of a block nobody asked for.
pub(super) fn of_block(fields: &Fields<'_>, notes: &mut Vec<String>) {
    let place = fields.place();
    for name in fields.unknown() {
        let known = MEANING.iter().find(|(at, setting, _)| *at == place && *setting == name);
        let why = known.map_or_else(String::new, |(.., why)| format!(": {why}"));
        let at = if place == TOP { String::new() } else { format!("{place}: ") };
        notes.push(format!("{at}{name} has no effect{why}"));
    }
}

/// What `cache` means.
pub(super) fn of_cache(fields: &Fields<'_>, notes: &mut Vec<String>) {
    let nothing =
        "cache: nothing is cached; requests are passed on, and what templates read is read once for all of them";
    notes.push(nothing.to_owned());
    of_block(fields, notes);
}
