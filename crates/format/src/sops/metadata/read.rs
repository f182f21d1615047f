//! From the tree under `sops` to [`Metadata`].

use std::collections::BTreeMap;

use bulla_core::{KeyId, WrappedKey};
use bulla_document::Value;

use super::{Extra, KINDS, MasterKey, Metadata, bad, flat};
use crate::sops::{Error, Rules, timestamp};

/// Reads the tree under `sops`.
///
/// # Errors
/// [`Error::Metadata`] says which field is missing or malformed.
pub(super) fn metadata(tree: Value) -> Result<(Metadata, Extra), Error> {
    let Value::Map(entries) = tree else { return Err(bad("\"sops\" is not a map")) };
    let mut metadata = Metadata::default();
    let mut extra = Extra::default();
    let mut flat_group = Vec::new();
    let mut groups = Vec::new();
    for (name, value) in entries {
        match name.as_str() {
            "lastmodified" => metadata.last_modified = string(&name, &value)?,
            "mac" => metadata.mac = string(&name, &value)?,
            "version" => metadata.version = string(&name, &value)?,
            "shamir_threshold" => metadata.shamir_threshold = threshold(&value)?,
            "mac_only_encrypted" => metadata.rules.mac_only_encrypted = flag(&name, &value)?,
            "key_groups" => groups = items(&name, value)?,
            "bulla" => extra = read_extra(&value),
            kind if KINDS.contains(&kind) => flat_group.push((name, value)),
            _ => match metadata.rules.slot(&name) {
                Some(rule) => *rule = Some(string(&name, &value)?).filter(|rule| !rule.is_empty()),
                None => metadata.unknown.push((name, value)),
            },
        }
    }

    if timestamp::to_the_second(&metadata.last_modified).is_none() {
        return Err(bad("\"lastmodified\" is missing or no time stamp"));
    }
    one_rule(&metadata.rules)?;
    let flat_group = group(flat_group)?;
    // As in sops, groups count only where there are no keys outside of them.
    if flat_group.0.is_empty() {
        read_groups(groups, &mut metadata)?;
    } else {
        metadata.groups = vec![flat_group.0];
    }
    if metadata.groups.is_empty() {
        return Err(bad("there is no key in it that this version knows"));
    }
    Ok((metadata, extra))
}

fn read_groups(groups: Vec<Value>, metadata: &mut Metadata) -> Result<(), Error> {
    let mut unknown = Vec::new();
    for entry in groups {
        let Value::Map(entry) = entry else { return Err(bad("\"key_groups\" is not a list of maps")) };
        let (keys, rest) = group(entry)?;
        metadata.groups.push(keys);
        unknown.push(Value::Map(rest));
    }
    if unknown.iter().any(|rest| *rest != Value::Map(Vec::new())) {
        metadata.unknown.push(("key_groups".to_owned(), Value::Seq(unknown)));
    }
    Ok(())
}

/// Entries of a map.
type Entries = Vec<(String, Value)>;

/// The keys of a group in the order that sops reads them in, and what is not known in it.
fn group(entries: Entries) -> Result<(Vec<MasterKey>, Entries), Error> {
    let (mut known, unknown): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(name, _)| KINDS.contains(&name.as_str()));
    known.sort_by_key(|(name, _)| KINDS.iter().position(|kind| kind == name));
    let mut keys = Vec::new();
    for (kind, list) in known {
        for (index, entry) in items(&kind, list)?.into_iter().enumerate() {
            let Value::Map(fields) = entry else { return Err(bad(format!("\"{kind}\" is not a list of maps"))) };
            keys.push(key(&kind, Fields { of: format!("{kind}[{index}]"), fields })?);
        }
    }
    Ok((keys, unknown))
}

fn key(kind: &str, mut fields: Fields) -> Result<MasterKey, Error> {
    let id = match kind {
        "kms" => KeyId::AwsKms {
            arn: fields.required("arn")?,
            role: fields.optional("role")?,
            context: fields.context()?,
            profile: fields.optional("aws_profile")?,
        },
        "gcp_kms" => KeyId::GcpKms { resource_id: fields.required("resource_id")? },
        "hckms" => KeyId::HuaweiKms { key_id: fields.required("key_id")? },
        "azure_kv" => KeyId::AzureKeyVault {
            vault_url: fields.required("vault_url")?,
            name: fields.required("name")?,
            version: fields.optional("version")?.unwrap_or_default(),
        },
        "hc_vault" => KeyId::VaultTransit {
            address: fields.required("vault_address")?,
            mount: fields.required("engine_path")?,
            key: fields.required("key_name")?,
        },
        "pgp" => KeyId::Pgp { fingerprint: fields.required("fp")? },
        "age" => KeyId::Age { recipient: fields.required("recipient")? },
        _ => KeyId::Local { path: fields.required("path")?.into() },
    };
    Ok(MasterKey {
        id,
        wrapped: WrappedKey::new(fields.optional("enc")?.unwrap_or_default()),
        created_at: fields.optional("created_at")?.unwrap_or_default(),
        unknown: fields.fields,
    })
}

/// The fields of one key, taken out one by one.
struct Fields {
    of: String,
    fields: Entries,
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.remove(index).1)
    }

    /// A text; `None` if it is missing, null or empty.
    fn optional(&mut self, name: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        string(&format!("{}.{name}", self.of), &value).map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    fn required(&mut self, name: &str) -> Result<String, Error> {
        self.optional(name)?.ok_or_else(|| bad(format!("\"{}.{name}\" is missing", self.of)))
    }

    fn context(&mut self) -> Result<BTreeMap<String, String>, Error> {
        let name = format!("{}.context", self.of);
        match self.take("context") {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Map(entries)) => {
                entries.into_iter().map(|(key, value)| Ok((key, string(&name, &value)?))).collect()
            }
            Some(_) => Err(bad(format!("\"{name}\" is not a map"))),
        }
    }
}

/// What is malformed there is as if it were missing: it fails the check of whoever demands it.
fn read_extra(value: &Value) -> Extra {
    let text = |name| value.get(name).and_then(flat::text);
    Extra { layout: text("layout"), mac: text("mac") }
}

fn one_rule(rules: &Rules) -> Result<(), Error> {
    let set: Vec<_> = rules.selectors().into_iter().filter_map(|(name, value)| value.map(|_| name)).collect();
    if let [one, two, ..] = set[..] {
        return Err(bad(format!("{one} and {two} are both set: a file has one selection rule")));
    }
    Ok(())
}

fn items(name: &str, value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Seq(items) => Ok(items),
        // The flattened form of an empty list is an empty string.
        Value::Str(text) if text.is_empty() => Ok(Vec::new()),
        _ => Err(bad(format!("\"{name}\" is not a list"))),
    }
}

/// A text, however it is written: versions that look like numbers and dates that are not quoted included.
fn string(name: &str, value: &Value) -> Result<String, Error> {
    match value {
        Value::Null => Ok(String::new()),
        value => flat::text(value).ok_or_else(|| bad(format!("\"{name}\" is not a string"))),
    }
}

fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    match flat::text(value).as_deref() {
        None | Some("" | "false" | "False" | "FALSE" | "0" | "f" | "F") => Ok(false),
        Some("true" | "True" | "TRUE" | "1" | "t" | "T") => Ok(true),
        Some(_) => Err(bad(format!("\"{name}\" is neither true nor false"))),
    }
}

/// Older versions wrote `2.0` into flattened metadata, and 0 means none.
fn threshold(value: &Value) -> Result<Option<usize>, Error> {
    let Some(text) = flat::text(value).filter(|text| !text.is_empty()) else { return Ok(None) };
    let whole = text
        .split_once('.')
        .filter(|(_, zeros)| zeros.bytes().all(|byte| byte == b'0'))
        .map_or(text.as_str(), |(whole, _)| whole);
    let threshold: usize = whole.parse().map_err(|_| bad("\"shamir_threshold\" is not a whole number"))?;
    Ok(Some(threshold).filter(|&threshold| threshold > 0))
}
