//! Keys of a real OpenBao, as the key service names them.

use bulla_core::KeyId;
use bulla_test_support::bao::Bao;

/// What tests of the key service want of one.
pub(crate) trait Keys {
    /// Makes a key: its path below `/v1/`, and its id.
    fn key_at(&self) -> (String, KeyId);

    /// Makes a key.
    fn key(&self) -> KeyId {
        self.key_at().1
    }
}

impl Keys for Bao {
    fn key_at(&self) -> (String, KeyId) {
        let path = self.make_key();
        let id = KeyId::parse_vault_transit(&format!("{}/v1/{path}", self.url())).unwrap();
        (path, id)
    }
}
