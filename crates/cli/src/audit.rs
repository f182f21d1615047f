//! The audit of sops: `/etc/sops/audit.yaml` asks for a row in a database about each use of a file.
//!
//! This version cannot write it, and a use that should have been recorded must not go unrecorded: it is refused.

use std::path::Path;

use bulla_core::file;
use bulla_document::{Document, Step, Syntax};

use crate::error::Failure;

const CONFIGURATION: &str = "/etc/sops/audit.yaml";
const SIZE_LIMIT: u64 = 1 << 20;

/// Fails where this machine wants uses of files recorded.
///
/// # Errors
/// See above; also for a configuration that cannot be understood.
pub(crate) fn check() -> Result<(), Failure> {
    if !is_wanted(Path::new(CONFIGURATION)) {
        return Ok(());
    }
    Err(Failure::generic(format!("{CONFIGURATION} asks for every use of a file to be recorded in a database"))
        .with_hint("the database audit comes with a later version of bulla; until then use sops on this machine"))
}

/// Whether the configuration names a database. sops passes over one that it cannot read.
fn is_wanted(configuration: &Path) -> bool {
    let Ok(text) = file::read(configuration, SIZE_LIMIT) else { return false };
    let Ok(document) = Document::parse(Syntax::Yaml, text) else { return true };
    let path = [Step::Key("backends".to_owned()), Step::Key("postgres".to_owned())];
    let found = document.roots().first().and_then(|&root| document.find(root, &path));
    found.is_some_and(|list| document.children(list).next().is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn only_a_configuration_with_a_database_asks_for_records() {
        for (text, wanted) in [
            ("backends:\n    postgres:\n        - connection_string: \"postgres://x\"\n", true),
            ("backends:\n    postgres: []\n", false),
            ("backends: {}\n", false),
            ("", false),
            ("a: [\n", true),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(is_wanted(file.path()), wanted, "{text}");
        }
        assert!(!is_wanted(Path::new("/nonexistent/audit.yaml")));
    }
}
