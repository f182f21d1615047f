//! The `sops` block: who can unwrap the data key, what is encrypted, the MAC.
//!
//! In YAML, JSON and TOML it is a map called `sops` at the top (in every document of a YAML file; the first counts). In INI it is a
//! section `sops`, in dotenv entries that begin with `sops_`, with the map flattened: `age__list_0__map_enc`. Numbers and booleans
//! may be strings, line ends in flattened strings are the two characters `\n`.
//!
//! ```text
//! sops = { [shamir_threshold] keys / key_groups: [ { keys } … ]
//!          lastmodified mac version [one selection rule] [mac_only_encrypted]
//!          [bulla: { [layout] [mac] }] … }
//! keys = [kms] [gcp_kms] [hckms] [azure_kv] [hc_vault] [pgp] [age] [local]     each a list; null and [] are none
//! kms      = { arn aws_profile [context: {…}] created_at enc [role] }
//! gcp_kms  = { created_at enc resource_id }         hckms = { created_at enc key_id }
//! azure_kv = { created_at enc name vault_url version }
//! hc_vault = { created_at enc engine_path key_name vault_address }
//! pgp      = { created_at enc fp }                  age   = { enc recipient }
//! local    = { created_at enc path }                ours; sops passes it over
//! ```
//! The order of keys of different kinds in one group is not kept by the format: it is the order above. Entries are written in
//! alphabetical order, as sops does since 3.13; in a file that exists each stays where it is. What is not known
//! (here, in entries and in groups) is kept and written back.
//!
//! Source: <https://github.com/getsops/sops/blob/v3.13.3/stores/stores.go>, `metadata.go` and `flatten.go` beside it.

mod flat;
mod locate;
mod read;
mod update;
mod write;

use bulla_core::{KeyId, WrappedKey};
use bulla_document::Value;

use super::{Error, Rules};

pub(super) use locate::{Located, locate, nodes};
pub(super) use update::update;
pub(super) use write::{entries, to_tree};

/// One key-encryption key of a file and the data key (or its share) wrapped with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MasterKey {
    /// Which key.
    pub id: KeyId,
    /// The `enc` field.
    pub wrapped: WrappedKey,
    /// When it was wrapped, RFC 3339; empty for age, which does not keep it.
    pub created_at: String,
    /// Fields of the entry that this version does not know, kept as they were.
    pub unknown: Vec<(String, Value)>,
}

/// Everything that stands under `sops`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The key groups, in order. One group: the data key is wrapped for each of its keys. More: each group has a Shamir share.
    pub groups: Vec<Vec<MasterKey>>,
    /// How many groups are needed, if there are several.
    pub shamir_threshold: Option<usize>,
    /// Which values are encrypted.
    pub rules: Rules,
    /// When a value last changed, `2006-01-02T15:04:05Z`.
    pub last_modified: String,
    /// The encrypted MAC, an `ENC[…]` string.
    pub mac: String,
    /// The version of sops the format corresponds to.
    pub version: String,
    /// Entries that this version does not know, kept as they were. What is not known in the groups of `key_groups` is here
    /// under that name, a list with a map for each group.
    pub unknown: Vec<(String, Value)>,
}

/// What stands under `sops.bulla`: [`super::layout`] and bulla's MAC ([`super::mac`]), both encrypted.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Extra {
    pub(super) layout: Option<String>,
    pub(super) mac: Option<String>,
}

impl Metadata {
    /// As it will be read again once it is written: keys of a group in the order of their kinds, no empty groups, a threshold where
    /// several groups need one.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        for group in &mut self.groups {
            group.sort_by_key(|key| kind_rank(&key.id));
            for key in group {
                if let KeyId::AwsKms { role, profile, .. } = &mut key.id {
                    role.take_if(|role| role.is_empty());
                    profile.take_if(|profile| profile.is_empty());
                }
            }
        }
        self.groups.retain(|group| !group.is_empty());
        if self.groups.len() > 1 {
            self.shamir_threshold.get_or_insert(self.groups.len());
        }
        self
    }
}

/// The names of the key lists, in the order that sops reads them in.
const KINDS: [&str; 8] = ["kms", "gcp_kms", "hckms", "azure_kv", "hc_vault", "pgp", "age", "local"];

fn kind_rank(id: &KeyId) -> usize {
    KINDS.iter().position(|kind| *kind == id.kind()).unwrap_or(KINDS.len())
}

fn bad(what: impl Into<String>) -> Error {
    Error::Metadata(what.into())
}

#[cfg(test)]
mod tests;
