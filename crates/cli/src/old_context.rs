//! Files of sops before 3.3.0, which wrapped data keys under another encryption context than it wrote down.
//!
//! With several entries in the context every one of them got the same value, one of those that are written:
//! `{a: x, b: y}` was `{a: x, b: x}` or `{a: y, b: y}`. Source: <https://github.com/getsops/sops/pull/435>.

use bulla_core::{KeyId, WrappedKey};
use bulla_format::sops::Metadata;

/// Keys of one file, by group.
type Groups = Vec<Vec<(KeyId, WrappedKey)>>;

/// The groups as such a release may have used them, for a file that is that old; nothing for others.
pub(crate) fn variations(metadata: &Metadata, groups: &Groups) -> Vec<Groups> {
    if !is_before_3_3(&metadata.version) {
        return Vec::new();
    }
    let mut values: Vec<&String> = groups.iter().flatten().flat_map(|(id, _)| values(id)).collect();
    values.sort_unstable();
    values.dedup();
    values
        .into_iter()
        .map(|value| {
            let vary = |(id, wrapped): &(KeyId, WrappedKey)| (with_value(id, value), wrapped.clone());
            groups.iter().map(|group| group.iter().map(vary).collect()).collect()
        })
        .collect()
}

/// The values of a context that may have been confused: there are several.
fn values(id: &KeyId) -> Vec<&String> {
    match id {
        KeyId::AwsKms { context, .. } if context.len() > 1 => context.values().collect(),
        _ => Vec::new(),
    }
}

fn with_value(id: &KeyId, value: &str) -> KeyId {
    let mut id = id.clone();
    if let KeyId::AwsKms { context, .. } = &mut id {
        for entry in context.values_mut() {
            value.clone_into(entry);
        }
    }
    id
}

fn is_before_3_3(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse::<u32>().ok());
    let (Some(major), minor) = (numbers.next(), numbers.next().unwrap_or(0)) else { return false };
    (major, minor) < (3, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: &str, context: &[(&str, &str)]) -> (Metadata, Groups) {
        let context = context.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let id = KeyId::AwsKms { arn: "arn".into(), role: None, context, profile: None };
        let metadata = Metadata { version: version.to_owned(), ..Metadata::default() };
        (metadata, vec![vec![(id, WrappedKey::new("x"))]])
    }

    #[test]
    fn each_value_may_have_been_that_of_all() {
        let (metadata, groups) = file("3.2.0", &[("a", "x"), ("b", "y")]);
        let contexts: Vec<_> = variations(&metadata, &groups)
            .into_iter()
            .flatten()
            .flatten()
            .map(|(id, _)| match id {
                KeyId::AwsKms { context, .. } => context.into_values().collect::<Vec<_>>().join(","),
                other => other.to_string(),
            })
            .collect();
        assert_eq!(contexts, ["x,x", "y,y"]);
    }

    #[test]
    fn newer_files_and_single_entries_are_as_written() {
        for (version, context) in [
            ("3.3.0", [("a", "x"), ("b", "y")].as_slice()),
            ("3.13.3", &[("a", "x"), ("b", "y")]),
            ("3.2.0", &[("a", "x")]),
            ("", &[("a", "x"), ("b", "y")]),
        ] {
            let (metadata, groups) = file(version, context);
            assert!(variations(&metadata, &groups).is_empty(), "{version}");
        }
    }
}
