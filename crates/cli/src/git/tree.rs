//! Three-way merge of trees: what theirs changed since the base, as changes of ours, and where both changed the same.

use std::collections::HashMap;
use std::fmt::Write;

use bulla_document::{Step, Value};

/// A change of a tree.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The value at the path becomes another.
    Set(Vec<Step>, Value),
    /// The entry or item at the path goes.
    Remove(Vec<Step>),
    /// An entry comes at the end of the map at the path.
    Insert(Vec<Step>, String, Value),
    /// An item comes at the end of the list at the path.
    Push(Vec<Step>, Value),
}

/// The outcome of a merge.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merge {
    /// What makes the merged tree of ours, conflicts left as ours has them.
    pub(crate) changes: Vec<Change>,
    /// Where both sides changed the same differently, and what makes theirs of it.
    pub(crate) conflicts: Vec<Conflict>,
}

/// One place that both sides changed differently.
#[derive(Debug, PartialEq)]
pub(crate) struct Conflict {
    /// Where, as `a.b[0]`.
    pub(crate) path: String,
    /// What makes theirs of it.
    pub(crate) theirs: Change,
}

/// Merges three trees. `base` is `None` where the file had no ancestor.
pub(crate) fn merge(base: Option<&Value>, ours: &Value, theirs: &Value) -> Merge {
    let mut merge = Merge::default();
    walk(&mut Vec::new(), Some(ours), base, Some(theirs), &mut merge);
    merge
}

/// The tree with changes made. A change that does not fit is left out.
pub(crate) fn apply(mut tree: Value, changes: &[Change]) -> Value {
    // Items are taken from lists by their old numbers: those to remove go last, from the end.
    let (removals, others): (Vec<_>, Vec<_>) = changes.iter().partition(|change| matches!(change, Change::Remove(_)));
    for change in others.into_iter().chain(removals.into_iter().rev()) {
        match change {
            Change::Set(path, value) => {
                if let Some(place) = find(&mut tree, path) {
                    *place = value.clone();
                }
            }
            Change::Insert(path, key, value) => {
                if let Some(Value::Map(entries)) = find(&mut tree, path) {
                    entries.push((key.clone(), value.clone()));
                }
            }
            Change::Push(path, value) => {
                if let Some(Value::Seq(items)) = find(&mut tree, path) {
                    items.push(value.clone());
                }
            }
            Change::Remove(path) => {
                let Some((last, parent)) = path.split_last() else { continue };
                match (find(&mut tree, parent), last) {
                    (Some(Value::Map(entries)), Step::Key(key)) => entries.retain(|(name, _)| name != key),
                    (Some(Value::Seq(items)), Step::Index(index)) if *index < items.len() => {
                        items.remove(*index);
                    }
                    _ => {}
                }
            }
        }
    }
    tree
}

/// Whether two trees are the same. The order of a map's entries does not count; the types of values do.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Map(a), Value::Map(b)) => {
            let entries = by_key(b);
            a.len() == b.len()
                && a.iter().all(|(key, value)| entries.get(key.as_str()).is_some_and(|other| same(value, other)))
        }
        (Value::Seq(a), Value::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        // By bits: NaN is NaN here.
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

/// A path for people.
pub(crate) fn show(path: &[Step]) -> String {
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(key);
            }
            Step::Index(index) => {
                let _ = write!(shown, "[{index}]");
            }
        }
    }
    if shown.is_empty() { "the whole document".to_owned() } else { shown }
}

fn walk(path: &mut Vec<Step>, ours: Option<&Value>, base: Option<&Value>, theirs: Option<&Value>, merge: &mut Merge) {
    if equal(ours, theirs) || equal(base, theirs) {
        return;
    }
    match (ours, theirs) {
        (Some(Value::Map(ours)), Some(Value::Map(theirs))) => {
            let base = match base {
                Some(Value::Map(base)) => base.as_slice(),
                _ => &[],
            };
            walk_maps(path, ours, base, theirs, merge);
        }
        (Some(Value::Seq(our_items)), Some(Value::Seq(their_items))) => {
            let base_items = match base {
                Some(Value::Seq(items)) => items.as_slice(),
                _ => &[],
            };
            let fixed = stand_still(base_items, our_items) && stand_still(base_items, their_items);
            let appended = equal(ours, base)
                && their_items.len() > our_items.len()
                && our_items.iter().zip(their_items).all(|(ours, theirs)| same(ours, theirs));
            if fixed {
                for (index, item) in our_items.iter().enumerate() {
                    path.push(Step::Index(index));
                    walk(path, Some(item), Some(&base_items[index]), Some(&their_items[index]), merge);
                    path.pop();
                }
            } else if appended {
                let items = their_items[our_items.len()..].iter();
                merge.changes.extend(items.map(|item| Change::Push(path.clone(), item.clone())));
            } else {
                decide(path, ours, base, theirs, merge);
            }
        }
        _ => decide(path, ours, base, theirs, merge),
    }
}

/// Whether the items of a list are those of the base, each in its place, changed or not: then they can be compared one by one.
///
/// After a removal at the front and an addition at the end there are as many items as before, and one that was changed on the
/// other side meanwhile would be taken for its neighbour. Single values cannot be mixed up unseen: both sides changed them then.
fn stand_still(base: &[Value], items: &[Value]) -> bool {
    /// Past this many comparisons the list counts as one value.
    const MOST: usize = 4_000_000;
    if base.len() != items.len() {
        return false;
    }
    let is_single = |value: &Value| !matches!(value, Value::Map(_) | Value::Seq(_));
    let changed: Vec<&Value> = items
        .iter()
        .zip(base)
        .filter(|(item, base)| !is_single(item) && !same(item, base))
        .map(|(item, _)| item)
        .collect();
    changed.len().saturating_mul(base.len()) <= MOST
        && !changed.iter().any(|item| base.iter().any(|other| same(item, other)))
}

fn walk_maps(
    path: &mut Vec<Step>,
    ours: &[(String, Value)],
    base: &[(String, Value)],
    theirs: &[(String, Value)],
    merge: &mut Merge,
) {
    let (our_entries, base_entries, their_entries) = (by_key(ours), by_key(base), by_key(theirs));
    let only_theirs = theirs.iter().filter(|(key, _)| !our_entries.contains_key(key.as_str()));
    for (key, _) in ours.iter().chain(only_theirs) {
        path.push(Step::Key(key.clone()));
        walk(
            path,
            our_entries.get(key.as_str()).copied(),
            base_entries.get(key.as_str()).copied(),
            their_entries.get(key.as_str()).copied(),
            merge,
        );
        path.pop();
    }
}

/// By name: a map of a hundred thousand entries must not be searched a hundred thousand times.
fn by_key(entries: &[(String, Value)]) -> HashMap<&str, &Value> {
    entries.iter().map(|(key, value)| (key.as_str(), value)).collect()
}

/// Neither side can be looked into: theirs is taken where ours is as it was.
fn decide(path: &[Step], ours: Option<&Value>, base: Option<&Value>, theirs: Option<&Value>, merge: &mut Merge) {
    let change = match (ours, theirs, path.split_last()) {
        (Some(_), Some(theirs), _) => Change::Set(path.to_vec(), theirs.clone()),
        (Some(_), None, _) => Change::Remove(path.to_vec()),
        (None, Some(theirs), Some((Step::Key(key), map))) => Change::Insert(map.to_vec(), key.clone(), theirs.clone()),
        (None, ..) => return,
    };
    if equal(ours, base) {
        merge.changes.push(change);
    } else {
        merge.conflicts.push(Conflict { path: show(path), theirs: change });
    }
}

fn equal(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b),
        _ => false,
    }
}

fn find<'v>(tree: &'v mut Value, path: &[Step]) -> Option<&'v mut Value> {
    path.iter().try_fold(tree, |tree, step| match (tree, step) {
        (Value::Map(entries), Step::Key(key)) => {
            entries.iter_mut().find_map(|(name, value)| (name == key).then_some(value))
        }
        (Value::Seq(items), Step::Index(index)) => items.get_mut(*index),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    fn list(items: &[i64]) -> Value {
        Value::Seq(items.iter().map(|item| Value::Int(*item)).collect())
    }

    fn merged(base: &Value, ours: &Value, theirs: &Value) -> (Value, Vec<String>) {
        let merge = merge(Some(base), ours, theirs);
        let conflicts = merge.conflicts.iter().map(|conflict| conflict.path.clone()).collect();
        (apply(ours.clone(), &merge.changes), conflicts)
    }

    #[test]
    fn changes_of_different_keys_come_together() {
        let base = map(&[("a", Value::Int(1)), ("b", map(&[("c", Value::Int(2)), ("d", Value::Int(3))]))]);
        let ours = map(&[("a", Value::Int(9)), ("b", map(&[("c", Value::Int(2)), ("d", Value::Int(3))]))]);
        let theirs = map(&[("a", Value::Int(1)), ("b", map(&[("c", Value::Int(7)), ("e", Value::Int(4))]))]);
        let (tree, conflicts) = merged(&base, &ours, &theirs);
        assert_eq!(conflicts, Vec::<String>::new());
        let wanted = map(&[("a", Value::Int(9)), ("b", map(&[("c", Value::Int(7)), ("e", Value::Int(4))]))]);
        assert!(same(&tree, &wanted), "{tree:?}");
    }

    #[test]
    fn the_same_change_on_both_sides_is_one_change() {
        let (base, new) = (map(&[("a", Value::Int(1))]), map(&[("a", Value::Int(2)), ("b", Value::Null)]));
        assert_eq!(merge(Some(&base), &new, &new), Merge::default());
    }

    #[test]
    fn different_changes_of_one_key_are_a_conflict_there_alone() {
        let base = map(&[("a", map(&[("x", Value::Int(1)), ("y", Value::Int(1))]))]);
        let ours = map(&[("a", map(&[("x", Value::Int(2)), ("y", Value::Int(1))]))]);
        let theirs = map(&[("a", map(&[("x", Value::Int(3)), ("y", Value::Int(5))]))]);
        let (tree, conflicts) = merged(&base, &ours, &theirs);
        assert_eq!(conflicts, ["a.x"]);
        assert!(same(&tree, &map(&[("a", map(&[("x", Value::Int(2)), ("y", Value::Int(5))]))])));
    }

    #[test]
    fn removed_here_and_changed_there_is_a_conflict() {
        let base = map(&[("a", Value::Int(1)), ("b", Value::Int(1))]);
        let without = map(&[("b", Value::Int(1))]);
        let changed = map(&[("a", Value::Int(2)), ("b", Value::Int(1))]);
        for (ours, theirs) in [(&without, &changed), (&changed, &without)] {
            let merge = merge(Some(&base), ours, theirs);
            assert_eq!(merge.changes, []);
            assert!(same(&apply(ours.clone(), &[merge.conflicts[0].theirs.clone()]), theirs));
        }
    }

    #[test]
    fn a_type_counts_as_a_change() {
        let base = map(&[("a", Value::Int(1))]);
        let theirs = map(&[("a", Value::str("1"))]);
        assert!(same(&merged(&base, &base, &theirs).0, &theirs));
    }

    #[test]
    fn lists_take_items_at_their_end_and_changes_in_place() {
        let wrap = |items: &[i64]| map(&[("l", list(items))]);
        assert!(same(&merged(&wrap(&[1, 2]), &wrap(&[1, 2]), &wrap(&[1, 2, 3])).0, &wrap(&[1, 2, 3])));
        assert!(same(&merged(&wrap(&[1, 2]), &wrap(&[9, 2]), &wrap(&[1, 8])).0, &wrap(&[9, 8])));
        assert_eq!(merged(&wrap(&[1, 2]), &wrap(&[1, 2, 4]), &wrap(&[1, 2, 3])).1, ["l"]);
    }

    #[test]
    fn an_item_that_moved_is_not_taken_for_its_neighbour() {
        let user = |name: &str, more: &[(&str, Value)]| map(&[&[("name", Value::str(name))], more].concat());
        let wrap = |items: &[Value]| map(&[("users", Value::Seq(items.to_vec()))]);
        let (ann, bob, eve) = (user("ann", &[]), user("bob", &[]), user("eve", &[]));
        let admin = [("admin", Value::Bool(true))];
        let base = wrap(&[ann.clone(), bob.clone()]);
        let theirs = wrap(&[ann, user("bob", &admin)]);
        // Ann left and Eve came: Bob stands where Ann stood.
        let (tree, conflicts) = merged(&base, &wrap(&[bob.clone(), eve.clone()]), &theirs);
        assert_eq!(conflicts, ["users"]);
        assert!(same(&tree, &wrap(&[bob, eve])), "nobody became an administrator unseen");
    }

    fn leaf() -> BoxedStrategy<Value> {
        prop_oneof![any::<bool>().prop_map(Value::Bool), (0_i64..3).prop_map(Value::Int), Just(Value::Null)].boxed()
    }

    /// `items` makes the items of lists of what else there is.
    fn tree_with(items: fn(BoxedStrategy<Value>) -> BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
        let inner = leaf().prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                proptest::collection::btree_map("[a-d]", inner.clone(), 0..4)
                    .prop_map(|entries| Value::Map(entries.into_iter().collect())),
                proptest::collection::vec(items(inner.boxed()), 0..3).prop_map(Value::Seq),
            ]
        });
        proptest::collection::btree_map("[a-d]", inner, 0..4)
            .prop_map(|entries| Value::Map(entries.into_iter().collect()))
    }

    fn tree() -> impl Strategy<Value = Value> {
        tree_with(|inner| inner)
    }

    /// Merged items of a list can look like items that moved.
    fn tree_with_simple_lists() -> impl Strategy<Value = Value> {
        tree_with(|_| leaf())
    }

    proptest! {
        #[test]
        fn a_side_that_changed_nothing_takes_the_other_whole(base in tree(), other in tree()) {
            let (tree, conflicts) = merged(&base, &base, &other);
            prop_assert_eq!(conflicts.len(), 0);
            prop_assert!(same(&tree, &other));
            let (tree, conflicts) = merged(&base, &other, &base);
            prop_assert_eq!(conflicts.len(), 0);
            prop_assert!(same(&tree, &other));
        }

        #[test]
        fn merging_conflicts_as_theirs_leaves_nothing_of_theirs_out(
            base in tree_with_simple_lists(),
            ours in tree_with_simple_lists(),
            theirs in tree_with_simple_lists(),
        ) {
            let first = merge(Some(&base), &ours, &theirs);
            let mut changes = first.changes;
            changes.extend(first.conflicts.into_iter().map(|conflict| conflict.theirs));
            let taken = apply(ours, &changes);
            prop_assert_eq!(merge(Some(&base), &taken, &theirs), Merge::default());
        }
    }
}
