//! What the fuzz target `server` begins with, played without a fuzzer: each seed, and each of its requests by everybody.

#![allow(clippy::expect_used, reason = "test code: a failure is a panic")]

#[path = "../../../../fuzz/src_server/play.rs"]
mod play;
#[path = "../../../../fuzz/src_server/script.rs"]
mod script;
#[path = "../../../../fuzz/src_server/watch.rs"]
mod watch;
#[path = "../../../../fuzz/src_server/world.rs"]
mod world;

use play::play;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn seeds() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/server");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let name = |file: &std::path::Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| (name(file), std::fs::read_to_string(file).unwrap())).collect()
}

#[test]
fn every_seed_holds() {
    let seeds = seeds();
    assert!(!seeds.is_empty());
    for (name, seed) in seeds {
        let statuses = play(&seed);
        let expected: &[u16] = match name.as_str() {
            "kv" => &[204, 200, 200, 200, 200, 204, 404],
            "paths" => &[403, 403, 307, 403, 400, 403, 403, 307],
            "tokens" => &[200, 200, 403, 403, 403, 403, 200, 204],
            "wrapping" => &[200, 200, 200, 200, 403, 400],
            _ => {
                // Nothing but refusals would find nothing.
                assert!(
                    statuses.iter().filter(|status| **status < 300).count() * 2 > statuses.len(),
                    "{name} {statuses:?}"
                );
                continue;
            }
        };
        assert_eq!(statuses, expected, "{name}");
    }
}

#[test]
fn every_request_holds_whoever_sends_it() {
    for (_, seed) in seeds() {
        for who in ["-", "alice", "bob", "admin", "batch~9"] {
            let turned: Vec<String> =
                seed.split("\n\n").filter_map(|block| Some(format!("{who} {}", block.split_once(' ')?.1))).collect();
            play(&turned.join("\n\n"));
        }
    }
}

#[test]
fn what_was_found_once_holds() {
    let deep = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    for found in [
        // What is wrapped is nested deeper than what was sent, and was not read again.
        format!(
            "alice POST /v1/sys/wrapping/wrap\n+X-Vault-Wrap-TTL: 60\n{}\n\nwrap GET /v1/cubbyhole/response",
            deep(128)
        ),
        format!("alice POST /v1/cubbyhole/y\n{}\n\nalice GET /v1/cubbyhole/y", deep(128)),
        // A redirect without its target.
        "- GET /v1/./é?ü".to_owned(),
    ] {
        play(&found);
    }
}

/// What is put into a seed.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "",
        "/",
        "//",
        "..",
        "%2f",
        "%2e",
        "%00",
        "%",
        "+",
        "*",
        "?list=true",
        "?help=1",
        "?scan=1",
        "&",
        "=",
        " ",
        "\"",
        "\\u0000",
        "{",
        "}",
        "[",
        "]",
        ",",
        "null",
        "true",
        "-1",
        "0",
        "1e9",
        "9223372036854775807",
        "-9223372036854775808",
        "99999999999999999999",
        "1h",
        "[]",
        "{}",
        "[{}]",
        "\"\"",
        "é",
        "x",
        "a/b",
        "\n\n",
        "alice ",
        "bob ",
        "admin ",
        "- ",
        "wrap ",
        "token ",
        "$wrap",
        "$token",
        "$cipher",
        "GET",
        "POST",
        "LIST",
        "DELETE",
        "PATCH",
        "\n+X-Vault-Wrap-TTL: 60\n",
        "root",
        "type",
        "rsa-2048",
        "ecdsa-p256",
        "aes128-gcm96",
        "derived",
        "batch",
    ];
    prop_oneof![4 => select(WORDS).prop_map(ToOwned::to_owned), 1 => "[ -~]{0,3}", 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// A fuzzer without its compass, for a moment.
    #[test]
    fn a_seed_with_parts_in_other_places_holds(
        which in any::<[Index; 2]>(),
        changes in prop::collection::vec((any::<Index>(), 0_usize..12, word()), 1..5),
    ) {
        let seeds = seeds();
        let blocks = which.iter().flat_map(|which| which.get(&seeds).1.split("\n\n"));
        let mut text: Vec<char> = blocks.collect::<Vec<_>>().join("\n\n").chars().collect();
        for (at, length, word) in changes {
            let at = at.index(text.len());
            text.splice(at..(at + length).min(text.len()), word.chars());
        }
        play(&text.iter().collect::<String>());
    }
}
