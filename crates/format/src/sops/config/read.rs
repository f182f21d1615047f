//! From the text to [`Config`].

use bulla_core::SecretBytes;
use bulla_document::{Document, Limits, Syntax};

use super::keys;
use super::node::{Fields, Node};
use super::{Config, CreationRule, DestinationRule, VaultDestination};
use bulla_core::go_regex;
use crate::sops::{Error, Rules};

/// Configurations are small; what aliases repeat is counted.
const LIMITS: Limits = Limits { bytes: 16 << 20, depth: 100, nodes: 1_000_000 };

/// Reads a configuration.
pub(super) fn config(text: &[u8]) -> Result<Config, Error> {
    let mut config = Config::default();
    if says_nothing(text) {
        return Ok(config);
    }
    let document = Document::parse_within(Syntax::Yaml, SecretBytes::from(text), &LIMITS)?;
    // As in sops, of several documents the first counts.
    let Some(&root) = document.roots().first() else { return Ok(config) };
    let mut fields = Node::root(&document, root).fields()?;
    for node in fields.items("creation_rules")? {
        let rule = creation_rule(node.fields()?, &node, &mut config.warnings)?;
        config.creation_rules.push(rule);
    }
    for node in fields.items("destination_rules")? {
        config.destination_rules.push(destination_rule(&node, &mut config.warnings)?);
    }
    let mut stores = fields.fields("stores")?;
    for name in ["yaml", "json", "json_binary", "dotenv", "ini"] {
        let mut store = stores.fields(name)?;
        let has_indent = !matches!(name, "dotenv" | "ini");
        if let Some(node) = has_indent.then(|| store.take("indent")).flatten()
            && let Some(indent) = node.number()?
        {
            // -1 is the default: sops writes tabs into JSON then.
            match u8::try_from(indent) {
                Ok(indent) => drop(config.indent.insert(name.to_owned(), indent)),
                Err(_) if indent == -1 && name != "yaml" => {}
                Err(_) => return Err(node.fault("must be between 0 and 255")),
            }
        }
        store.warn(&mut config.warnings);
    }
    stores.warn(&mut config.warnings);
    fields.warn(&mut config.warnings);
    Ok(config)
}

/// Whether there is nothing but comments in it, which is no YAML document.
fn says_nothing(text: &[u8]) -> bool {
    text.split(|&byte| byte == b'\n').all(|line| matches!(line.trim_ascii_start().first(), None | Some(b'#')))
}

fn creation_rule(mut fields: Fields<'_>, node: &Node<'_>, warnings: &mut Vec<String>) -> Result<CreationRule, Error> {
    let path_regex = fields.text("path_regex")?;
    let path = path_regex.as_ref().map(|regex| {
        go_regex::compile(regex).map_err(|error| node.message(&format!("has a bad path_regex {regex:?}: {error}")))
    });
    let direct = keys::of_rule(&mut fields)?;
    let mut groups = Vec::new();
    for group in fields.items("key_groups")? {
        groups.push(keys::of_group(&group, warnings)?);
    }
    // Groups win; the keys beside them are not looked at.
    if groups.is_empty() {
        groups.push(direct);
    }
    let shamir_threshold = match fields.number("shamir_threshold")? {
        None | Some(0) => None,
        Some(number) => Some(usize::try_from(number).map_err(|_| node.fault("has a negative shamir_threshold"))?),
    };
    let rules = rules(&mut fields)?;
    fields.warn(warnings);

    let groups: Result<Vec<_>, _> = groups.into_iter().collect::<Result<Vec<_>, String>>();
    let (groups, mut problem) = match groups {
        // No keys at all is a rule for a command line that names them.
        Ok(groups) if groups == [Vec::new()] => (Vec::new(), None),
        Ok(groups) if groups.contains(&Vec::new()) => {
            (Vec::new(), Some(node.message("has a key group with no key in it")))
        }
        Ok(groups) => (groups, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    if let Err(error) = rules.validate() {
        problem.get_or_insert_with(|| node.message(&format!("is wrong: {error}")));
    }
    Ok(CreationRule { path_regex, groups, shamir_threshold, rules, path, problem })
}

fn rules(fields: &mut Fields<'_>) -> Result<Rules, Error> {
    let mut rules = Rules { mac_only_encrypted: fields.flag("mac_only_encrypted")?, ..Rules::default() };
    for (name, _) in Rules::default().selectors() {
        let value = fields.text(name)?;
        if let Some(rule) = rules.slot(name) {
            *rule = value;
        }
    }
    Ok(rules)
}

fn destination_rule(node: &Node<'_>, warnings: &mut Vec<String>) -> Result<DestinationRule, Error> {
    let mut fields = node.fields()?;
    let mut bucket = |bucket, prefix| -> Result<_, Error> {
        let prefix = fields.text(prefix)?.unwrap_or_default();
        Ok(fields.text(bucket)?.map(|bucket| (bucket, prefix)))
    };
    let s3 = bucket("s3_bucket", "s3_prefix")?;
    let gcs = bucket("gcs_bucket", "gcs_prefix")?;
    let vault = VaultDestination {
        path: fields.text("vault_path")?.unwrap_or_default(),
        address: fields.text("vault_address")?.unwrap_or_default(),
        kv_mount_name: fields.text("vault_kv_mount_name")?.unwrap_or_default(),
        kv_version: fields.number("vault_kv_version")?.unwrap_or_default(),
    };
    let path_regex = fields.text("path_regex")?;
    let omit_extensions = fields.flag("omit_extensions")?;
    let recreation_rule = creation_rule(fields.fields("recreation_rule")?, node, warnings)?;
    fields.warn(warnings);
    Ok(DestinationRule {
        path_regex,
        s3,
        gcs,
        vault: Some(vault).filter(|vault| !vault.path.is_empty()),
        recreation_rule,
        omit_extensions,
    })
}
