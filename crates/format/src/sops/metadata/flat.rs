//! Trees as lists of single values, for syntaxes that have no trees: `age__list_0__map_enc`.
//!
//! ```text
//! name = key *( "__map_" key / "__list_" index )
//! ```

use std::collections::BTreeMap;

use bulla_document::Value;

use super::bad;
use crate::sops::Error;

const MAP: &str = "__map_";
const LIST: &str = "__list_";

/// Deeper than any metadata; trees are built by recursion.
const MAX_DEPTH: usize = 32;

/// The entries of a map as single values with flattened names, all of them strings. Nulls and empty collections are left out.
pub(super) fn flatten(tree: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    if let Value::Map(entries) = tree {
        for (key, value) in entries {
            flatten_into(&mut out, key.clone(), value);
        }
    }
    out
}

fn flatten_into(out: &mut Vec<(String, String)>, name: String, value: &Value) {
    match value {
        Value::Map(entries) => {
            for (key, value) in entries {
                flatten_into(out, format!("{name}{MAP}{key}"), value);
            }
        }
        Value::Seq(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten_into(out, format!("{name}{LIST}{index}"), value);
            }
        }
        scalar => out.extend(text(scalar).map(|text| (name, text))),
    }
}

/// A single value as text, `None` for null and for collections.
pub(super) fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null | Value::Map(_) | Value::Seq(_) => return None,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Time(text) => text.clone(),
    })
}

/// The tree that flattened entries stand for; maps in alphabetical order.
///
/// # Errors
/// [`Error::Metadata`] names the entry that does not fit the others.
pub(super) fn unflatten(entries: impl IntoIterator<Item = (String, Value)>) -> Result<Value, Error> {
    let mut root = Branch::default();
    for (name, value) in entries {
        let misfit = || bad(format!("the entry {name:?} does not fit the others"));
        let mut branch = &mut root;
        for (depth, step) in steps(&name).enumerate() {
            if depth > MAX_DEPTH {
                return Err(misfit());
            }
            branch = match step.ok_or_else(misfit)? {
                Step::Key(key) => branch.keys.entry(key.to_owned()).or_default(),
                Step::Index(index) => branch.items.entry(index).or_default(),
            };
        }
        if branch.value.replace(value).is_some() {
            return Err(misfit());
        }
    }
    root.build().ok_or_else(|| bad("its flattened entries contradict each other"))
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a flattened name; `None` for an index that is no number.
fn steps(name: &str) -> impl Iterator<Item = Option<Step<'_>>> {
    let mut rest = Some(name);
    let mut is_index = false;
    std::iter::from_fn(move || {
        let text = rest?;
        let next = [(MAP, false), (LIST, true)]
            .into_iter()
            .filter_map(|(separator, index)| Some((text.find(separator)?, separator, index)))
            .min_by_key(|(at, ..)| *at);
        let step = text.get(..next.map_or(text.len(), |(at, ..)| at)).unwrap_or_default();
        let step = if is_index { step.parse().ok().map(Step::Index) } else { Some(Step::Key(step)) };
        rest = next.and_then(|(at, separator, _)| text.get(at + separator.len()..));
        is_index = next.is_some_and(|(.., index)| index);
        Some(step)
    })
}

#[derive(Default)]
struct Branch {
    value: Option<Value>,
    keys: BTreeMap<String, Branch>,
    items: BTreeMap<usize, Branch>,
}

impl Branch {
    /// `None` if it is two things at once, or a list with gaps.
    fn build(self) -> Option<Value> {
        match (self.value, self.keys.is_empty(), self.items.is_empty()) {
            (Some(value), true, true) => Some(value),
            (None, _, true) => self
                .keys
                .into_iter()
                .map(|(key, branch)| Some((key, branch.build()?)))
                .collect::<Option<_>>()
                .map(Value::Map),
            (None, true, false) => {
                let gapless = self.items.last_key_value().is_some_and(|(&last, _)| last == self.items.len() - 1);
                gapless.then_some(())?;
                self.items.into_values().map(Self::build).collect::<Option<_>>().map(Value::Seq)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn entries(list: &[(&str, &str)]) -> Vec<(String, Value)> {
        list.iter().map(|(name, text)| ((*name).to_owned(), Value::str(*text))).collect()
    }

    #[test]
    fn trees_come_back_from_their_flattened_form() {
        let tree = Value::Map(vec![
            ("age".into(), Value::Seq(vec![Value::Map(vec![("enc".into(), Value::str("x\ny"))])])),
            (
                "kms".into(),
                Value::Seq(vec![Value::Map(vec![(
                    "context".into(),
                    Value::Map(vec![("a__b".into(), Value::str("1"))]),
                )])]),
            ),
            ("version".into(), Value::str("3.13.3")),
        ]);
        let flat = flatten(&tree);
        let names: Vec<_> = flat.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["age__list_0__map_enc", "kms__list_0__map_context__map_a__b", "version"]);
        assert_eq!(unflatten(flat.into_iter().map(|(name, text)| (name, Value::str(text)))).unwrap(), tree);
    }

    #[test]
    fn entries_that_contradict_each_other_are_errors() {
        for list in [
            [("a", "1"), ("a", "2")].as_slice(),
            &[("a", "1"), ("a__map_b", "2")],
            &[("a__map_b", "1"), ("a__list_0", "2")],
            &[("a__list_1", "1")],
            &[("a__list_x", "1")],
            &[("a__list_18446744073709551615", "1")],
        ] {
            assert!(unflatten(entries(list)).is_err(), "{list:?}");
        }
    }

    #[test]
    fn a_name_that_nests_without_end_is_an_error() {
        assert!(unflatten(entries(&[(&"a__map_".repeat(100_000), "x")])).is_err());
    }

    proptest! {
        #[test]
        fn any_names_are_read_without_panic(names in proptest::collection::vec("(__map_|__list_|a|_|0|é){0,8}", 0..8)) {
            let _ = unflatten(names.into_iter().map(|name| (name, Value::Null)));
        }
    }
}
