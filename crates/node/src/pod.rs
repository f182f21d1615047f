//! The pod that a volume is for, as the kubelet says it.

use std::collections::BTreeMap;

use bulla_core::{SecretBytes, SecretString};
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroize;

/// What begins the keys that the kubelet adds (`podInfoOnMount`).
pub(crate) const PREFIX: &str = "csi.storage.k8s.io/";
/// The tokens, in the volume's context or, since Kubernetes 1.35 where the driver asks for it, among its secrets.
pub(crate) const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
/// What to do where the kubelet does not say which pod it is.
const INFO: &str = "the CSIDriver object has to say podInfoOnMount: true";
/// The attribute that names the class.
pub(crate) const CLASS: &str = "secretProviderClass";

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which pod of that name.
    pub uid: String,
    /// Its service account.
    pub service_account: String,
}

/// A token of the pod's service account, for one audience.
#[derive(Clone, Debug)]
pub struct Token {
    /// What is sent.
    pub token: SecretString,
    /// Until when it is good.
    pub expires: Timestamp,
}

/// The pod's tokens by audience; the API server's own audience is written as nothing.
pub type Tokens = BTreeMap<String, Token>;

/// What a volume is to be, as the kubelet asks for it.
#[derive(Clone, Debug)]
pub struct Volume {
    /// For whom.
    pub pod: Pod,
    /// The name of the class, in the pod's namespace.
    pub class: String,
    /// The pod's tokens.
    pub tokens: Tokens,
    /// What `nodePublishSecretRef` names.
    pub secrets: BTreeMap<String, SecretString>,
}

/// What is missing or malformed in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeContextError {
    /// A key is missing.
    #[error("{0} is missing: {1}")]
    Missing(&'static str, &'static str),
    /// The tokens are not the JSON that the kubelet writes. Nothing of it is shown.
    #[error("the service account's tokens are malformed")]
    Tokens,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    token: String,
    expiration_timestamp: Timestamp,
}

impl Volume {
    /// From the context and the secrets of a request. What was a token in them is wiped.
    ///
    /// # Errors
    /// [`VolumeContextError`].
    pub fn read(
        mut context: BTreeMap<String, String>,
        mut secrets: BTreeMap<String, String>,
    ) -> Result<Self, VolumeContextError> {
        // The peer looks among the secrets first.
        let tokens = secrets.remove(TOKENS).or_else(|| context.remove(TOKENS));
        let mut take = |key: &str| context.remove(key).filter(|value| !value.is_empty());
        let class =
            take(CLASS).ok_or(VolumeContextError::Missing(CLASS, "name one in the volume's volumeAttributes"))?;
        let mut info =
            |key: &'static str| take(&format!("{PREFIX}{key}")).ok_or(VolumeContextError::Missing(key, INFO));
        let pod = Pod {
            name: info("pod.name")?,
            namespace: info("pod.namespace")?,
            uid: info("pod.uid")?,
            service_account: info("serviceAccount.name")?,
        };
        let tokens = tokens.map(read_tokens).transpose()?.unwrap_or_default();
        let secrets = secrets.into_iter().map(|(key, value)| (key, secret(value))).collect();
        Ok(Self { pod, class, tokens, secrets })
    }
}

fn read_tokens(mut text: String) -> Result<Tokens, VolumeContextError> {
    let read = serde_json::from_str::<BTreeMap<String, Written>>(&text).map_err(|_| VolumeContextError::Tokens);
    text.zeroize();
    let token = |(audience, written): (String, Written)| {
        (audience, Token { token: secret(written.token), expires: written.expiration_timestamp })
    };
    Ok(read?.into_iter().map(token).collect())
}

/// Takes a text into memory that is wiped.
fn secret(text: String) -> SecretString {
    SecretString::from_utf8(SecretBytes::from(text.into_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> BTreeMap<String, String> {
        [
            ("secretProviderClass", "app"),
            ("csi.storage.k8s.io/pod.name", "web-0"),
            ("csi.storage.k8s.io/pod.namespace", "shop"),
            ("csi.storage.k8s.io/pod.uid", "u-1"),
            ("csi.storage.k8s.io/serviceAccount.name", "web"),
            ("csi.storage.k8s.io/ephemeral", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    const JSON: &str = r#"{"vault":{"token":"ey.a.b","expirationTimestamp":"2026-11-25T12:00:00Z"}}"#;

    #[test]
    fn tokens_come_by_either_way() {
        let mut with = context();
        with.insert(TOKENS.to_owned(), JSON.to_owned());
        for volume in [
            Volume::read(with, BTreeMap::new()).unwrap(),
            Volume::read(context(), [(TOKENS.to_owned(), JSON.to_owned())].into()).unwrap(),
        ] {
            assert_eq!(volume.tokens["vault"].token.expose(), "ey.a.b");
            assert_eq!((volume.pod.service_account.as_str(), volume.class.as_str()), ("web", "app"));
            assert!(volume.secrets.is_empty() && !format!("{volume:?}").contains("ey.a.b"));
        }
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_malformed_not_shown() {
        for key in ["secretProviderClass", "csi.storage.k8s.io/pod.uid", "csi.storage.k8s.io/serviceAccount.name"] {
            let mut context = context();
            context.remove(key);
            let error = Volume::read(context, BTreeMap::new()).unwrap_err().to_string();
            assert!(key.ends_with(error.split(' ').next().unwrap()), "{error}");
        }
        let mut broken = context();
        broken.insert(TOKENS.to_owned(), "{\"a\":\"ey.a.b\"}".to_owned());
        assert_eq!(Volume::read(broken, BTreeMap::new()).unwrap_err(), VolumeContextError::Tokens);
    }
}
