//! Three-way merge of who can open a file, and which data key its values have then.
//!
//! Keys that either side added are in the outcome, keys that either side removed are not. A removed key must not open
//! the outcome: the data key is one that no removed key was ever wrapped for, a fresh one if there is no such.

use bulla_core::KeyId;
use bulla_format::sops::{MasterKey, Metadata};

/// A side of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The branch that is merged into.
    Ours,
    /// The branch that is merged.
    Theirs,
}

/// Which data key the outcome has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// That of a side.
    Of(Side),
    /// A new one.
    Fresh,
}

/// Whether two versions of the file have the same data key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeysEqual {
    /// Ours and theirs.
    pub(crate) ours_theirs: bool,
    /// The base and ours.
    pub(crate) base_ours: bool,
    /// The base and theirs.
    pub(crate) base_theirs: bool,
}

/// Merges everything but the wrapped keys, the MAC and the time: those are the caller's to make. The groups of the answer
/// name the keys.
///
/// # Errors
/// What both sides changed differently.
pub(crate) fn merge(
    base: Option<&Metadata>,
    ours: &Metadata,
    theirs: &Metadata,
) -> Result<(Metadata, Vec<Vec<KeyId>>), String> {
    let groups = merge_groups(base.map(ids).as_deref(), &ids(ours), &ids(theirs))?;
    let mut merged = ours.clone();
    if groups.iter().all(Vec::is_empty) {
        return Err("each side removed keys of the other's; no key would be left".to_owned());
    }
    merged.rules = pick(base.map(|base| &base.rules), &ours.rules, &theirs.rules)
        .ok_or("the sides disagree on which values are encrypted")?
        .clone();
    merged.shamir_threshold =
        *pick(base.map(|base| &base.shamir_threshold), &ours.shamir_threshold, &theirs.shamir_threshold)
            .ok_or("the sides disagree on the number of key groups needed (shamir_threshold)")?;
    for (name, value) in &theirs.unknown {
        if !merged.unknown.iter().any(|(known, _)| known == name)
            && !base.is_some_and(|base| base.unknown.iter().any(|(known, _)| known == name))
        {
            merged.unknown.push((name.clone(), value.clone()));
        }
    }
    Ok((merged, groups))
}

/// Which data key the outcome with the keys `groups` can have.
pub(crate) fn choose(
    base: Option<&Metadata>,
    ours: &Metadata,
    theirs: &Metadata,
    equal: KeysEqual,
    groups: &[Vec<KeyId>],
) -> Choice {
    let holders = |metadata: &Metadata| ids(metadata).concat();
    let stays = |key: &KeyId| groups.iter().flatten().any(|kept| kept == key);
    // Who was ever given ours' data key, and who theirs'.
    let (mut of_ours, mut of_theirs) = (holders(ours), holders(theirs));
    if let Some(base) = base {
        if equal.base_ours {
            of_ours.extend(holders(base));
        }
        if equal.base_theirs {
            of_theirs.extend(holders(base));
        }
    }
    if equal.ours_theirs {
        of_ours.append(&mut of_theirs.clone());
        of_theirs.clone_from(&of_ours);
    }
    if of_ours.iter().all(stays) {
        Choice::Of(Side::Ours)
    } else if of_theirs.iter().all(stays) {
        Choice::Of(Side::Theirs)
    } else {
        Choice::Fresh
    }
}

/// The entry of a key in a side's metadata.
pub(crate) fn entry<'m>(metadata: &'m Metadata, id: &KeyId) -> Option<&'m MasterKey> {
    metadata.groups.iter().flatten().find(|key| key.id == *id)
}

/// The keys of a file, group by group.
pub(crate) fn ids(metadata: &Metadata) -> Vec<Vec<KeyId>> {
    metadata.groups.iter().map(|group| group.iter().map(|key| key.id.clone()).collect()).collect()
}

fn merge_groups(
    base: Option<&[Vec<KeyId>]>,
    ours: &[Vec<KeyId>],
    theirs: &[Vec<KeyId>],
) -> Result<Vec<Vec<KeyId>>, String> {
    let groups = ours.len();
    if theirs.len() != groups || base.is_some_and(|base| base.len() != groups) {
        return pick(base, ours, theirs)
            .map(<[_]>::to_vec)
            .ok_or_else(|| "both sides changed the key groups".to_owned());
    }
    Ok((0..groups)
        .map(|at| {
            let base: &[KeyId] = base.map_or(&[], |base| &base[at]);
            let kept = ours[at].iter().filter(|key| theirs[at].contains(key) || !base.contains(key));
            let added = theirs[at].iter().filter(|key| !ours[at].contains(key) && !base.contains(key));
            kept.chain(added).cloned().collect()
        })
        .collect())
}

/// The one that changed; `None` if both did, differently.
fn pick<'a, T: PartialEq + ?Sized>(base: Option<&T>, ours: &'a T, theirs: &'a T) -> Option<&'a T> {
    if ours == theirs || base == Some(theirs) {
        Some(ours)
    } else if base == Some(ours) {
        Some(theirs)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bulla_core::WrappedKey;

    use super::*;

    fn id(name: &str) -> KeyId {
        KeyId::Age { recipient: name.to_owned() }
    }

    fn file(names: &str) -> Metadata {
        let group = names.chars().map(|name| MasterKey {
            id: id(&name.to_string()),
            wrapped: WrappedKey::new("x"),
            created_at: String::new(),
            unknown: Vec::new(),
        });
        Metadata { groups: vec![group.collect()], ..Metadata::default() }
    }

    fn merged(base: &str, ours: &str, theirs: &str) -> String {
        let (_, groups) = merge(Some(&file(base)), &file(ours), &file(theirs)).unwrap();
        groups[0].iter().map(ToString::to_string).collect()
    }

    #[test]
    fn added_keys_come_together_and_removed_ones_go() {
        assert_eq!(merged("ab", "abc", "abd"), "abcd");
        assert_eq!(merged("ab", "abc", "a"), "ac");
        assert_eq!(merged("ab", "b", "ab"), "b");
        assert_eq!(merged("ab", "abc", "abc"), "abc");
        assert!(merge(Some(&file("ab")), &file("a"), &file("b")).is_err());
        let (_, groups) = merge(None, &file("ab"), &file("bc")).unwrap();
        assert_eq!(groups[0].len(), 3);
    }

    #[test]
    fn no_removed_key_was_ever_given_the_data_key_of_the_outcome() {
        let choice = |base: &str, ours: &str, theirs: &str, equal| {
            let (base, ours, theirs) = (file(base), file(ours), file(theirs));
            let (_, groups) = merge(Some(&base), &ours, &theirs).unwrap();
            choose(Some(&base), &ours, &theirs, equal, &groups)
        };
        let all = KeysEqual { ours_theirs: true, base_ours: true, base_theirs: true };
        let theirs_rotated = KeysEqual { base_ours: true, ..KeysEqual::default() };
        let ours_rotated = KeysEqual { base_theirs: true, ..KeysEqual::default() };
        let both_rotated = KeysEqual::default();
        // Nothing removed: ours' key stays.
        assert_eq!(choice("ab", "abc", "ab", all), Choice::Of(Side::Ours));
        // Theirs removed and rotated: only their key will do.
        assert_eq!(choice("ab", "abc", "a", theirs_rotated), Choice::Of(Side::Theirs));
        assert_eq!(choice("ab", "a", "abc", ours_rotated), Choice::Of(Side::Ours));
        // Removed without rotating, as sops does: the removed key knows the data key.
        assert_eq!(choice("ab", "ab", "a", all), Choice::Fresh);
        // Each side removed another: each removed one knows the other side's key.
        assert_eq!(choice("abc", "ab", "ac", both_rotated), Choice::Fresh);
    }

    #[test]
    fn rules_follow_the_side_that_changed_them() {
        let (base, mut theirs) = (file("a"), file("a"));
        theirs.rules.encrypted_regex = Some("^data$".into());
        assert_eq!(merge(Some(&base), &base, &theirs).unwrap().0.rules, theirs.rules);
        let mut ours = file("a");
        ours.rules.encrypted_regex = Some("^stringData$".into());
        assert!(merge(Some(&base), &ours, &theirs).is_err());
    }
}
