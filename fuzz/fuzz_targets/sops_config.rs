//! Any bytes as `.sops.yaml`.
#![no_main]

use bulla_format::sops::config::Config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(config) = Config::parse(data) {
        let _ = config.rule_for("deploy/secret.yaml").is_ok();
    }
});
