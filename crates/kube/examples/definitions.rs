//! Prints the custom resource definitions, a JSON list: what `cargo xtask generate` makes the chart's files of.
//!
//! Not in `xtask` itself, which would then wait for everything that a controller is made of, for whatever it is asked to do.
#![allow(clippy::print_stdout, reason = "what it prints is its purpose")]

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string(&bulla_kube::api::custom_resources())?);
    Ok(())
}
