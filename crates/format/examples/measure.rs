//! CPU time and peak memory of one step on one large file: `measure yaml|json|binary encrypt|decrypt|set`.
#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for measuring"
)]

use std::fmt::Write as _;
use std::time::Instant;

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_document::{Step, Syntax, Value};
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck, MasterKey, Metadata, encrypt};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (kind, plain) = match args[1].as_str() {
        "yaml" => (FileKind::Text(Syntax::Yaml), yaml()),
        "json" => (FileKind::Text(Syntax::Json), json()),
        _ => (FileKind::Binary, SecretBytes::random(50 << 20).unwrap()),
    };
    let size = plain.len();
    let key = DataKey::from_bytes(SecretBytes::from([7; 32].as_slice())).unwrap();
    if args[2] == "encrypt" {
        measure(size, || encrypt(kind, plain, metadata(), &key, None).unwrap());
        return;
    }
    let sealed = encrypt(kind, plain, metadata(), &key, None).unwrap();
    let path = std::env::temp_dir().join("bulla-measure");
    std::fs::write(&path, sealed.expose()).unwrap();
    drop(sealed);
    reset_peak();
    measure(size, || {
        let file = EncryptedFile::parse(kind, SecretBytes::from(std::fs::read(&path).unwrap())).unwrap();
        if args[2] == "decrypt" {
            return file.decrypt(&key, MacCheck::Check).unwrap().text;
        }
        let at = [Step::Key("map50".into()), Step::Key("key500".into())];
        file.set(&key, &at, &Value::str("new"), MacCheck::Check, "2026-02-03T04:05:06Z").unwrap().unwrap()
    });
}

fn metadata() -> Metadata {
    let key = MasterKey {
        id: KeyId::Local { path: "/key".into() },
        wrapped: WrappedKey::new("wrapped"),
        created_at: "2026-01-02T03:04:05Z".to_owned(),
        unknown: Vec::new(),
    };
    Metadata {
        groups: vec![vec![key]],
        last_modified: "2026-01-02T03:04:05Z".to_owned(),
        version: "3.13.3".to_owned(),
        ..Metadata::default()
    }
}

/// 10 MB: 100 000 keys in 100 maps.
fn yaml() -> SecretBytes {
    let mut text = String::new();
    for map in 0..100 {
        writeln!(text, "map{map}:").unwrap();
        for key in 0..1000 {
            writeln!(text, "    key{key}: {}", value(map * 1000 + key)).unwrap();
        }
    }
    text.into_bytes().into()
}

fn json() -> SecretBytes {
    let mut text = String::from("{");
    for map in 0..100 {
        write!(text, "{}\n  \"map{map}\": {{", if map > 0 { "," } else { "" }).unwrap();
        for key in 0..1000 {
            let comma = if key > 0 { "," } else { "" };
            write!(text, "{comma}\n    \"key{key}\": \"{}\"", value(map * 1000 + key)).unwrap();
        }
        text.push_str("\n  }");
    }
    text.push_str("\n}\n");
    text.into_bytes().into()
}

fn value(number: usize) -> String {
    format!("{number:08x}").repeat(11)
}

fn measure(size: usize, work: impl FnOnce() -> SecretBytes) {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let out = work();
    println!(
        "{:.1} MB in, {:.1} MB out: wall {:.3} s, CPU {:.3} s, peak {} MB",
        size as f64 / 1e6,
        out.len() as f64 / 1e6,
        start.elapsed().as_secs_f64(),
        cpu_seconds() - cpu,
        peak() >> 10
    );
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// In KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
