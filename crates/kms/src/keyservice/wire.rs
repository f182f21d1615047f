//! Keys and failures as the protocol has them, and back.

use std::fmt;

use bulla_core::{KeyError, KeyErrorKind, KeyId};
use tonic::{Code, Status};

use super::generated::key::KeyType;
use super::generated::{
    AgeKey, AzureKeyVaultKey, DecryptResponse, EncryptRequest, GcpKmsKey, HckmsKey, Key, KmsKey, PgpKey, VaultKey,
};

/// `id` for the wire; `None` for kinds that the protocol has no form for.
pub(super) fn key(id: &KeyId) -> Option<Key> {
    let key_type = match id.clone() {
        KeyId::AwsKms { arn, role, context, profile } => {
            let (role, aws_profile) = (role.unwrap_or_default(), profile.unwrap_or_default());
            KeyType::KmsKey(KmsKey { arn, role, context, aws_profile })
        }
        KeyId::Pgp { fingerprint } => KeyType::PgpKey(PgpKey { fingerprint }),
        KeyId::GcpKms { resource_id } => KeyType::GcpKmsKey(GcpKmsKey { resource_id }),
        KeyId::AzureKeyVault { vault_url, name, version } => {
            KeyType::AzureKeyvaultKey(AzureKeyVaultKey { vault_url, name, version })
        }
        KeyId::VaultTransit { address, mount, key } => {
            KeyType::VaultKey(VaultKey { vault_address: address, engine_path: mount, key_name: key })
        }
        KeyId::Age { recipient } => KeyType::AgeKey(AgeKey { recipient }),
        KeyId::HuaweiKms { key_id } => KeyType::HckmsKey(HckmsKey { key_id }),
        _ => return None,
    };
    Some(Key { key_type: Some(key_type) })
}

/// The key that a request is about.
pub(super) fn key_id(key: Option<Key>) -> Result<KeyId, Status> {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let missing = || Status::invalid_argument("the request names no key, or one of a kind that came later");
    Ok(match key.and_then(|key| key.key_type).ok_or_else(missing)? {
        KeyType::KmsKey(KmsKey { arn, role, context, aws_profile }) => {
            KeyId::AwsKms { arn, role: some(role), context, profile: some(aws_profile) }
        }
        KeyType::PgpKey(PgpKey { fingerprint }) => KeyId::Pgp { fingerprint },
        KeyType::GcpKmsKey(GcpKmsKey { resource_id }) => KeyId::GcpKms { resource_id },
        KeyType::AzureKeyvaultKey(AzureKeyVaultKey { vault_url, name, version }) => {
            KeyId::AzureKeyVault { vault_url, name, version }
        }
        KeyType::VaultKey(VaultKey { vault_address, engine_path, key_name }) => {
            KeyId::VaultTransit { address: vault_address, mount: engine_path, key: key_name }
        }
        KeyType::AgeKey(AgeKey { recipient }) => KeyId::Age { recipient },
        KeyType::HckmsKey(HckmsKey { key_id }) => KeyId::HuaweiKms { key_id },
    })
}

/// A failure for the wire. The hint, which has no place of its own there, follows the message.
pub(super) fn status(error: &KeyError) -> Status {
    let code = match error.kind() {
        KeyErrorKind::NotFound => Code::NotFound,
        KeyErrorKind::Denied => Code::PermissionDenied,
        KeyErrorKind::Unreachable => Code::Unavailable,
        KeyErrorKind::Timeout => Code::DeadlineExceeded,
        KeyErrorKind::BadCiphertext => Code::DataLoss,
        KeyErrorKind::BadKeyFile => Code::FailedPrecondition,
        KeyErrorKind::BadConfig => Code::InvalidArgument,
        KeyErrorKind::Unsupported => Code::Unimplemented,
        _ => Code::Unknown,
    };
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    Status::new(code, format!("{error}{hint}"))
}

/// What kind of failure a code means. sops itself answers `Unknown` to all but a refusal by a person.
pub(super) fn kind(code: Code) -> KeyErrorKind {
    match code {
        Code::NotFound => KeyErrorKind::NotFound,
        Code::PermissionDenied | Code::Unauthenticated => KeyErrorKind::Denied,
        Code::Unavailable => KeyErrorKind::Unreachable,
        Code::DeadlineExceeded => KeyErrorKind::Timeout,
        Code::DataLoss => KeyErrorKind::BadCiphertext,
        Code::FailedPrecondition => KeyErrorKind::BadKeyFile,
        Code::InvalidArgument => KeyErrorKind::BadConfig,
        Code::Unimplemented => KeyErrorKind::Unsupported,
        _ => KeyErrorKind::Other,
    }
}

impl fmt::Debug for EncryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for DecryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptResponse").finish_non_exhaustive()
    }
}
