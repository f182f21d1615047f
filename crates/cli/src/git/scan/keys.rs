//! Private keys: PEM blocks, and age identities.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{Finding, What, contains};

/// A PEM header and what follows it, up to the first characters of the body: a header alone, in a program's text or its
/// documentation, is no key. `\n` may be written out, as in JSON.
static PEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----(?:\\r|\\n|\s)*((?:[A-Za-z-]+: [^\n\\]*(?:\\r|\\n|\s)*)*)[A-Za-z0-9+/]{32}",
    )
    .ok()
});

/// `AGE-SECRET-KEY-1` and 58 characters of Bech32, or the post-quantum form with more.
static AGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"AGE-SECRET-KEY-(?:PQ-)?1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}").ok());

/// Looks for private keys.
pub(super) fn scan(contents: &[u8]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if contains(contents, b"PRIVATE KEY")
        && let Some(pem) = PEM.as_ref()
    {
        for found in pem.captures_iter(contents) {
            let kind = String::from_utf8_lossy(&found[1]).into_owned();
            // These are protected by a passphrase of their own.
            if kind.starts_with("ENCRYPTED ") || contains(&found[2], b"ENCRYPTED") {
                continue;
            }
            let start = found.get(0).map_or(0, |whole| whole.start());
            findings.push(Finding { line: line_of(contents, start), what: What::PrivateKey { kind } });
        }
    }
    if contains(contents, b"AGE-SECRET-KEY-")
        && let Some(age) = AGE.as_ref()
    {
        findings.extend(
            age.find_iter(contents)
                .map(|found| Finding { line: line_of(contents, found.start()), what: What::AgeIdentity }),
        );
    }
    findings
}

fn line_of(contents: &[u8], at: usize) -> usize {
    contents[..at].split(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, &'static str)> {
        scan(text.as_bytes()).into_iter().map(|finding| (finding.line, finding.what.kind())).collect()
    }

    #[test]
    fn a_private_key_is_found_with_its_line_also_inside_json() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        let pem = format!("x\n-----BEGIN {}-----\n{body}\n", "PRIVATE KEY");
        assert_eq!(found(&pem), [(2, "private-key")]);
        let json = format!(r#"{{"key":"-----BEGIN {}-----\n{body}\n"}}"#, "RSA PRIVATE KEY");
        assert_eq!(found(&json), [(1, "private-key")]);
        let pgp = format!("-----BEGIN {}-----\nVersion: GnuPG v2\n\n{body}\n", "PGP PRIVATE KEY BLOCK");
        assert_eq!(found(&pgp), [(1, "private-key")]);
    }

    #[test]
    fn a_header_alone_and_a_key_under_a_passphrase_are_not() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        assert_eq!(found("if text.contains(\"-----BEGIN PRIVATE KEY-----\") {"), []);
        assert_eq!(found(&format!("-----BEGIN {}-----\n{body}\n", "ENCRYPTED PRIVATE KEY")), []);
        let legacy = format!(
            "-----BEGIN {}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}\n",
            "RSA PRIVATE KEY"
        );
        assert_eq!(found(&legacy), []);
    }

    #[test]
    fn an_age_identity_is_found_and_its_name_alone_is_not() {
        let identity = format!("# created\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58));
        assert_eq!(found(&identity), [(2, "age-identity")]);
        assert_eq!(found("AGE-SECRET-KEY-1...\n"), []);
    }
}
