//! Which key services protect the private keys: what `--key-service` takes, and how a recipient stands in a `SealingKey`.

use std::collections::BTreeMap;

use bulla_core::{KeyId, KeyParseError, is_private_key};
use bulla_kms::shares::Set;

/// What to choose from, for whoever chose nothing.
pub const CHOICES: &str = "\
no key service protects the sealing keys, so the controller does not start. Choose with --key-service
(give it several times, and any one of them opens the keys: losing one loses nothing):
  a cloud's KMS        arn:aws:kms:REGION:ACCOUNT:key/ID
  Vault, OpenBao       https://HOST:8200/v1/MOUNT/keys/NAME
  a key file on the control-plane nodes, 32 bytes, mode 0600
                       local:/etc/bulla/sealing.key
  an age identity      age1… (SOPS_AGE_KEY_FILE says where the controller finds it)
  people               shares:SET, the set that `bulla sealing-keys init-shares` makes; after each start enough of them
                       run `bulla sealing-keys unseal`
  none                 plain-secret: the private key stands in a Secret, and whoever reads Secrets or etcd opens
                       every SealedSecret. The controller warns at each start, and every audit lists it.";

/// Why the key services cannot be used as they were named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// None was named.
    #[error("{CHOICES}")]
    None,
    /// Not a key.
    #[error("--key-service {0}")]
    Key(#[from] KeyParseError),
    /// Not a key of any kind.
    #[error(
        "--key-service {0:?} is no key service: an ARN of AWS KMS, a URL of Vault's transit engine, age1…, local:/PATH, pgp:FINGERPRINT, shares:SET or plain-secret"
    )]
    Unknown(String),
    /// The plain Secret beside real key services.
    #[error("--key-service plain-secret cannot stand beside other key services: the plain key would make them useless")]
    PlainBeside,
    /// The threshold does not fit the groups.
    #[error("--key-service-threshold {threshold} does not fit {groups} key services: 2 to all of them can be needed")]
    Threshold {
        /// What was asked for.
        threshold: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// Shares were named and there is no set of them.
    #[error("--key-service shares: no shares have been made; run `bulla sealing-keys init-shares` first")]
    NoShares,
    /// The set of shares in the cluster is another one.
    #[error(
        "the shares in the cluster are of the set {found}, and {wanted} is the one that keys are wrapped for: whoever may write ConfigMaps here can put in a set whose shares they hold. If it is wanted, name it: --key-service shares:{found}"
    )]
    OtherShares {
        /// The set that was named, or that keys are wrapped for.
        wanted: String,
        /// The set in the cluster.
        found: String,
    },
}

/// What the flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyServices {
    /// The private keys are wrapped.
    Wrapped(Named),
    /// They stand in plain Secrets.
    PlainSecret,
}

/// Recipients as they were named; the set of shares is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    groups: Vec<Vec<Recipient>>,
    threshold: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Recipient {
    Key(KeyId),
    /// Of this set, if one was named.
    Shares(Option<String>),
}

/// Whom private keys are wrapped for: one group of which any key opens, or several of which `threshold` are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    /// The groups.
    pub groups: Vec<Vec<KeyId>>,
    /// How many groups are needed; all without it. Of no meaning for one group.
    pub threshold: Option<usize>,
}

impl KeyServices {
    /// Reads the values of `--key-service`. Without a threshold all are one group, of which any opens. With one each value is a
    /// group (alternatives in it are separated by commas), and so many groups are needed.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse<S: AsRef<str>>(values: &[S], threshold: Option<usize>) -> Result<Self, ConfigError> {
        let mut groups = Vec::new();
        let mut plain = false;
        for value in values {
            let mut group: Vec<Recipient> = Vec::new();
            for name in value.as_ref().split(',').map(str::trim).filter(|name| !name.is_empty()) {
                match name {
                    "plain-secret" => plain = true,
                    "shares" => group.push(Recipient::Shares(None)),
                    name if name.starts_with("shares:") => group.push(Recipient::Shares(Some(parse_set(name)?))),
                    name => group.push(Recipient::Key(parse_key(name)?)),
                }
            }
            groups.extend((!group.is_empty()).then_some(group));
        }
        match (plain, groups.is_empty()) {
            (true, true) => return Ok(Self::PlainSecret),
            (true, false) => return Err(ConfigError::PlainBeside),
            (false, true) => return Err(ConfigError::None),
            (false, false) => {}
        }
        match threshold {
            None => {
                let mut one: Vec<Recipient> = Vec::new();
                for recipient in groups.into_iter().flatten() {
                    if !one.contains(&recipient) {
                        one.push(recipient);
                    }
                }
                groups = vec![one];
            }
            Some(threshold) if threshold < 2 || threshold > groups.len() => {
                return Err(ConfigError::Threshold { threshold, groups: groups.len() });
            }
            Some(_) => {}
        }
        Ok(Self::Wrapped(Named { groups, threshold }))
    }
}

impl Named {
    /// Whether people's shares are among them.
    pub fn has_shares(&self) -> bool {
        self.groups.iter().flatten().any(|recipient| matches!(recipient, Recipient::Shares(_)))
    }

    /// Whether their set was not named: then it is the one that the cluster has.
    pub fn has_any_shares(&self) -> bool {
        self.groups.iter().flatten().any(|recipient| *recipient == Recipient::Shares(None))
    }

    /// The recipients, with the set of shares that there is.
    ///
    /// # Errors
    /// [`ConfigError::NoShares`], [`ConfigError::OtherShares`].
    pub fn resolve(&self, set: Option<&Set>) -> Result<Recipients, ConfigError> {
        let one = |recipient: &Recipient| match (recipient, set) {
            (Recipient::Key(id), _) => Ok(id.clone()),
            (Recipient::Shares(Some(wanted)), Some(set)) if *wanted != set.id => {
                Err(ConfigError::OtherShares { wanted: wanted.clone(), found: set.id.clone() })
            }
            (Recipient::Shares(_), Some(set)) => Ok(set.key_id()),
            (Recipient::Shares(_), None) => Err(ConfigError::NoShares),
        };
        let groups = self.groups.iter().map(|group| group.iter().map(one).collect()).collect::<Result<_, _>>()?;
        Ok(Recipients { groups, threshold: self.threshold })
    }
}

impl Recipients {
    /// All keys of all groups.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.groups.iter().flatten()
    }
}

/// A key by its text: with its kind in front (sops' names, and what people call them), or known by its form.
///
/// # Errors
/// [`ConfigError`]; a private key is not repeated.
pub fn parse_key(text: &str) -> Result<KeyId, ConfigError> {
    if is_private_key(text) {
        return Err(ConfigError::Unknown("(a private key)".to_owned()));
    }
    let aws = |text: &str| KeyId::parse_aws_kms(text, BTreeMap::new(), None);
    if text.starts_with("arn:") {
        return Ok(aws(text)?);
    }
    if text.starts_with("age1") || text.starts_with("ssh-") {
        return Ok(KeyId::parse_age(text)?);
    }
    if text.starts_with("projects/") {
        return Ok(KeyId::parse_gcp_kms(text)?);
    }
    if text.starts_with("https://") && text.contains(".vault.azure.net/") {
        return Ok(KeyId::parse_azure_key_vault(text)?);
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return Ok(KeyId::parse_vault_transit(text)?);
    }
    let Some((kind, rest)) = text.split_once(':') else { return Err(ConfigError::Unknown(text.to_owned())) };
    Ok(match kind {
        "awskms" | "kms" => aws(rest)?,
        "vault" | "hc_vault" => KeyId::parse_vault_transit(rest)?,
        "age" => KeyId::parse_age(rest)?,
        "pgp" => KeyId::parse_pgp(rest)?,
        "gcp_kms" => KeyId::parse_gcp_kms(rest)?,
        "azure_kv" => KeyId::parse_azure_key_vault(rest)?,
        "hckms" => KeyId::parse_huawei_kms(rest)?,
        "local" if !rest.is_empty() => KeyId::Local { path: rest.into() },
        _ => return Err(ConfigError::Unknown(text.to_owned())),
    })
}

/// The id in `shares:ID`.
fn parse_set(text: &str) -> Result<String, ConfigError> {
    let id = text.strip_prefix("shares:").unwrap_or_default();
    let is_hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_hex { Ok(id.to_owned()) } else { Err(ConfigError::Unknown(text.to_owned())) }
}

/// That the set in the cluster is the one that the keys are wrapped for, as far as they are for any: it was not exchanged.
///
/// # Errors
/// [`ConfigError::OtherShares`].
pub fn check_set<'a>(
    set: &Set,
    keys: impl IntoIterator<Item = &'a bulla_kube::api::sealing_key::WrappedPrivateKey>,
) -> Result<(), ConfigError> {
    let entries = keys.into_iter().flat_map(|wrapped| &wrapped.key_groups).flat_map(|group| &group.keys);
    let mut others = entries.filter(|entry| entry.kind == "shares").filter_map(|entry| entry.id.get("set"));
    match others.find(|other| **other != set.id) {
        Some(other) => Err(ConfigError::OtherShares { wanted: other.clone(), found: set.id.clone() }),
        None => Ok(()),
    }
}

/// A key's fields as a `SealingKey` has them: sops' names.
pub(super) fn fields(id: &KeyId) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        if !value.is_empty() {
            fields.insert(name.to_owned(), value.to_owned());
        }
    };
    match id {
        KeyId::Age { recipient } => set("recipient", recipient),
        KeyId::Pgp { fingerprint } => set("fp", fingerprint),
        KeyId::AwsKms { arn, role, context, profile } => {
            set("arn", arn);
            set("role", role.as_deref().unwrap_or_default());
            set("aws_profile", profile.as_deref().unwrap_or_default());
            for (name, value) in context {
                set(&format!("context.{name}"), value);
            }
        }
        KeyId::GcpKms { resource_id } => set("resource_id", resource_id),
        KeyId::AzureKeyVault { vault_url, name, version } => {
            set("vault_url", vault_url);
            set("name", name);
            set("version", version);
        }
        KeyId::HuaweiKms { key_id } => set("key_id", key_id),
        KeyId::VaultTransit { address, mount, key } => {
            set("vault_address", address);
            set("engine_path", mount);
            set("key_name", key);
        }
        KeyId::Local { path } => set("path", &path.to_string_lossy()),
        KeyId::Shares { set: id } => set("set", id),
        // A kind that is new in `KeyId` has no flag here, so nothing is wrapped for it.
        _ => {}
    }
    fields
}

/// The key of a kind with these fields; `None` if a field is missing or the kind is unknown.
pub(super) fn from_fields(kind: &str, fields: &BTreeMap<String, String>) -> Option<KeyId> {
    let field = |name: &str| fields.get(name).cloned();
    Some(match kind {
        "age" => KeyId::Age { recipient: field("recipient")? },
        "pgp" => KeyId::Pgp { fingerprint: field("fp")? },
        "kms" => KeyId::AwsKms {
            arn: field("arn")?,
            role: field("role"),
            profile: field("aws_profile"),
            context: fields
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("context.")?.to_owned(), value.clone())))
                .collect(),
        },
        "gcp_kms" => KeyId::GcpKms { resource_id: field("resource_id")? },
        "azure_kv" => KeyId::AzureKeyVault {
            vault_url: field("vault_url")?,
            name: field("name")?,
            version: field("version").unwrap_or_default(),
        },
        "hckms" => KeyId::HuaweiKms { key_id: field("key_id")? },
        "hc_vault" => KeyId::VaultTransit {
            address: field("vault_address")?,
            mount: field("engine_path")?,
            key: field("key_name")?,
        },
        "local" => KeyId::Local { path: field("path")?.into() },
        "shares" => KeyId::Shares { set: field("set")? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ARN: &str = "arn:aws:kms:eu-central-1:1:key/a";
    const VAULT: &str = "https://v:8200/v1/transit/keys/k";

    fn groups(values: &[&str], threshold: Option<usize>) -> Vec<Vec<String>> {
        let KeyServices::Wrapped(named) = KeyServices::parse(values, threshold).unwrap() else { panic!("plain") };
        let recipients = named.resolve(None).unwrap();
        assert_eq!(recipients.threshold, threshold);
        recipients.groups.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn without_a_threshold_any_key_service_opens() {
        assert_eq!(groups(&[ARN, "age1x,local:/k"], None), [[ARN, "age1x", "/k"]]);
        assert_eq!(groups(&[VAULT, VAULT, ""], None), [[VAULT]]);
    }

    #[test]
    fn with_a_threshold_each_value_is_a_group() {
        let expected = [vec![ARN, VAULT], vec!["age1x"], vec!["/k"]];
        assert_eq!(groups(&[&format!("{ARN},{VAULT}"), "age1x", "local:/k"], Some(2)), expected);
        for wrong in [0, 1, 4] {
            let error = KeyServices::parse(&[ARN, VAULT, "age1x"], Some(wrong)).unwrap_err();
            assert_eq!(error, ConfigError::Threshold { threshold: wrong, groups: 3 });
        }
    }

    #[test]
    fn who_names_no_key_service_is_told_the_choices() {
        let error = KeyServices::parse::<&str>(&[], None).unwrap_err().to_string();
        for choice in ["arn:aws:kms", "Vault", "local:/", "age1", "shares", "plain-secret"] {
            assert!(error.contains(choice), "{choice}: {error}");
        }
    }

    #[test]
    fn the_plain_secret_is_asked_for_by_name_and_alone() {
        assert_eq!(KeyServices::parse(&["plain-secret"], None), Ok(KeyServices::PlainSecret));
        assert_eq!(KeyServices::parse(&["plain-secret", ARN], None), Err(ConfigError::PlainBeside));
    }

    #[test]
    fn shares_need_a_set() {
        let Ok(KeyServices::Wrapped(named)) = KeyServices::parse(&["shares", ARN], None) else { panic!() };
        assert!(named.has_shares());
        assert_eq!(named.resolve(None), Err(ConfigError::NoShares));
        let (set, _) = bulla_kms::shares::create(2, 2).unwrap();
        assert_eq!(named.resolve(Some(&set)).unwrap().groups[0][0], set.key_id());
    }

    #[test]
    fn a_set_of_shares_cannot_be_exchanged() {
        let (set, _) = bulla_kms::shares::create(2, 2).unwrap();
        let (theirs, _) = bulla_kms::shares::create(2, 2).unwrap();
        let named = |text: &str| match KeyServices::parse(&[text], None) {
            Ok(KeyServices::Wrapped(named)) => named,
            other => panic!("{other:?}"),
        };
        let pinned = named(&format!("shares:{}", set.id));
        assert!(pinned.has_shares() && !pinned.has_any_shares() && named("shares").has_any_shares());
        assert_eq!(pinned.resolve(Some(&set)).unwrap().groups, [[set.key_id()]]);
        let error = pinned.resolve(Some(&theirs)).unwrap_err();
        assert_eq!(error, ConfigError::OtherShares { wanted: set.id.clone(), found: theirs.id.clone() });
        assert!(KeyServices::parse(&["shares:x"], None).is_err());
        // Where it was not named, the keys that are there say which it was.
        let entry = bulla_kube::api::sealing_key::WrappedDataKey {
            kind: "shares".to_owned(),
            id: fields(&set.key_id()),
            wrapped: "x".to_owned(),
        };
        let wrapped = bulla_kube::api::sealing_key::WrappedPrivateKey {
            key_groups: vec![bulla_kube::api::sealing_key::KeyGroup { keys: vec![entry] }],
            threshold: None,
            ciphertext: "x".to_owned(),
        };
        assert_eq!(check_set(&set, [&wrapped]), Ok(()));
        assert_eq!(check_set(&theirs, [&wrapped]), Err(error));
        assert_eq!(check_set(&theirs, []), Ok(()));
    }

    #[test]
    fn what_is_no_key_is_named_unless_it_is_a_private_one() {
        for wrong in ["nonsense", "local:", "https://v/x", "kms:", "unknown:x"] {
            assert!(parse_key(wrong).is_err(), "{wrong}");
        }
        let error = parse_key("AGE-SECRET-KEY-1QQQ").unwrap_err().to_string();
        assert!(!error.contains("QQQ"), "{error}");
    }

    #[test]
    fn every_kind_of_key_comes_back_from_its_fields() {
        let context = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let with_context =
            KeyId::AwsKms { arn: ARN.to_owned(), role: Some("r".to_owned()), context, profile: Some("p".to_owned()) };
        let named = [
            ARN,
            "awskms:arn:aws:kms:x",
            VAULT,
            "vault:http://v/v1/t/keys/k",
            "age1x",
            "ssh-ed25519 AAAA",
            "pgp:ABCD",
            "local:/k",
            "projects/p",
            "https://n.vault.azure.net/keys/k/1",
            "hckms:r:u",
        ];
        let ids = named.into_iter().map(|text| parse_key(text).unwrap());
        for id in ids.chain([with_context, KeyId::Shares { set: "s".to_owned() }]) {
            assert_eq!(from_fields(id.kind(), &fields(&id)), Some(id));
        }
        assert_eq!(from_fields("kms", &BTreeMap::new()), None);
        assert_eq!(from_fields("x", &BTreeMap::new()), None);
    }
}
