//! Recipients: whom a data key is wrapped for.

use super::{hybrid, plugin};

/// A recipient that was understood.
#[derive(Clone)]
pub(super) enum Recipient {
    /// `age1…`
    X25519(age::x25519::Recipient),
    /// `age1pq1…`
    Hybrid(Box<hybrid::Recipient>),
    /// `age1tag1…`, a hardware key on the P-256 curve.
    Tag(age::tag::Recipient),
    /// `age1tagpq1…`, the same and post-quantum.
    TagPq(Box<age::tagpq::Recipient>),
    /// `ssh-ed25519 …` or `ssh-rsa …`
    Ssh(age::ssh::Recipient),
    /// `age1NAME1…`, for the program `age-plugin-NAME`.
    Plugin(plugin::Recipient),
}

impl Recipient {
    /// Parses a recipient as sops takes them. Blanks around it do not matter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("age1pq1") {
            let parsed = hybrid::Recipient::parse(text);
            return parsed.map(|recipient| Self::Hybrid(Box::new(recipient))).map_err(str::to_owned);
        }
        // sops leaves these two to a plugin of that name; age itself has them built in, and so do we.
        if text.starts_with("age1tag1") {
            return text.parse().map(Self::Tag).map_err(str::to_owned);
        }
        if text.starts_with("age1tagpq1") {
            return text.parse().map(|recipient| Self::TagPq(Box::new(recipient))).map_err(str::to_owned);
        }
        // Bech32's data never contains a 1: a second one belongs to a name.
        if text.starts_with("age1") && text.matches('1').count() > 1 {
            return plugin::Recipient::parse(text).map(Self::Plugin);
        }
        if text.starts_with("age1") {
            return text.parse().map(Self::X25519).map_err(|what: &str| match what {
                "invalid Bech32 encoding" => "it is not valid Bech32 (a letter is wrong or missing)".to_owned(),
                what => what.to_owned(),
            });
        }
        if text.starts_with("ssh-") {
            return text.parse().map(Self::Ssh).map_err(|error| ssh_error(&error));
        }
        if text.to_ascii_uppercase().starts_with("AGE-") {
            return Err("it is an identity (a private key), not a recipient; take it out of where it stands, and use \
                        the recipient that age-keygen -y prints for it"
                .to_owned());
        }
        Err("it is none that age knows: age1…, ssh-ed25519 … or ssh-rsa …".to_owned())
    }

    /// Who wraps for it in this process; a plugin's recipient is [wrapped for](plugin::Wrap) by its program.
    pub(super) fn native(&self) -> Result<&(dyn age::Recipient + Sync), &plugin::Recipient> {
        match self {
            Self::X25519(recipient) => Ok(recipient),
            Self::Hybrid(recipient) => Ok(recipient.as_ref()),
            Self::Tag(recipient) => Ok(recipient),
            Self::TagPq(recipient) => Ok(recipient.as_ref()),
            Self::Ssh(recipient) => Ok(recipient),
            Self::Plugin(recipient) => Err(recipient),
        }
    }
}

fn ssh_error(error: &age::ssh::ParseRecipientKeyError) -> String {
    use age::ssh::ParseRecipientKeyError as E;
    match error {
        E::RsaModulusTooLarge => "RSA keys of more than 4096 bits are not supported".to_owned(),
        E::RsaModulusTooSmall => "RSA keys of less than 2048 bits are too weak".to_owned(),
        E::Unsupported(kind) => format!("SSH keys of the kind {kind} cannot be encrypted to"),
        _ => "it is not a valid SSH public key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Recipient::parse(text).err().unwrap_or_default()
    }

    #[test]
    fn every_kind_is_recognised_with_blanks_around_it() {
        let x25519 = "age1ysxuaeqlk7xd8uqsh8lsnfwt9jzzjlqf49ruhpjrrj5yatlcuf7qke4pqe";
        assert!(matches!(Recipient::parse(&format!(" {x25519}\n")), Ok(Recipient::X25519(_))));
        let ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN a comment";
        assert!(matches!(Recipient::parse(ssh), Ok(Recipient::Ssh(_))));
        let plugin = "age1name1qqqsyrhqy2a";
        assert!(matches!(Recipient::parse(plugin), Ok(Recipient::Plugin(_)) | Err(_)));
    }

    #[test]
    fn what_is_no_recipient_is_refused_with_its_reason() {
        assert!(problem("age1ysxuaeqlk7xd8uqsh8lsnfwt9jzzjlqf49ruhpjrrj5yatlcuf7qke4pqf").contains("Bech32"));
        assert!(problem("AGE-SECRET-KEY-1QQQQ").contains("private key"));
        assert!(problem("ssh-ed25519 AAAA").contains("SSH"));
        assert!(problem("ssh-dss AAAAB3NzaC1kc3MAAACBAP").contains("SSH"));
        assert!(problem("alice@example.org").contains("none that age knows"));
        assert!(problem("").contains("none that age knows"));
    }

    #[test]
    fn an_identity_given_as_a_recipient_is_not_repeated() {
        assert!(!problem("AGE-SECRET-KEY-1QQQQ").contains("QQQ"));
    }
}
