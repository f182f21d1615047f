//! The fuzz targets of `fuzz/`, built with the compiler at hand.
//!
//! The flags are those that give libFuzzer its coverage on a stable compiler. `cargo fuzz` (nightly, with sanitizers) works in the same
//! folder for longer hunts; the code under test has no `unsafe`, so coverage is what counts.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::process::{Process, cargo};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";

/// Runs the targets one after the other, `seconds` in all. A crash is an error that names the input's file.
pub fn run(root: &Path, seconds: u64, only: Option<&str>) -> Result<()> {
    let mut names: Vec<String> = fs::read_dir(root.join("fuzz/fuzz_targets"))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().strip_suffix(".rs").map(ToOwned::to_owned))
        .filter(|name| only.is_none_or(|only| only == name))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("no such fuzz target");
    }
    let folder = root.join("fuzz");
    cargo(&folder).env("RUSTFLAGS", FLAGS).args(["build", "--release", "--locked", "--target", TARGET]).run()?;
    let each = (seconds / names.len() as u64).max(1);
    for name in &names {
        let corpus = folder.join("corpus").join(name);
        let crashes = folder.join("artifacts").join(name);
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&crashes)?;
        println!("fuzz: {name}, {each} s");
        Process::new(folder.join("target").join(TARGET).join("release").join(name))
            .args([&corpus, &folder.join("seeds").join(name)].iter().filter(|folder| folder.is_dir()))
            // Words that no walk finds by itself.
            .args(
                Some(folder.join("dictionaries").join(name))
                    .filter(|file| file.is_file())
                    .map(|file| format!("-dict={}", file.display())),
            )
            .args([
                &format!("-max_total_time={each}"),
                // The same walk every time, so that a failure in CI can be repeated.
                "-seed=1",
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-max_len=4096",
                "-verbosity=0",
                "-print_final_stats=1",
                &format!("-artifact_prefix={}/", crashes.display()),
            ])
            .run()?;
    }
    Ok(())
}
