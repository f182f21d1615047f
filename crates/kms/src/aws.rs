//! Data keys wrapped by AWS KMS.
//!
//! Wrapped form: standard base64 of the `CiphertextBlob` that `Encrypt` answers. `Decrypt` is asked with the key's ARN, so
//! that only that key may have made it, and with the same encryption context. The region is the ARN's. As
//! <https://getsops.io/docs/#aws-kms> describes, a role, where one is given, is assumed first.
//!
//! Settings and credentials are those of every AWS program: environment, profiles (static keys, roles, SSO,
//! `credential_process`), web identity (IRSA), containers, instance metadata (`IMDSv2`).

mod arn;

#[cfg(feature = "aws")]
mod clients;
#[cfg(feature = "aws")]
mod error;
#[cfg(feature = "aws")]
mod http;
#[cfg(feature = "aws")]
mod service;

use std::sync::Arc;

use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService};

use crate::registry::Context;

#[cfg(feature = "aws")]
pub(crate) use clients::State;

/// Opens the service for `id`. Asks no one.
pub(crate) fn open(id: &KeyId, context: &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError> {
    let KeyId::AwsKms { arn, .. } = id else {
        return Err(KeyError::new(KeyErrorKind::BadConfig, id, "not a key of AWS KMS"));
    };
    let region = arn::region(arn).map_err(|error| KeyError::new(KeyErrorKind::BadConfig, id, error))?.to_owned();
    #[cfg(feature = "aws")]
    {
        Ok(Arc::new(service::KmsKey::new(id, region, context)))
    }
    #[cfg(not(feature = "aws"))]
    {
        let _ = (region, context);
        let what = "this program was built without AWS (Cargo feature `aws` of bulla-kms is off)";
        Err(KeyError::new(KeyErrorKind::Unsupported, id, what)
            .with_hint("use a build with default features, or one of the file's other keys"))
    }
}

#[cfg(all(test, not(feature = "aws")))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_build_without_aws_says_how_it_was_built() {
        let id = KeyId::parse_aws_kms("arn:aws:kms:eu-west-1:1:key/k", BTreeMap::new(), None).unwrap();
        let env: Arc<dyn bulla_core::Env> = Arc::new(BTreeMap::<String, String>::new());
        let error = crate::Registry::new(env, crate::Options::default()).open(&id).err().unwrap();
        assert_eq!(error.kind(), KeyErrorKind::Unsupported);
        assert!(error.to_string().contains("feature `aws`"), "{error}");
    }
}
