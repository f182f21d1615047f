//! Which servers may be talked to: an encrypted file names its server, and the server gets a token.
//!
//! `all`, `none`, or addresses separated by commas; an address allows what begins with it, compared with a slash at the end of
//! both. As sops 3.13 reads `SOPS_HC_VAULT_ALLOWLIST` (3.11 does not have it).

use bulla_core::KeyErrorKind;

use super::variable;
use crate::failure::Failure;

/// What the variable says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allowlist {
    /// It is not set.
    Unset,
    /// `all`
    All,
    /// `none` is no address.
    Only(Vec<String>),
}

impl Allowlist {
    /// Reads the variable's value.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Failure> {
        match text {
            None => Ok(Self::Unset),
            Some("all") => Ok(Self::All),
            Some("none") => Ok(Self::Only(Vec::new())),
            Some(list) => list
                .split(',')
                .enumerate()
                .map(|(n, entry)| entry_of(n, entry))
                .collect::<Result<_, _>>()
                .map(Self::Only),
        }
    }

    /// Whether keys of the server at `address` may be used with a token that the user put there for them.
    pub(super) fn allows(&self, address: &str) -> bool {
        match self {
            Self::Unset | Self::All => true,
            Self::Only(entries) => {
                let address = with_slash(address);
                entries.iter().any(|entry| address.starts_with(entry))
            }
        }
    }
}

fn entry_of(n: usize, entry: &str) -> Result<String, Failure> {
    match entry.trim_matches(' ') {
        "" => {
            Err(Failure::new(KeyErrorKind::BadConfig, format!("entry {} of {} is empty", n + 1, variable::ALLOWLIST)))
        }
        entry => Ok(with_slash(entry)),
    }
}

fn with_slash(address: &str) -> String {
    if address.ends_with('/') { address.to_owned() } else { format!("{address}/") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn allows(list: &str, address: &str) -> bool {
        Allowlist::parse(Some(list)).unwrap().allows(address)
    }

    #[test]
    fn an_address_allows_itself_and_no_other_host() {
        let list = "https://vault.example.com:8200, https://other.example.com/";
        assert!(allows(list, "https://vault.example.com:8200"));
        assert!(allows(list, "https://vault.example.com:8200/"));
        assert!(allows(list, "https://other.example.com"));
        assert!(!allows(list, "http://vault.example.com:8200"));
        assert!(!allows(list, "https://vault.example.com:82001"));
        assert!(!allows(list, "https://vault.example.com:8200.evil.example"));
        assert!(!allows(list, "https://evil.example"));
    }

    #[test]
    fn all_and_none_are_words() {
        assert!(allows("all", "https://anything"));
        assert!(!allows("none", "https://anything"));
        assert!(Allowlist::parse(None).unwrap().allows("https://anything"));
    }

    #[test]
    fn an_empty_entry_is_counted_from_one() {
        let failure = Allowlist::parse(Some("https://a,,https://b")).unwrap_err();
        let id = bulla_core::KeyId::parse_vault_transit("https://a/v1/t/keys/k").unwrap();
        assert!(failure.of(&id).to_string().contains("entry 2 of SOPS_HC_VAULT_ALLOWLIST is empty"));
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_the_parser_panic(text in "\\PC{0,60}", address in "(https?://)?[a-z0-9:/@,.-]{0,40}") {
            for list in [&text, &address] {
                if let Ok(allowed) = Allowlist::parse(Some(list)) {
                    let _ = (allowed.allows(&text), allowed.allows(&address));
                }
            }
        }
    }
}
