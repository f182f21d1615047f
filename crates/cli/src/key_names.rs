//! Keys as people write them on the command line: an ARN, a fingerprint, a URL, a recipient.

use std::collections::BTreeMap;

use bulla_core::KeyId;
use clap::Args;

use crate::error::Failure;
use crate::exit::Code;

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// AWS KMS.
    Aws,
    /// Google Cloud KMS.
    Gcp,
    /// Huawei Cloud KMS.
    Huawei,
    /// Azure Key Vault.
    Azure,
    /// OpenPGP.
    Pgp,
    /// Vault transit.
    Vault,
    /// age.
    Age,
    /// A file with an AES key.
    Local,
}

/// Flags that go with AWS KMS keys.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Keys (lists separated by commas)")]
pub(crate) struct AwsArgs {
    /// The AWS profile for AWS KMS keys
    #[arg(long, value_name = "NAME")]
    pub(crate) aws_profile: Option<String>,

    /// The encryption context for AWS KMS keys
    #[arg(long, value_name = "KEY:VALUE,…")]
    pub(crate) encryption_context: Option<String>,
}

/// What AWS KMS keys named by flags have besides their ARN.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwsSettings {
    /// The profile.
    pub(crate) profile: Option<String>,
    /// The encryption context.
    pub(crate) context: BTreeMap<String, String>,
}

impl AwsArgs {
    /// What the flags say.
    ///
    /// # Errors
    /// [`Code::BadEncryptionContext`].
    pub(crate) fn settings(&self) -> Result<AwsSettings, Failure> {
        let mut context = BTreeMap::new();
        for pair in crate::args::given(self.encryption_context.as_ref()).into_iter().flat_map(|list| list.split(',')) {
            match pair.split_once(':') {
                Some((key, value)) if !value.contains(':') => context.insert(key.to_owned(), value.to_owned()),
                _ => {
                    return Err(Failure::new(Code::BadEncryptionContext, "Invalid KMS encryption context format")
                        .with_hint("write it as key:value,key:value"));
                }
            };
        }
        Ok(AwsSettings { profile: crate::args::given(self.aws_profile.as_ref()).map(str::to_owned), context })
    }
}

/// The key that `name` stands for.
///
/// # Errors
/// A name that is malformed for its kind. Whether the key exists is found out when it is used.
pub(crate) fn parse(kind: Kind, name: &str, aws: &AwsSettings) -> Result<KeyId, Failure> {
    let id = match kind {
        Kind::Aws => KeyId::parse_aws_kms(name, aws.context.clone(), aws.profile.clone()),
        Kind::Gcp => KeyId::parse_gcp_kms(name),
        Kind::Huawei => KeyId::parse_huawei_kms(name),
        Kind::Azure => KeyId::parse_azure_key_vault(name),
        Kind::Pgp => KeyId::parse_pgp(name),
        Kind::Vault => KeyId::parse_vault_transit(name),
        Kind::Age => KeyId::parse_age(name),
        Kind::Local => Ok(KeyId::Local { path: name.into() }),
    };
    id.map_err(|error| Failure::generic(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_malformed_encryption_context_has_its_own_exit_status() {
        let args = AwsArgs { encryption_context: Some("a:b,c".into()), ..AwsArgs::default() };
        assert_eq!(args.settings().unwrap_err().code, Code::BadEncryptionContext);
    }
}
