//! `.sops.yaml`: which keys and rules a new file gets by its path.
//!
//! ```text
//! creation_rules:    [ rule … ]           the first whose path_regex matches, or that has none, is used
//! destination_rules: [ { path_regex, s3_bucket, …, recreation_rule: rule, omit_extensions } … ]
//! stores:            { yaml: { indent }, json: { indent }, json_binary: { indent } }
//! rule  = { path_regex, keys / key_groups: [ group … ], shamir_threshold, [one selection rule], mac_only_encrypted }
//! keys  = { age, pgp, kms, gcp_kms, azure_keyvault, hc_vault_transit_uri }   each a list, or one text with commas
//!         { hckms }                                                          a list
//!         { aws_profile }                                                    for all of kms
//! group = { merge: [ group … ], age, pgp, hc_vault: [ text … ], kms: [ { arn, role, context, aws_profile } … ],
//!           gcp_kms: [ { resource_id } … ], hckms: [ { key_id } … ], azure_keyvault: [ { vaultUrl, key, version } … ] }
//! ```
//! Like sops, what cannot be read as this form is refused at once; what is wrong with a rule's keys or selection
//! matters to files that meet the rule, and is said then ([`Config::rule_for`]) or to whoever asks for all of it
//! ([`Config::problems`]). Fields that are not known are passed over, as in sops, and listed in [`Config::warnings`].
//!
//! Source: <https://github.com/getsops/sops/blob/v3.13.3/config/config.go>.

mod keys;
mod node;
mod read;

use std::collections::BTreeMap;

use bulla_core::KeyId;

use super::{Error, Rules};
use bulla_core::go_regex::Regex;

/// A parsed `.sops.yaml`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The creation rules, in order; the first that matches a path is used.
    pub creation_rules: Vec<CreationRule>,
    /// Where `publish` puts files, in order; the first that matches a path is used.
    pub destination_rules: Vec<DestinationRule>,
    /// The default indentation that `stores` sets, by `yaml`, `json`, `json_binary`.
    pub indent: BTreeMap<String, u8>,
    /// Fields that are not known, as `line 3: creation_rules[0].foo is not known`.
    pub warnings: Vec<String>,
}

/// One of `creation_rules`.
#[derive(Clone, Debug, Default)]
pub struct CreationRule {
    /// A Go regular expression that the path, relative to the configuration's folder, must match; none matches all.
    pub path_regex: Option<String>,
    /// The key groups, merged and in order.
    pub groups: Vec<Vec<KeyId>>,
    /// How many groups are needed.
    pub shamir_threshold: Option<usize>,
    /// Which values are encrypted.
    pub rules: Rules,
    /// The compiled `path_regex`, or what is wrong with it.
    path: Option<Result<Regex, String>>,
    /// What is wrong with its keys or its selection.
    problem: Option<String>,
}

/// One of `destination_rules`, as it is written.
#[derive(Clone, Debug, Default)]
pub struct DestinationRule {
    /// As in [`CreationRule`].
    pub path_regex: Option<String>,
    /// An S3 bucket and a prefix in it.
    pub s3: Option<(String, String)>,
    /// A Google Cloud Storage bucket and a prefix in it.
    pub gcs: Option<(String, String)>,
    /// A path in Vault.
    pub vault: Option<VaultDestination>,
    /// Which keys and rules the published file gets.
    pub recreation_rule: CreationRule,
    /// Whether the file's ending is left out.
    pub omit_extensions: bool,
}

/// Where in Vault a file is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultDestination {
    /// The path.
    pub path: String,
    /// The server.
    pub address: String,
    /// Where the KV engine is mounted.
    pub kv_mount_name: String,
    /// The KV engine's version; 0 if it is not said.
    pub kv_version: i64,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Document`] for what is not YAML, [`Error::Rule`] for what has another form; with the line.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        read::config(text)
    }

    /// The first rule that `path` (relative to the configuration's folder, `/` between parts) meets, with its index from 0.
    ///
    /// # Errors
    /// [`Error::Rule`] for a `path_regex` on the way that does not compile, and for a rule whose keys or selection are wrong.
    pub fn rule_for(&self, path: &str) -> Result<Option<(usize, &CreationRule)>, Error> {
        for (index, rule) in self.creation_rules.iter().enumerate() {
            match &rule.path {
                None => {}
                Some(Ok(regex)) if regex.is_match(path.as_bytes()) => {}
                Some(Ok(_)) => continue,
                Some(Err(problem)) => return Err(Error::Rule(problem.clone())),
            }
            return match &rule.problem {
                Some(problem) => Err(Error::Rule(problem.clone())),
                None => Ok(Some((index, rule))),
            };
        }
        Ok(None)
    }

    /// Everything that is wrong with any rule, whether a file meets it or not.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let recreation = self.destination_rules.iter().map(|rule| &rule.recreation_rule);
        self.creation_rules.iter().chain(recreation).flat_map(|rule| {
            let path = rule.path.as_ref().and_then(|path| path.as_ref().err());
            path.into_iter().chain(&rule.problem).map(String::as_str)
        })
    }
}
