//! Key services by the kind of their key.

use std::sync::Arc;
use std::time::Duration;

use bulla_core::{Env, KeyError, KeyErrorKind, KeyId, KeyService};

use crate::cache::{Cache, Cached};
use crate::limit::Limited;

/// What a program sets for all key services.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long one wrap or unwrap may take before it counts as failed. Prompts for people are not timed.
    pub timeout: Duration,
    /// How many keys are tried at the same time.
    pub concurrency: usize,
}

impl Default for Options {
    /// 30 s, 8 at a time.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), concurrency: 8 }
    }
}

/// What key services share: the environment, the options, and what they opened already (parsed identities, HTTP clients,
/// tokens), so that 500 files cost one look-up.
pub(crate) struct Context {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) options: Options,
    pub(crate) age: Arc<crate::age::Places>,
    pub(crate) pgp: Arc<crate::pgp::State>,
    pub(crate) vault: Arc<crate::vault::State>,
    #[cfg(feature = "aws")]
    pub(crate) aws: Arc<crate::aws::State>,
    pub(crate) dns: crate::dns::Resolver,
    pub(crate) shares: Arc<crate::shares::Joined>,
    pub(crate) unwrapped: Arc<Cache>,
}

impl Context {
    /// Another context that shares all there is with this one.
    fn fork(&self) -> Self {
        Self {
            env: Arc::clone(&self.env),
            options: self.options.clone(),
            age: Arc::clone(&self.age),
            pgp: Arc::clone(&self.pgp),
            vault: Arc::clone(&self.vault),
            #[cfg(feature = "aws")]
            aws: Arc::clone(&self.aws),
            dns: self.dns.clone(),
            shares: Arc::clone(&self.shares),
            unwrapped: Arc::clone(&self.unwrapped),
        }
    }
}

/// A kind of key-encryption key, for help texts and error messages.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name, as in [`KeyId::kind`] and `--decryption-order`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    open: Option<Open>,
}

impl Kind {
    /// Whether this build wraps and unwraps with it. What it does not serve is kept when a file is written again.
    pub const fn is_served(&self) -> bool {
        self.open.is_some()
    }
}

type Open = fn(&KeyId, &Arc<Context>) -> Result<Arc<dyn KeyService>, KeyError>;

/// Every kind, in the order in which they are shown. A new service is a file and a line here.
const KINDS: &[Kind] = &[
    Kind { name: "age", what: "age recipients, SSH keys and age plugins", open: Some(crate::age::open) },
    Kind { name: "pgp", what: "OpenPGP keys of the user's GnuPG keyring", open: Some(crate::pgp::open) },
    Kind { name: "kms", what: "AWS KMS", open: Some(crate::aws::open) },
    Kind { name: "hc_vault", what: "the transit engine of Vault or OpenBao", open: Some(crate::vault::open) },
    Kind { name: "local", what: "an AES-256 key in a local file", open: Some(crate::local::open) },
    Kind { name: "shares", what: "a key that people hold shares of", open: Some(crate::shares::open) },
    Kind { name: "gcp_kms", what: "Google Cloud KMS", open: None },
    Kind { name: "azure_kv", what: "Azure Key Vault", open: None },
    Kind { name: "hckms", what: "Huawei Cloud KMS", open: None },
];

/// Opens key services by key id.
#[derive(Clone)]
pub struct Registry {
    context: Arc<Context>,
}

impl Registry {
    /// A registry that reads its settings from `env`.
    pub fn new(env: Arc<dyn Env>, options: Options) -> Self {
        Self {
            context: Arc::new(Context {
                env,
                options,
                age: Arc::default(),
                pgp: Arc::default(),
                vault: Arc::default(),
                #[cfg(feature = "aws")]
                aws: Arc::default(),
                dns: crate::dns::Resolver::default(),
                shares: Arc::default(),
                unwrapped: Arc::default(),
            }),
        }
    }

    /// The same registry with keys that were put together from people's shares.
    #[must_use]
    pub fn with_shares(&self, joined: Arc<crate::shares::Joined>) -> Self {
        let mut context = self.context.fork();
        context.shares = joined;
        Self { context: Arc::new(context) }
    }

    /// The kinds of keys there are, served or not.
    pub const fn kinds() -> &'static [Kind] {
        KINDS
    }

    /// What it was made with.
    pub fn options(&self) -> &Options {
        &self.context.options
    }

    /// A registry whose age key service asks `ask` for passphrases.
    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "test code: a failure is a panic")]
    pub(crate) fn asking(env: Arc<dyn Env>, options: Options, ask: Box<dyn crate::ask::Ask>) -> Self {
        let mut registry = Self::new(env, options);
        Arc::get_mut(&mut registry.context).unwrap().age = Arc::new(crate::age::Places::asking(Arc::from(ask)));
        registry
    }

    /// A registry that shares with this one all but what it knows about keys of this kind: where a file was missing, a
    /// command failed, a token was too old or a person declined, it looks again. For a server, which outlives all that.
    ///
    /// `None` if there is nothing to forget, or a person would have to type a passphrase again.
    pub(crate) fn forgetting(&self, kind: &str) -> Option<Self> {
        let known = &self.context;
        let mut context = known.fork();
        match kind {
            "age" if !known.age.is_unlocked() => {
                context.age = Arc::new(crate::age::Places::asking(Arc::clone(&known.age.ask)));
            }
            "pgp" => context.pgp = Arc::default(),
            "hc_vault" => context.vault = Arc::default(),
            _ => return None,
        }
        Some(Self { context: Arc::new(context) })
    }

    /// Whether this is the same registry, or a clone of it.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.context, &other.context)
    }

    /// The service that holds `id`. Opening does no I/O and asks no one; wrapping and unwrapping do.
    ///
    /// What it is asked fails with [`KeyErrorKind::Timeout`] past [`Options::timeout`], unless it may ask a person: then
    /// there is no limit, and it waits until no other service is asking.
    ///
    /// # Errors
    /// [`KeyErrorKind::Unsupported`] for kinds that this version does not serve, [`KeyErrorKind::BadConfig`] for a
    /// malformed id.
    pub fn open(&self, id: &KeyId) -> Result<Arc<dyn KeyService>, KeyError> {
        let unsupported = || {
            let what = "this version of bulla cannot use this kind of key";
            KeyError::new(KeyErrorKind::Unsupported, id, what).with_hint(
                "another key of the file can open it; a key service that can use this kind is named with --keyservice",
            )
        };
        let open =
            KINDS.iter().find(|kind| kind.name == id.kind()).and_then(|kind| kind.open).ok_or_else(unsupported)?;
        Ok(Arc::new(Limited::new(open(id, &self.context)?, self.context.options.timeout)))
    }

    /// The service that holds `id`, which unwraps the same text only once.
    pub(crate) fn open_cached(&self, id: &KeyId) -> Result<Arc<dyn KeyService>, KeyError> {
        Ok(Arc::new(Cached::new(self.open(id)?, &self.context.unwrapped)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn ids() -> Vec<KeyId> {
        let text = || String::from("x");
        vec![
            KeyId::Age { recipient: text() },
            KeyId::Pgp { fingerprint: text() },
            KeyId::AwsKms { arn: text(), role: None, context: BTreeMap::new(), profile: None },
            KeyId::GcpKms { resource_id: text() },
            KeyId::AzureKeyVault { vault_url: text(), name: text(), version: text() },
            KeyId::HuaweiKms { key_id: text() },
            KeyId::VaultTransit { address: text(), mount: text(), key: text() },
            KeyId::Local { path: "x".into() },
            KeyId::Shares { set: text() },
        ]
    }

    #[test]
    fn every_kind_of_key_is_listed_once() {
        let mut listed: Vec<_> = Registry::kinds().iter().map(|kind| kind.name).collect();
        let mut kinds: Vec<_> = ids().iter().map(KeyId::kind).collect();
        listed.sort_unstable();
        kinds.sort_unstable();
        assert_eq!(listed, kinds);
    }

    #[test]
    fn a_kind_that_is_not_served_says_so_by_name() {
        let registry = Registry::new(Arc::new(BTreeMap::new()), Options::default());
        for id in ids() {
            let kind = Registry::kinds().iter().find(|kind| kind.name == id.kind()).unwrap();
            if let Err(error) = registry.open(&id)
                && !kind.is_served()
            {
                assert_eq!(error.kind(), KeyErrorKind::Unsupported);
                assert!(error.to_string().starts_with(&format!("{} ", id.kind())), "{error}");
            } else {
                assert!(kind.is_served(), "{}", kind.name);
            }
        }
    }
}
