//! From [`Metadata`] to the tree under `sops`.

use bulla_core::KeyId;
use bulla_document::{Syntax, Value};

use super::{Extra, KINDS, MasterKey, Metadata, flat};

/// The tree under `sops`, in alphabetical order.
pub(in crate::sops) fn to_tree(metadata: &Metadata, extra: &Extra) -> Value {
    let mut entries = Entries::default();
    entries.text("lastmodified", &metadata.last_modified);
    entries.text("mac", &metadata.mac);
    entries.text("version", &metadata.version);
    for (name, rule) in metadata.rules.selectors() {
        entries.optional(name, rule);
    }
    if metadata.rules.mac_only_encrypted {
        entries.push("mac_only_encrypted", Value::Bool(true));
    }
    if let Some(threshold) = metadata.shamir_threshold.and_then(|threshold| i64::try_from(threshold).ok()) {
        entries.push("shamir_threshold", Value::Int(threshold));
    }
    let mut ours = Entries::default();
    ours.optional("layout", extra.layout.as_deref());
    ours.optional("mac", extra.mac.as_deref());
    if !ours.0.is_empty() {
        entries.push("bulla", ours.build());
    }

    let unknown_of_groups = metadata.unknown.iter().find_map(|(name, value)| match value {
        Value::Seq(items) if name == "key_groups" && items.len() == metadata.groups.len() => Some(items.as_slice()),
        _ => None,
    });
    entries.0.extend(metadata.unknown.iter().filter(|(name, _)| name != "key_groups").cloned());
    if let ([group], None) = (metadata.groups.as_slice(), unknown_of_groups) {
        push_group(&mut entries, group);
    } else {
        let groups = metadata.groups.iter().enumerate().map(|(index, group)| {
            let mut entries = Entries::default();
            push_group(&mut entries, group);
            if let Some(Value::Map(unknown)) = unknown_of_groups.and_then(|groups| groups.get(index)) {
                entries.0.extend(unknown.iter().cloned());
            }
            entries.build()
        });
        entries.push("key_groups", Value::Seq(groups.collect()));
    }
    entries.build()
}

/// The entries at the top of a document that hold the metadata in this syntax.
pub(in crate::sops) fn entries(tree: &Value, syntax: Syntax) -> Vec<(String, Value)> {
    match syntax {
        Syntax::Dotenv => flat::flatten(tree)
            .into_iter()
            .map(|(name, text)| (format!("{}{name}", super::locate::PREFIX), Value::str(text)))
            .collect(),
        Syntax::Ini => {
            let entries =
                flat::flatten(tree).into_iter().map(|(name, text)| (name, Value::str(escaped(&text)))).collect();
            vec![(super::locate::KEY.to_owned(), Value::Map(entries))]
        }
        _ => vec![(super::locate::KEY.to_owned(), tree.clone())],
    }
}

/// INI's metadata has the two characters `\n` for a line end.
pub(super) fn escaped(text: &str) -> String {
    text.replace('\n', "\\n")
}

fn push_group(entries: &mut Entries, group: &[MasterKey]) {
    for kind in KINDS {
        let keys: Vec<_> = group.iter().filter(|key| key.id.kind() == kind).map(key_entry).collect();
        if !keys.is_empty() {
            entries.push(kind, Value::Seq(keys));
        }
    }
}

fn key_entry(key: &MasterKey) -> Value {
    let mut entry = Entries::default();
    entry.text("enc", key.wrapped.as_str());
    match &key.id {
        KeyId::Age { recipient } => entry.text("recipient", recipient),
        KeyId::Pgp { fingerprint } => entry.text("fp", fingerprint),
        KeyId::AwsKms { arn, role, context, profile } => {
            entry.text("arn", arn);
            entry.text("aws_profile", profile.as_deref().unwrap_or_default());
            entry.optional("role", role.as_deref());
            if !context.is_empty() {
                let context = context.iter().map(|(name, value)| (name.clone(), Value::str(value))).collect();
                entry.push("context", Value::Map(context));
            }
        }
        KeyId::GcpKms { resource_id } => entry.text("resource_id", resource_id),
        KeyId::AzureKeyVault { vault_url, name, version } => {
            entry.text("vault_url", vault_url);
            entry.text("name", name);
            entry.text("version", version);
        }
        KeyId::HuaweiKms { key_id } => entry.text("key_id", key_id),
        KeyId::VaultTransit { address, mount, key } => {
            entry.text("vault_address", address);
            entry.text("engine_path", mount);
            entry.text("key_name", key);
        }
        KeyId::Local { path } => entry.text("path", &path.to_string_lossy()),
        // `KeyId` may grow; a kind without a list above is not written.
        _ => {}
    }
    // age has no date, every other kind must have one.
    if !key.created_at.is_empty() || !matches!(key.id, KeyId::Age { .. }) {
        entry.text("created_at", &key.created_at);
    }
    entry.0.extend(key.unknown.iter().cloned());
    entry.build()
}

#[derive(Default)]
struct Entries(Vec<(String, Value)>);

impl Entries {
    fn push(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.push(name, Value::str(text));
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.text(name, text);
        }
    }

    fn build(mut self) -> Value {
        self.0.sort_by(|(one, _), (two, _)| one.cmp(two));
        Value::Map(self.0)
    }
}
