//! Data keys and the keys that wrap them: made for a new file, changed for an old one.

use bulla_core::{DataKey, KeyId, WrappedKey};
use bulla_format::sops::{MasterKey, Metadata};
use bulla_kms::groups;

use crate::app::App;
use crate::engine::Access;
use crate::error::Failure;
use crate::exit::Code;

/// Who can open a file: groups of keys, and how many groups it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recipients {
    /// The groups.
    pub(crate) groups: Vec<Vec<KeyId>>,
    /// How many of several groups are needed; all, if `None`.
    pub(crate) threshold: Option<usize>,
}

impl Recipients {
    /// Those of a file.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let ids = |group: &Vec<MasterKey>| group.iter().map(|key| key.id.clone()).collect();
        Self { groups: metadata.groups.iter().map(ids).collect(), threshold: metadata.shamir_threshold }
    }

    /// Checks that somebody can open the file, and sets the threshold right: one group needs none, of several all are
    /// needed where nothing is said.
    ///
    /// # Errors
    /// [`Code::NoEncryptionKey`] without any key; a threshold that cannot be met.
    pub(crate) fn checked(mut self) -> Result<Self, Failure> {
        self.groups.retain(|group| !group.is_empty());
        for group in &mut self.groups {
            let mut seen = Vec::new();
            group.retain(|id| {
                !seen.contains(id) && {
                    seen.push(id.clone());
                    true
                }
            });
        }
        if self.groups.is_empty() {
            return Err(Failure::new(Code::NoEncryptionKey, "no key is left that could open the file")
                .with_hint("name one with --age, --pgp or another key flag, or in .sops.yaml"));
        }
        match self.groups.len() {
            1 => self.threshold = None,
            groups => self.threshold = self.threshold.or(Some(groups)),
        }
        match self.threshold {
            Some(threshold) if threshold > self.groups.len() => Err(Failure::generic(format!(
                "the Shamir threshold is {threshold}, but there are only {} key groups",
                self.groups.len()
            ))),
            Some(threshold @ 0..2) => Err(Failure::generic(format!(
                "a Shamir threshold of {threshold} is no secret sharing: with {} groups it must be 2 or more",
                self.groups.len()
            ))),
            _ => Ok(self),
        }
    }

    /// Whether someone who could help to open `old` cannot with `self`: a key is gone, or a group.
    pub(crate) fn exclude_any_of(&self, old: &Self) -> bool {
        let mut now = self.groups.iter().flatten();
        old.groups.iter().flatten().any(|id| !now.clone().any(|other| same_key(id, other)))
            || now.next().is_none()
            || self.groups.len() < old.groups.len()
    }
}

/// Whether two ids are one key: an Azure key without a version is the newest of that name.
pub(crate) fn same_key(a: &KeyId, b: &KeyId) -> bool {
    match (a, b) {
        (
            KeyId::AzureKeyVault { vault_url, name, version },
            KeyId::AzureKeyVault { vault_url: other_url, name: other_name, version: other_version },
        ) => {
            vault_url == other_url
                && name == other_name
                && (version == other_version || version.is_empty() || other_version.is_empty())
        }
        _ => a == b,
    }
}

/// Wraps a data key for `recipients`. `name` stands for the file in messages.
///
/// # Errors
/// Every key that could not wrap it.
pub(crate) fn wrap(
    app: &App,
    access: &Access,
    name: &str,
    key: &DataKey,
    recipients: &Recipients,
) -> Result<Vec<Vec<MasterKey>>, Failure> {
    let wrapped =
        app.block_on(groups::wrap_data_key(&access.services, key, &recipients.groups, recipients.threshold))?;
    let wrapped = wrapped.map_err(|error| Failure::wrapping(name, &error))?;
    tracing::debug!(file = name, "data key wrapped");
    let now = now();
    Ok(recipients
        .groups
        .iter()
        .zip(wrapped)
        .map(|(ids, wrapped)| ids.iter().zip(wrapped).map(|(id, wrapped)| master_key(id, wrapped, &now)).collect())
        .collect())
}

/// Wraps the data key that a file has for changed recipients. Keys that stay keep their entry as it is, where the key
/// is not shared out among groups: shares are always made anew together.
///
/// # Errors
/// Every key that could not wrap it.
pub(crate) fn rewrap(
    app: &App,
    access: &Access,
    name: &str,
    key: &DataKey,
    old: &Metadata,
    recipients: &Recipients,
) -> Result<Vec<Vec<MasterKey>>, Failure> {
    let ([old_group], [ids]) = (old.groups.as_slice(), recipients.groups.as_slice()) else {
        return wrap(app, access, name, key, recipients);
    };
    let kept = |id: &KeyId| old_group.iter().find(|key| same_key(&key.id, id));
    let new: Vec<KeyId> = ids.iter().filter(|id| kept(id).is_none()).cloned().collect();
    let mut added = Vec::new();
    if !new.is_empty() {
        let new = Recipients { groups: vec![new], threshold: None };
        added = wrap(app, access, name, key, &new)?.pop().unwrap_or_default();
    }
    let mut added = added.into_iter();
    Ok(vec![ids.iter().filter_map(|id| kept(id).cloned().or_else(|| added.next())).collect()])
}

/// A fresh data key.
///
/// # Errors
/// If the system has no randomness.
pub(crate) fn generate() -> Result<DataKey, Failure> {
    DataKey::generate().map_err(|error| Failure::generic(format!("cannot make a data key: {error}")))
}

/// The time as files have it: `2006-01-02T15:04:05Z`.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn master_key(id: &KeyId, wrapped: WrappedKey, now: &str) -> MasterKey {
    // sops keeps no time for age.
    let created_at = if matches!(id, KeyId::Age { .. }) { String::new() } else { now.to_owned() };
    MasterKey { id: id.clone(), wrapped, created_at, unknown: Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn age(name: &str) -> KeyId {
        KeyId::Age { recipient: name.to_owned() }
    }

    fn recipients(groups: &[&[&str]], threshold: Option<usize>) -> Recipients {
        Recipients { groups: groups.iter().map(|g| g.iter().map(|n| age(n)).collect()).collect(), threshold }
    }

    #[test]
    fn one_group_has_no_threshold_and_several_need_one_that_can_be_met() {
        assert_eq!(recipients(&[&["a"], &[]], Some(2)).checked().unwrap(), recipients(&[&["a"]], None));
        assert!(recipients(&[&["a"], &["b"]], Some(3)).checked().is_err());
        assert!(recipients(&[&["a"], &["b"]], Some(1)).checked().is_err());
        assert_eq!(recipients(&[&["a"], &["b"]], None).checked().unwrap().threshold, Some(2));
        assert_eq!(recipients(&[&[]], None).checked().unwrap_err().code, Code::NoEncryptionKey);
    }

    #[test]
    fn a_key_that_is_named_twice_is_kept_once() {
        assert_eq!(recipients(&[&["a", "b", "a"]], None).checked().unwrap(), recipients(&[&["a", "b"]], None));
    }

    #[test]
    fn a_key_or_a_group_that_is_gone_is_noticed() {
        let old = recipients(&[&["a", "b"], &["c"]], None);
        assert!(recipients(&[&["a"], &["c"]], None).exclude_any_of(&old));
        assert!(recipients(&[&["a", "b", "c"]], None).exclude_any_of(&old));
        assert!(!recipients(&[&["b", "a"], &["c", "d"]], None).exclude_any_of(&old));
    }
}
