//! Keys as people write them, in `.sops.yaml` and in flags: an ARN, a fingerprint, a URL, a recipient.
//!
//! What is taken is what sops takes. Whether a key exists is found out when it is used.

use std::collections::BTreeMap;

use crate::KeyId;

/// A text that is no key of the kind that is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct KeyParseError {
    /// What was written; `(a private key)` if it was one.
    pub text: String,
    /// What should have been, with its form in parentheses.
    pub expected: &'static str,
}

impl KeyId {
    /// An age recipient: `age1…`, also of a plugin or post-quantum, `ssh-ed25519 …` or `ssh-rsa …`. Only the beginning is
    /// looked at; the rest is checked by what encrypts to it.
    ///
    /// # Errors
    /// Anything that begins otherwise.
    pub fn parse_age(text: &str) -> Result<Self, KeyParseError> {
        let recipient = text.trim();
        if recipient.starts_with("age1") || recipient.starts_with("ssh-") {
            return Ok(Self::Age { recipient: recipient.to_owned() });
        }
        malformed(text, "an age recipient (age1…, ssh-ed25519 … or ssh-rsa …)")
    }

    /// An OpenPGP fingerprint, as written but for spaces: sops compares them as texts.
    ///
    /// # Errors
    /// An empty text.
    pub fn parse_pgp(text: &str) -> Result<Self, KeyParseError> {
        match without_spaces(text) {
            fingerprint if fingerprint.is_empty() => malformed(text, "an OpenPGP fingerprint"),
            fingerprint => Ok(Self::Pgp { fingerprint }),
        }
    }

    /// The ARN of a key or alias of AWS KMS, with that of a role to assume behind a `+`.
    ///
    /// # Errors
    /// An empty text.
    pub fn parse_aws_kms(
        text: &str,
        context: BTreeMap<String, String>,
        profile: Option<String>,
    ) -> Result<Self, KeyParseError> {
        let text = without_spaces(text);
        // The path of an ARN may have a `+` in it, but no colon: `+arn:` is where the role begins.
        let (arn, role) = match text.find("+arn:").filter(|&at| at > 0) {
            Some(at) => (&text[..at], Some(text[at + 1..].to_owned())),
            None => (text.as_str(), None),
        };
        if arn.is_empty() {
            return malformed(&text, "the ARN of an AWS KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID)");
        }
        Ok(Self::AwsKms { arn: arn.to_owned(), role, context, profile })
    }

    /// A resource id of Google Cloud KMS.
    ///
    /// # Errors
    /// An empty text.
    pub fn parse_gcp_kms(text: &str) -> Result<Self, KeyParseError> {
        match without_spaces(text) {
            id if id.is_empty() => {
                malformed(text, "a Google Cloud KMS key (projects/…/locations/…/keyRings/…/cryptoKeys/…)")
            }
            resource_id => Ok(Self::GcpKms { resource_id }),
        }
    }

    /// A key of Huawei Cloud KMS, `REGION:UUID`.
    ///
    /// # Errors
    /// A text without one of the two.
    pub fn parse_huawei_kms(text: &str) -> Result<Self, KeyParseError> {
        match text.split_once(':') {
            Some((region, uuid)) if !region.trim().is_empty() && !uuid.trim().is_empty() => {
                Ok(Self::HuaweiKms { key_id: text.trim().to_owned() })
            }
            _ => malformed(text, "a Huawei Cloud KMS key (REGION:UUID)"),
        }
    }

    /// A key of Azure Key Vault, `https://VAULT/keys/NAME`, with `/VERSION` or without.
    ///
    /// # Errors
    /// Any other URL.
    pub fn parse_azure_key_vault(text: &str) -> Result<Self, KeyParseError> {
        const EXPECTED: &str = "an Azure Key Vault key (https://VAULT/keys/NAME/VERSION)";
        let Some((host, path)) = text.trim().strip_prefix("https://").and_then(|rest| rest.split_once('/')) else {
            return malformed(text, EXPECTED);
        };
        let mut parts = path.split('/');
        let (Some("keys"), Some(name), version, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return malformed(text, EXPECTED);
        };
        if host.is_empty() || name.is_empty() {
            return malformed(text, EXPECTED);
        }
        Ok(Self::AzureKeyVault {
            vault_url: format!("https://{host}"),
            name: name.to_owned(),
            version: version.unwrap_or_default().to_owned(),
        })
    }

    /// A key of Vault's transit engine, `https://HOST:8200/v1/MOUNT/keys/NAME`. The mount may have slashes in it; nothing may stand
    /// before `v1`; the word before the name is not looked at.
    ///
    /// # Errors
    /// Any other URL.
    pub fn parse_vault_transit(text: &str) -> Result<Self, KeyParseError> {
        const EXPECTED: &str = "a Vault transit key (https://HOST:8200/v1/MOUNT/keys/NAME)";
        let Some((scheme, rest)) = text.trim().split_once("://") else { return malformed(text, EXPECTED) };
        let Some((host, path)) = rest.split_once('/') else { return malformed(text, EXPECTED) };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let [version, mount @ .., _keys, key] = parts.as_slice() else { return malformed(text, EXPECTED) };
        let is_version = |text: &str| {
            text.strip_prefix('v')
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        };
        let mount = mount.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        if scheme.is_empty() || host.is_empty() || mount.is_empty() || key.is_empty() || !is_version(version) {
            return malformed(text, EXPECTED);
        }
        Ok(Self::VaultTransit { address: format!("{scheme}://{host}"), mount, key: (*key).to_owned() })
    }
}

fn malformed<T>(text: &str, expected: &'static str) -> Result<T, KeyParseError> {
    let text = if is_private_key(text) { "(a private key)" } else { text };
    Err(KeyParseError { text: text.to_owned(), expected })
}

/// Whether a text that should name a key, or say where one is, holds a private key instead: it must not go on into a
/// message. `age-plugin-…` in lower case is the name of a program.
pub fn is_private_key(text: &str) -> bool {
    let text = text.trim_start();
    let age = |start: &str| text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    age("AGE-SECRET-KEY-") || text.starts_with("AGE-PLUGIN-") || text.starts_with("-----BEGIN")
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn aws(text: &str) -> (String, Option<String>) {
        match KeyId::parse_aws_kms(text, BTreeMap::new(), None).unwrap() {
            KeyId::AwsKms { arn, role, .. } => (arn, role),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_arn_ends_where_its_role_begins() {
        let (key, role) = ("arn:aws:kms:eu:1:key/a+b", "arn:aws:iam::1:role/r");
        assert_eq!(aws(&format!("{key}+{role}")), (key.to_owned(), Some(role.to_owned())));
        assert_eq!(aws(&format!(" {key} ")), (key.to_owned(), None));
        assert!(KeyId::parse_aws_kms("  ", BTreeMap::new(), None).is_err());
    }

    #[test]
    fn vault_urls_name_server_mount_and_key() {
        let parse = KeyId::parse_vault_transit;
        let key = |address: &str, mount: &str| KeyId::VaultTransit {
            address: address.to_owned(),
            mount: mount.to_owned(),
            key: "k".to_owned(),
        };
        assert_eq!(parse("https://h:8200/v1/transit/keys/k"), Ok(key("https://h:8200", "transit")));
        assert_eq!(parse("http://h/v1/team/transit/keys/k/"), Ok(key("http://h", "team/transit")));
        for text in [
            "h/v1/transit/keys/k",
            "https://h/prefix/v1/transit/keys/k",
            "https://h/v1/keys/k",
            "https://h/transit/keys/k",
            "https://h",
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn azure_urls_may_have_no_version() {
        let parse = KeyId::parse_azure_key_vault;
        let key = |version: &str| KeyId::AzureKeyVault {
            vault_url: "https://v.vault.azure.net".to_owned(),
            name: "n".to_owned(),
            version: version.to_owned(),
        };
        assert_eq!(parse("https://v.vault.azure.net/keys/n/1"), Ok(key("1")));
        assert_eq!(parse("https://v.vault.azure.net/keys/n"), Ok(key("")));
        assert_eq!(parse("https://v.vault.azure.net/keys/n/"), Ok(key("")));
        for text in ["http://v/keys/n", "https://v/secrets/n", "https://v/keys/n/1/2", "https://v/keys/", "x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn recipients_fingerprints_and_ids_are_taken_as_written() {
        assert_eq!(KeyId::parse_age(" age1x ").unwrap().to_string(), "age1x");
        assert!(KeyId::parse_age("AGE-SECRET-KEY-1X").is_err());
        assert_eq!(KeyId::parse_pgp("ab CD").unwrap().to_string(), "abCD");
        assert_eq!(KeyId::parse_huawei_kms("r:u").unwrap().to_string(), "r:u");
        assert!(KeyId::parse_huawei_kms("r:").is_err());
        assert_eq!(KeyId::parse_gcp_kms("projects/p").unwrap().to_string(), "projects/p");
    }

    #[test]
    fn a_private_key_in_the_place_of_a_recipient_is_not_repeated() {
        for text in ["AGE-SECRET-KEY-1QQQ", " age-secret-key-pq-1QQQ", "AGE-PLUGIN-X-1QQQ", "-----BEGIN QQQ"] {
            let error = KeyId::parse_age(text).unwrap_err().to_string();
            assert!(error.contains("private key") && !error.contains("QQQ"), "{error}");
        }
        assert!(!is_private_key("age-plugin-yubikey --identity"));
        assert!(!is_private_key("ä"));
    }

    #[test]
    fn an_error_says_what_should_have_been_there() {
        let error = KeyId::parse_age("x").unwrap_err().to_string();
        assert!(error.contains("\"x\"") && error.contains("age1"), "{error}");
    }
}
