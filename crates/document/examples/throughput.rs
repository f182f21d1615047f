//! Prints how fast texts are read and changed: `cargo run --release -p bulla-document --example throughput`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_precision_loss, reason = "prints figures")]

use std::time::Instant;

use bulla_core::SecretBytes;
use bulla_document::{Document, EmitOptions, Kind, Scalar, Syntax, Value, emit};

/// What a value looks like when it is encrypted.
const CIPHERTEXT: &str =
    "ENC[AES256_GCM,data:p673w==,iv:YY=aavn/+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,tag:UQ==,type:str]";

fn main() {
    println!("{:<34} {:>9} {:>9} {:>11} {:>11}", "text", "MB", "nodes", "read MB/s", "patch MB/s");
    measure("JSON, one string of 50 MB", Syntax::Json, &json_string(b'x'));
    measure("JSON, 50 MB of base64 lines", Syntax::Json, &lines());
    for keys in [10_000, 40_000, 160_000] {
        measure(&format!("JSON, {keys} keys in one object"), Syntax::Json, &flat(Syntax::Json, keys));
    }
    for (name, syntax) in [("dotenv", Syntax::Dotenv), ("INI", Syntax::Ini), ("TOML", Syntax::Toml)] {
        for keys in [40_000, 160_000] {
            measure(&format!("{name}, {keys} keys"), syntax, &flat(syntax, keys));
        }
    }
}

/// Reads the text, then replaces every value by a ciphertext.
fn measure(name: &str, syntax: Syntax, text: &[u8]) {
    let megabytes = text.len() as f64 / 1e6;
    let mut read = f64::MAX;
    let mut patched = f64::MAX;
    let mut nodes = 0;
    for _ in 0..3 {
        let text = SecretBytes::from(text);
        let start = Instant::now();
        let document = Document::parse(syntax, text).unwrap();
        read = read.min(start.elapsed().as_secs_f64());
        nodes = document.len();
        let start = Instant::now();
        let mut patch = document.patch();
        for id in document.subtree(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Scalar) {
            if !document.restores(id) {
                continue;
            }
            patch.set_scalar(id, &Scalar::str(CIPHERTEXT)).unwrap();
        }
        drop(patch.finish());
        patched = patched.min(start.elapsed().as_secs_f64());
    }
    println!("{name:<34} {megabytes:>9.1} {nodes:>9} {:>11.0} {:>11.0}", megabytes / read, megabytes / patched);
}

fn json_string(byte: u8) -> Vec<u8> {
    [b"{\"data\": \"".to_vec(), vec![byte; 50_000_000], b"\"}".to_vec()].concat()
}

fn lines() -> Vec<u8> {
    let line = [vec![b'A'; 76], b"\\n".to_vec()].concat();
    [b"{\"data\": \"".to_vec(), line.repeat(640_000), b"\"}".to_vec()].concat()
}

fn flat(syntax: Syntax, keys: usize) -> Vec<u8> {
    let entries = (0..keys).map(|at| (format!("KEY_{at}"), Value::str(format!("a value of some length {at}"))));
    let tree = match syntax {
        Syntax::Ini => Value::Map(vec![("section".into(), Value::Map(entries.collect()))]),
        _ => Value::Map(entries.collect()),
    };
    emit(&[tree], syntax, EmitOptions::default()).unwrap().expose().to_vec()
}
