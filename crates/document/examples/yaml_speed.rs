//! How fast a 20 MB YAML file is read and written: `cargo run --release -p bulla-document --example yaml_speed`.
//!
//! The text has 100 000 entries in 1 000 maps, each value an `ENC[…]` of 150 characters: what sops makes of a 10 MB file.
//! With the argument `comments` there is a comment above each entry; with `profile` nothing is done but reading, many times.
//! Figures stand in `docs/decisions/yaml-parser.md`.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "it prints figures")]

use std::fmt::Write as _;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, Scalar, Syntax};

fn main() -> Result<(), bulla_document::Error> {
    let comments = std::env::args().nth(1).is_some_and(|argument| argument == "comments");
    let text = text(comments);
    let megabytes = text.len() as f64 / 1e6;
    println!("{megabytes:.1} MB");

    if std::env::args().any(|argument| argument == "profile") {
        // Nothing but parsing, long enough for a profiler.
        for _ in 0..20 {
            let document = Document::parse(Syntax::Yaml, SecretBytes::from(text.as_bytes()))?;
            std::hint::black_box(document.len());
        }
        return Ok(());
    }
    let source = SecretBytes::from(text.as_bytes());
    let before = resident();
    let start = cpu_seconds();
    let document = Document::parse(Syntax::Yaml, source)?;
    report("tree", start, megabytes, document.len());
    println!("{:<40} {:>7.1} bytes a node", "", (resident() - before) * 1024.0 / document.len() as f64);

    let start = cpu_seconds();
    let restores = document.subtree(document.roots()[0]).filter(|&id| document.restores(id)).count();
    report("restores", start, megabytes, restores);

    let start = cpu_seconds();
    let mut patch = document.patch();
    let plain = Scalar::str("a".repeat(100));
    let mut changed = 0;
    for id in document.subtree(document.roots()[0]) {
        if document.kind(id) == Kind::Scalar {
            patch.set_scalar(id, &plain)?;
            changed += 1;
        }
    }
    let changed_text = patch.finish();
    report("every value set", start, megabytes, changed);
    println!("{:.1} MB", changed_text.len() as f64 / 1e6);
    Ok(())
}

fn text(comments: bool) -> String {
    let cipher: String = "q+Zk/w8A1b2C3d4E5f6".chars().cycle().take(58).collect();
    let value = format!("ENC[AES256_GCM,data:{cipher},iv:{},tag:0123456789012345678901==,type:str]", &cipher[..44]);
    let mut text = String::new();
    for map in 0..1_000 {
        let _ = writeln!(text, "service_{map:04}:");
        for entry in 0..100 {
            if comments {
                let _ = writeln!(text, "    # about {entry}");
            }
            let _ = writeln!(text, "    some_key_name_{entry:03}: {value}");
        }
    }
    text
}

fn report(what: &str, start: f64, megabytes: f64, count: usize) {
    let seconds = cpu_seconds() - start;
    println!("{what:<40} {:>7.1} ms {:>7.0} MB/s {count:>9}", seconds * 1e3, megabytes / seconds);
}

/// How long this thread has run: other work on the machine does not count.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Resident memory in KiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0)
}
