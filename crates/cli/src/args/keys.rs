//! The flags that name keys. One table serves `encrypt --age`, `rotate --add-age`, `rotate --rm-age` and the rest.

use std::marker::PhantomData;

use bulla_core::KeyId;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::env_vars;
use crate::error::Failure;
use crate::key_names::{self, Kind};

/// One kind of key on the command line.
pub(crate) struct KeyFlag {
    /// Which kind.
    pub(crate) kind: Kind,
    /// The flag's long name, without a prefix as `add-`.
    pub(crate) long: &'static str,
    /// Its short name where keys to encrypt with are named.
    pub(crate) short: Option<char>,
    env: Option<&'static str>,
    value_name: &'static str,
    /// What it names, for the help.
    pub(crate) what: &'static str,
}

impl KeyFlag {
    /// Whether sops has this kind of key.
    pub(crate) fn is_of_sops(&self) -> bool {
        self.kind != Kind::Local
    }
}

/// Every kind of key that a flag can name. The order is the one keys get in a file.
pub(crate) const KEY_FLAGS: [KeyFlag; 8] = [
    KeyFlag {
        kind: Kind::Aws,
        long: "kms",
        short: Some('k'),
        env: Some(env_vars::SOPS_KMS_ARN),
        value_name: "ARNS",
        what: "AWS KMS keys (ARN, or ARN+ROLE)",
    },
    KeyFlag {
        kind: Kind::Gcp,
        long: "gcp-kms",
        short: None,
        env: Some(env_vars::SOPS_GCP_KMS_IDS),
        value_name: "IDS",
        what: "Google Cloud KMS keys (resource id)",
    },
    KeyFlag {
        kind: Kind::Huawei,
        long: "hckms",
        short: None,
        env: Some(env_vars::SOPS_HUAWEICLOUD_KMS_IDS),
        value_name: "IDS",
        what: "Huawei Cloud KMS keys (REGION:UUID)",
    },
    KeyFlag {
        kind: Kind::Azure,
        long: "azure-kv",
        short: None,
        env: Some(env_vars::SOPS_AZURE_KEYVAULT_URLS),
        value_name: "URLS",
        what: "Azure Key Vault keys (https://VAULT/keys/NAME/VERSION)",
    },
    KeyFlag {
        kind: Kind::Pgp,
        long: "pgp",
        short: Some('p'),
        env: Some(env_vars::SOPS_PGP_FP),
        value_name: "FINGERPRINTS",
        what: "OpenPGP keys (fingerprint)",
    },
    KeyFlag {
        kind: Kind::Vault,
        long: "hc-vault-transit",
        short: None,
        env: Some(env_vars::SOPS_VAULT_URIS),
        value_name: "URIS",
        what: "Vault transit keys (https://HOST:8200/v1/MOUNT/keys/NAME)",
    },
    KeyFlag {
        kind: Kind::Age,
        long: "age",
        short: Some('a'),
        env: Some(env_vars::SOPS_AGE_RECIPIENTS),
        value_name: "RECIPIENTS",
        what: "age recipients (age1…, ssh-ed25519 …)",
    },
    KeyFlag {
        kind: Kind::Local,
        long: "local-key",
        short: None,
        env: None,
        value_name: "FILES",
        what: "AES keys in local files of 32 bytes",
    },
];

/// What the keys are named for: decides the flags' prefix, help, and whether they have short forms and variables.
pub(crate) trait Role {
    /// Before the flag's name.
    const PREFIX: &'static str;
    /// The help's first words.
    const VERB: &'static str;
    /// The heading in the help.
    const HEADING: &'static str;
    /// Whether the short forms and the environment variables hold.
    const SHORTHANDS: bool;
}

/// Keys to encrypt with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToEncrypt;
/// Keys of a new group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToGroup;
/// Keys to add to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToAdd;
/// Keys to take out of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToRemove;

impl Role for ToEncrypt {
    const PREFIX: &'static str = "";
    const VERB: &'static str = "Encrypt with";
    const HEADING: &'static str = "Keys (lists separated by commas)";
    const SHORTHANDS: bool = true;
}

impl Role for ToGroup {
    const PREFIX: &'static str = "";
    const VERB: &'static str = "The new group has";
    const HEADING: &'static str = "Keys (lists separated by commas)";
    const SHORTHANDS: bool = false;
}

impl Role for ToAdd {
    const PREFIX: &'static str = "add-";
    const VERB: &'static str = "Add";
    const HEADING: &'static str = "Keys to add (lists separated by commas)";
    const SHORTHANDS: bool = false;
}

impl Role for ToRemove {
    const PREFIX: &'static str = "rm-";
    const VERB: &'static str = "Remove";
    const HEADING: &'static str = "Keys to remove (lists separated by commas)";
    const SHORTHANDS: bool = false;
}

/// The keys that flags of one role named.
#[derive(Clone, Debug)]
pub(crate) struct KeyFlags<R> {
    named: Vec<(Kind, String)>,
    role: PhantomData<R>,
}

/// `--age`, `--pgp`, … of commands that encrypt.
pub(crate) type EncryptKeys = KeyFlags<ToEncrypt>;
/// `--age`, `--pgp`, … of `groups add`.
pub(crate) type GroupKeys = KeyFlags<ToGroup>;
/// `--add-age`, `--add-pgp`, …
pub(crate) type AddKeys = KeyFlags<ToAdd>;
/// `--rm-age`, `--rm-pgp`, …
pub(crate) type RemoveKeys = KeyFlags<ToRemove>;

impl<R> KeyFlags<R> {
    /// Whether no key was named.
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The keys, in the order of [`KEY_FLAGS`], each once.
    ///
    /// # Errors
    /// A name that is malformed for its kind.
    pub(crate) fn ids(&self, aws: &key_names::AwsSettings) -> Result<Vec<KeyId>, Failure> {
        let mut ids = Vec::new();
        for (kind, name) in &self.named {
            let id = key_names::parse(*kind, name, aws)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }
}

impl<R: Role> Args for KeyFlags<R> {
    fn augment_args(mut command: Command) -> Command {
        for flag in &KEY_FLAGS {
            let long = format!("{}{}", R::PREFIX, flag.long);
            let mut arg = Arg::new(long.clone())
                .long(long)
                .value_name(flag.value_name)
                .help(format!("{} {}", R::VERB, flag.what))
                .help_heading(R::HEADING)
                .action(ArgAction::Append);
            if R::SHORTHANDS {
                if let Some(short) = flag.short {
                    arg = arg.short(short);
                }
                if let Some(env) = flag.env {
                    arg = arg.env(env).hide_env_values(true);
                }
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: Role> FromArgMatches for KeyFlags<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut named = Vec::new();
        for flag in &KEY_FLAGS {
            let lists = matches.get_many::<String>(&format!("{}{}", R::PREFIX, flag.long));
            for name in lists.into_iter().flatten().flat_map(|list| list.split(',')) {
                let name = name.trim();
                if !name.is_empty() {
                    named.push((flag.kind, name.to_owned()));
                }
            }
        }
        Ok(Self { named, role: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
