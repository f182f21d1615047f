//! Which mount a path belongs to.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What of a table `path` belongs to, and the path below it. However many segments a path has, it is looked at once: anybody may send any.
pub(super) fn find<'t, 'p, T>(table: &'t BTreeMap<String, T>, path: &'p str) -> Option<(&'t T, &'p str)> {
    // What stands between a mount and a path below it, by their order, is below that mount too; and no mount is.
    let before = table.range::<str, _>((Bound::Unbounded, Bound::Included(path))).next_back();
    if let Some((mount, value)) = before
        && let Some(below) = path.strip_prefix(mount.as_str())
    {
        return Some((value, below));
    }
    // Its own path, without the slash.
    let value = if path.ends_with('/') { None } else { table.get(&format!("{path}/")) };
    value.map(|value| (value, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(paths: &[&str]) -> BTreeMap<String, usize> {
        paths.iter().enumerate().map(|(at, path)| ((*path).to_owned(), at)).collect()
    }

    /// What a path belongs to, by each of its beginnings.
    fn slowly<'p>(table: &BTreeMap<String, usize>, path: &'p str) -> Option<(usize, &'p str)> {
        let own = table.get(&format!("{path}/")).map(|at| (*at, ""));
        let begins = |(mount, at): (&String, &usize)| Some((*at, path.strip_prefix(mount.as_str())?));
        own.or_else(|| table.iter().find_map(begins))
    }

    #[test]
    fn a_path_belongs_to_the_mount_that_it_is_below() {
        let table = table(&["sys/", "auth/token/", "auth/up-2/", "auth/up/", "a/b/", "a!/"]);
        for (path, expected) in [
            ("sys/health", Some((0, "health"))),
            ("sys", Some((0, ""))),
            ("sys/", Some((0, ""))),
            ("auth/token/lookup/", Some((1, "lookup/"))),
            ("auth/up", Some((3, ""))),
            ("auth/up-2", Some((2, ""))),
            ("auth/up-3/x", None),
            ("auth/", None),
            ("a/b/c/d", Some((4, "c/d"))),
            ("a", None),
            ("a/c", None),
            ("a!", Some((5, ""))),
            ("sysx/y", None),
            ("é/x", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(find(&table, path).map(|(at, below)| (*at, below)), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn it_is_what_looking_at_each_beginning_finds(
            mounts in proptest::collection::vec("([ab!é]{1,2}/){1,3}", 0..8),
            path in "([ab!é]{1,2}/){0,5}[ab!é]{0,2}",
        ) {
            let mut table: BTreeMap<String, usize> = BTreeMap::new();
            for (at, mount) in mounts.into_iter().enumerate() {
                // As `check_free` has it.
                if !table.keys().any(|other| other.starts_with(&mount) || mount.starts_with(other.as_str())) {
                    table.insert(mount, at);
                }
            }
            prop_assert_eq!(find(&table, &path).map(|(at, below)| (*at, below)), slowly(&table, &path));
        }
    }
}
