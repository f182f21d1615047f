//! What a file is, by its name and its content.

use bulla_core::SecretBytes;
use bulla_document::{detect, syntax_of_name};

use super::file::{EncryptedFile, FileKind};

/// What the file called `name` with contents `text` is, encrypted or not.
///
/// An ending that sops knows decides, and `.toml`. Else the content does: an encrypted binary file is known by its shape, other
/// texts by their syntax. What looks like nothing is binary.
pub fn kind_of(name: &str, text: &[u8]) -> FileKind {
    let syntax = match syntax_of_name(name) {
        None if is_encrypted_binary(text) => None,
        None => detect(name, text),
        known => known,
    };
    syntax.map_or(FileKind::Binary, FileKind::Text)
}

/// Whether a file of this kind is encrypted: it has metadata that can be read. Costs one search in texts that do not name
/// it at all.
pub fn is_encrypted(kind: FileKind, text: &[u8]) -> bool {
    memchr::memmem::find(text, b"sops").is_some() && EncryptedFile::parse(kind, SecretBytes::from(text)).is_ok()
}

/// Whether the text is what encrypting a binary file gives: `{"data": "ENC[…]", "sops": …`, and nothing between the two.
fn is_encrypted_binary(text: &[u8]) -> bool {
    fn after<'a>(text: &'a [u8], token: &[u8]) -> Option<&'a [u8]> {
        text.trim_ascii_start().strip_prefix(token)
    }
    let value = after(text, b"{").and_then(|text| after(text, b"\"data\"")).and_then(|text| after(text, b":"));
    let Some(value) = value.and_then(|text| after(text, b"\"")) else { return false };
    let Some(end) = memchr::memchr(b'"', value) else { return false };
    let is_sealed = end == 0 || value.starts_with(b"ENC[");
    is_sealed && after(&value[end + 1..], b",").is_some_and(|text| after(text, b"\"sops\"").is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bulla_core::{DataKey, KeyId, WrappedKey};
    use bulla_document::Syntax;

    use super::*;
    use crate::sops::{MasterKey, Metadata, encrypt};

    fn encrypted(kind: FileKind, text: &[u8]) -> Vec<u8> {
        let key = MasterKey {
            id: KeyId::Local { path: "key".into() },
            wrapped: WrappedKey::new("x"),
            created_at: "2026-01-02T03:04:05Z".to_owned(),
            unknown: Vec::new(),
        };
        let metadata = Metadata {
            groups: vec![vec![key]],
            last_modified: "2026-01-02T03:04:05Z".to_owned(),
            ..Metadata::default()
        };
        let key = DataKey::generate().unwrap();
        encrypt(kind, SecretBytes::from(text), metadata, &key, None).unwrap().expose().to_vec()
    }

    #[test]
    fn an_encrypted_binary_file_is_known_whatever_its_name() {
        for content in [b"\x00\xff".as_slice(), b""] {
            let text = encrypted(FileKind::Binary, content);
            assert_eq!(kind_of("key.pem", &text), FileKind::Binary);
            assert!(is_encrypted(FileKind::Binary, &text));
        }
        assert!(!is_encrypted_binary(b"{\"data\": \"plain\", \"sops\": {}}"));
        assert!(!is_encrypted_binary(b"{\"data\": \"ENC[x]\", \"other\": 1, \"sops\": {}}"));
        assert!(!is_encrypted_binary(b""));
    }

    #[test]
    fn only_a_file_with_metadata_is_encrypted() {
        let json = FileKind::Text(Syntax::Json);
        assert!(is_encrypted(json, &encrypted(json, b"{\"a\": 1}")));
        assert!(!is_encrypted(json, b"{\"a\": \"sops\"}"));
        assert!(!is_encrypted(json, b"{\"sops\": true}"));
        assert!(!is_encrypted(json, b"sops {"));
    }
}
