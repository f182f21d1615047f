//! New age identities, for people who have none yet.

use std::fmt::Write as _;

use age::secrecy::ExposeSecret;
use bulla_core::SecretBytes;

/// A new X25519 identity.
pub struct NewIdentity {
    /// The recipient to encrypt to: `age1…`.
    pub recipient: String,
    /// The text of an identity file, as `age-keygen` writes it: two comments and `AGE-SECRET-KEY-1…`.
    pub file: SecretBytes,
}

/// Makes an identity. `created` stands in the file's first comment (RFC 3339).
pub fn generate(created: &str) -> NewIdentity {
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let mut file = SecretBytes::with_capacity(256);
    let secret = identity.to_string();
    // Writing to memory does not fail.
    let _ = write!(file, "# created: {created}\n# public key: {recipient}\n{}\n", secret.expose_secret());
    NewIdentity { recipient, file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_identity_of_the_recipient() {
        let new = generate("2026-01-02T03:04:05Z");
        let text = String::from_utf8_lossy(new.file.expose()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "# created: 2026-01-02T03:04:05Z");
        assert_eq!(lines[1], format!("# public key: {}", new.recipient));
        let identity: Result<age::x25519::Identity, _> = lines[2].parse();
        assert_eq!(identity.map(|identity| identity.to_public().to_string()), Ok(new.recipient));
    }
}
