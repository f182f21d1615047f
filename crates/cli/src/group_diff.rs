//! How the recipients of a file change, group by group.

use bulla_core::KeyId;

use crate::rekey::{Recipients, same_key};
use crate::term::{Colour, Colours};

/// The difference between two sets of recipients.
pub(crate) struct GroupDiff<'a> {
    groups: Vec<Group<'a>>,
    thresholds: (Option<usize>, Option<usize>),
}

#[derive(Default)]
struct Group<'a> {
    common: Vec<&'a KeyId>,
    added: Vec<&'a KeyId>,
    removed: Vec<&'a KeyId>,
}

impl<'a> GroupDiff<'a> {
    /// What changes from `old` to `new`.
    pub(crate) fn between(old: &'a Recipients, new: &'a Recipients) -> Self {
        let group = |recipients: &'a Recipients, index: usize| {
            recipients.groups.get(index).map(Vec::as_slice).unwrap_or_default()
        };
        let groups = (0..old.groups.len().max(new.groups.len()))
            .map(|index| {
                let (before, after) = (group(old, index), group(new, index));
                let has = |ids: &[KeyId], id: &KeyId| ids.iter().any(|other| same_key(other, id));
                let (common, added) = after.iter().partition(|id| has(before, id));
                Group { common, added, removed: before.iter().filter(|id| !has(after, id)).collect() }
            })
            .collect();
        // Without a number all groups are needed.
        let threshold = |recipients: &Recipients| {
            recipients.threshold.or(Some(recipients.groups.len()).filter(|&groups| groups > 1))
        };
        Self { groups, thresholds: (threshold(old), threshold(new)) }
    }

    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.thresholds.0 == self.thresholds.1
            && self.groups.iter().all(|group| group.added.is_empty() && group.removed.is_empty())
    }

    /// The change in lines: `+++` and `---` before what comes and goes, in colour if wanted.
    pub(crate) fn text(&self, colours: Colours) -> String {
        let mut lines = Vec::new();
        let comes = |what: &str| colours.paint(Colour::Green, &format!("+++ {what}"));
        let goes = |what: &str| colours.paint(Colour::Red, &format!("--- {what}"));
        match self.thresholds {
            (Some(old), Some(new)) if old == new => lines.push(format!("shamir_threshold: {new}")),
            (old, new) => {
                lines.extend(new.map(|new| comes(&format!("shamir_threshold: {new}"))));
                lines.extend(old.map(|old| goes(&format!("shamir_threshold: {old}"))));
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            lines.push(format!("Group {}", index + 1));
            lines.extend(group.common.iter().map(|id| format!("    {id}")));
            lines.extend(group.added.iter().map(|id| comes(&id.to_string())));
            lines.extend(group.removed.iter().map(|id| goes(&id.to_string())));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipients(groups: &[&[&str]], threshold: Option<usize>) -> Recipients {
        let age = |name: &&str| KeyId::Age { recipient: (*name).to_owned() };
        Recipients { groups: groups.iter().map(|group| group.iter().map(age).collect()).collect(), threshold }
    }

    #[test]
    fn keys_that_come_and_go_are_marked() {
        let (old, new) = (recipients(&[&["a", "b"]], None), recipients(&[&["b", "c"]], None));
        let diff = GroupDiff::between(&old, &new);
        assert!(!diff.is_empty());
        assert_eq!(diff.text(Colours::Off), "Group 1\n    b\n+++ c\n--- a\n");
    }

    #[test]
    fn another_order_is_no_change_but_another_threshold_is() {
        let old = recipients(&[&["a", "b"], &["c"]], None);
        assert!(GroupDiff::between(&old, &recipients(&[&["b", "a"], &["c"]], Some(2))).is_empty());
        let old = recipients(&[&["a"], &["b"], &["c"]], Some(2));
        assert!(!GroupDiff::between(&old, &recipients(&[&["a"], &["b"], &["c"]], Some(3))).is_empty());
    }
}
