//! Any bytes as an encrypted file; any text that parses, encrypted and decrypted, is the same bytes.
#![no_main]

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_document::Syntax;
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck, MasterKey, Metadata, encrypt};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&first, text)) = data.split_first() else { return };
    let kinds = [
        FileKind::Text(Syntax::Yaml),
        FileKind::Text(Syntax::Json),
        FileKind::Text(Syntax::Dotenv),
        FileKind::Text(Syntax::Ini),
        FileKind::Text(Syntax::Toml),
        FileKind::Binary,
    ];
    let kind = kinds[usize::from(first) % kinds.len()];
    let Ok(key) = DataKey::from_bytes(SecretBytes::from([7; 32].as_slice())) else { return };
    if let Ok(file) = EncryptedFile::parse(kind, text.into()) {
        let _ = file.decrypt(&key, MacCheck::Ignore).is_ok();
    }
    // A file without recipients is not written.
    let recipient = MasterKey {
        id: KeyId::Local { path: "/key".into() },
        wrapped: WrappedKey::new("wrapped"),
        created_at: "2026-01-02T03:04:05Z".into(),
        unknown: Vec::new(),
    };
    let groups = vec![vec![recipient]];
    let metadata = Metadata { groups, last_modified: "2026-01-02T03:04:05Z".into(), version: "3.13.3".into(), ..Metadata::default() };
    let encrypted = match encrypt(kind, text.into(), metadata, &key, None) {
        Ok(encrypted) => encrypted,
        // Refused, `SelfCheck` among it: a text that the metadata cannot be put into (known: a flow map that ends in a bare tag, a tab
        // behind a lone `~`) is an error and nothing is written.
        Err(_) => return,
    };
    let file = EncryptedFile::parse(kind, encrypted).expect("what was encrypted can be read");
    let plain = file.decrypt(&key, MacCheck::Strict).expect("what was encrypted can be decrypted");
    assert!(plain.text.expose() == text, "decrypted bytes differ from what was encrypted");
});
