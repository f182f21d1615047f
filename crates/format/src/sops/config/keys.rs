//! The keys that a rule names.

use std::collections::BTreeMap;

use bulla_core::{KeyId, KeyParseError};

use super::node::{Fields, Node};
use crate::sops::Error;

/// Keys, or what is wrong with one of them: that matters only to files that meet the rule.
pub(super) type Keys = Result<Vec<KeyId>, String>;

/// The keys that stand right in a rule.
///
/// # Errors
/// What sops cannot read at all.
pub(super) fn of_rule(rule: &mut Fields<'_>) -> Result<Keys, Error> {
    let profile = rule.text("aws_profile")?;
    let mut keys = Collected::default();
    keys.texts(rule.take("age"), KeyId::parse_age);
    keys.texts(rule.take("pgp"), KeyId::parse_pgp);
    keys.texts(rule.take("kms"), |text| KeyId::parse_aws_kms(text, BTreeMap::new(), profile.clone()));
    keys.texts(rule.take("gcp_kms"), KeyId::parse_gcp_kms);
    for node in rule.items("hckms")? {
        keys.text(&node, KeyId::parse_huawei_kms)?;
    }
    keys.texts(rule.take("azure_keyvault"), KeyId::parse_azure_key_vault);
    keys.texts(rule.take("hc_vault_transit_uri"), KeyId::parse_vault_transit);
    Ok(keys.finish())
}

/// The keys of one of `key_groups`, those of groups that are merged into it first.
///
/// # Errors
/// What sops cannot read at all.
pub(super) fn of_group(node: &Node<'_>, warnings: &mut Vec<String>) -> Result<Keys, Error> {
    let mut group = node.fields()?;
    let mut keys = Collected::default();
    for merged in group.items("merge")? {
        keys.all(of_group(&merged, warnings)?);
    }
    for (name, parse) in [("age", KeyId::parse_age as fn(&str) -> _), ("pgp", KeyId::parse_pgp)] {
        for node in group.items(name)? {
            keys.text(&node, parse)?;
        }
    }
    for node in group.items("kms")? {
        let mut fields = node.fields()?;
        let (role, profile) = (fields.text("role")?, fields.text("aws_profile")?);
        let context = context(fields.take("context"))?;
        match fields.text("arn")? {
            Some(arn) => keys.add(KeyId::AwsKms { arn, role, context, profile }),
            None => keys.fail(&node, "has no arn"),
        }
        fields.warn(warnings);
    }
    for (name, field, parse) in [
        ("gcp_kms", "resource_id", KeyId::parse_gcp_kms as fn(&str) -> _),
        ("hckms", "key_id", KeyId::parse_huawei_kms),
    ] {
        for node in group.items(name)? {
            let mut fields = node.fields()?;
            keys.parsed(&node, parse(&fields.text(field)?.unwrap_or_default()));
            fields.warn(warnings);
        }
    }
    for node in group.items("azure_keyvault")? {
        let mut fields = node.fields()?;
        let version = fields.text("version")?.unwrap_or_default();
        match (fields.text("vaultUrl")?, fields.text("key")?) {
            (Some(vault_url), Some(name)) => keys.add(KeyId::AzureKeyVault { vault_url, name, version }),
            _ => keys.fail(&node, "has no vaultUrl or no key"),
        }
        fields.warn(warnings);
    }
    for node in group.items("hc_vault")? {
        keys.text(&node, KeyId::parse_vault_transit)?;
    }
    group.warn(warnings);
    Ok(keys.finish())
}

fn context(node: Option<Node<'_>>) -> Result<BTreeMap<String, String>, Error> {
    let Some(node) = node else { return Ok(BTreeMap::new()) };
    let mut fields = node.fields()?;
    let names: Vec<String> = fields.names().map(str::to_owned).collect();
    names.into_iter().map(|name| Ok((name.clone(), fields.text(&name)?.unwrap_or_default()))).collect()
}

/// Keys as they come, each once, until one is wrong.
#[derive(Default)]
struct Collected {
    keys: Vec<KeyId>,
    problem: Option<String>,
}

impl Collected {
    /// A list of texts, or one text with commas. As in sops, commas count in a list's texts too.
    fn texts(&mut self, node: Option<Node<'_>>, parse: impl Fn(&str) -> Result<KeyId, KeyParseError>) {
        let Some(node) = node.filter(|node| !node.is_null()) else { return };
        if !node.is_list() {
            match node.exact_text() {
                Some(text) => {
                    let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty());
                    keys.for_each(|key| self.parsed(&node, parse(key)));
                }
                None => self.fail(&node, "must be a text or a list of texts; quote what looks like a number"),
            }
            return;
        }
        for item in node.items().unwrap_or_default() {
            match item.exact_text() {
                Some(text) => text.split(',').for_each(|key| self.parsed(&item, parse(key))),
                None => self.fail(&item, "must be a text; quote what looks like a number"),
            }
        }
    }

    /// One text, in which commas count as well.
    fn text(&mut self, node: &Node<'_>, parse: impl Fn(&str) -> Result<KeyId, KeyParseError>) -> Result<(), Error> {
        let text = node.text()?.unwrap_or_default();
        text.split(',').for_each(|key| self.parsed(node, parse(key)));
        Ok(())
    }

    fn parsed(&mut self, node: &Node<'_>, key: Result<KeyId, KeyParseError>) {
        match key {
            Ok(key) => self.add(key),
            Err(error) => self.fail(node, &format!("is wrong: {error}")),
        }
    }

    fn all(&mut self, keys: Keys) {
        match keys {
            Ok(keys) => keys.into_iter().for_each(|key| self.add(key)),
            Err(problem) => drop(self.problem.get_or_insert(problem)),
        }
    }

    fn add(&mut self, key: KeyId) {
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }

    fn fail(&mut self, node: &Node<'_>, what: &str) {
        self.problem.get_or_insert_with(|| node.message(what));
    }

    fn finish(self) -> Keys {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.keys),
        }
    }
}
