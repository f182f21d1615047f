//! sprig's functions on maps.
//!
//! `set`, `unset`, `merge` and `mergeOverwrite` change the map that they are given. Where Go's order is random, keys are sorted.

use std::collections::BTreeMap;

use super::lists::both;
use super::strings::strval;
use super::{Args, Function, Param};
use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::text::Text;
use crate::value::{Elem, List, Map, Value};

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Map as Dict, Text};
    let f = Function::plain;
    all.extend([
        f("dict", &[], dict).with_rest(Any),
        f("get", &[Dict, Text], |_, args| Ok(args.map(0).get(args.text(1)).unwrap_or_else(|| "".into()))),
        f("set", &[Dict, Text, Any], |meter, args| {
            args.map(0).set(args.shared_text(1), args.value(2).clone(), meter)?;
            Ok(args.value(0).clone())
        }),
        f("unset", &[Dict, Text], |_, args| {
            args.map(0).remove(args.text(1));
            Ok(args.value(0).clone())
        }),
        f("hasKey", &[Dict, Text], |_, args| Ok(args.map(0).get(args.text(1)).is_some().into())),
        f("pluck", &[Text], |meter, args| {
            meter.items(args.from(1).len())?;
            // The key was paid for once, and is looked for in each map.
            meter.steps(key_steps(args.text(0)).saturating_mul(args.from(1).len() as u64))?;
            let found = (1..args.all().len()).filter_map(|index| args.map(index).get(args.text(0)));
            Ok(Value::list(found.collect()))
        })
        .with_rest(Dict),
        f("keys", &[], |meter, args| {
            let mut keys = Vec::new();
            for index in 0..args.all().len() {
                let map = args.map(index);
                meter.items(map.len())?;
                keys.extend(map.entries().keys().cloned().map(Value::Text));
            }
            Ok(Value::typed_list(Elem::Text, keys))
        })
        .with_rest(Dict),
        f("values", &[Dict], |meter, args| {
            let map = args.map(0);
            meter.items(map.len())?;
            let values = map.entries().values().cloned().collect();
            Ok(Value::list(values))
        }),
        f("pick", &[Dict], |meter, args| {
            let map = args.map(0);
            meter.entries(args.from(1).len())?;
            let entries = (1..args.all().len())
                .filter_map(|index| map.get(args.text(index)).map(|value| (args.shared_text(index), value)));
            Ok(Value::map(entries.collect::<Vec<_>>()))
        })
        .with_rest(Text),
        f("omit", &[Dict], |meter, args| {
            let map = args.map(0);
            meter.entries(map.len() + args.from(1).len())?;
            let mut entries: BTreeMap<_, _> = map.entries().clone();
            for index in 1..args.all().len() {
                entries.remove(args.text(index));
            }
            Ok(Value::Map(Map::new(Elem::Any, entries)))
        })
        .with_rest(Text),
        f("dig", &[], dig).with_rest(Any),
        f("merge", &[Dict], |meter, args| merge_all(meter, args, Existing::Stays)).with_rest(Dict),
        f("mustMerge", &[Dict], |meter, args| merge_all(meter, args, Existing::Stays)).with_rest(Dict),
        f("mergeOverwrite", &[Dict], |meter, args| merge_all(meter, args, Existing::Goes)).with_rest(Dict),
        f("mustMergeOverwrite", &[Dict], |meter, args| merge_all(meter, args, Existing::Goes)).with_rest(Dict),
    ]);
    both(all, ["deepCopy", "mustDeepCopy"], &[Any], None, |meter, args| match args.value(0) {
        Value::Nil => Err("nil cannot be copied".into()),
        value => Ok(deep_copy(value, meter, 0)?),
    });
}

fn dict(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    meter.entries(args.all().len().div_ceil(2))?;
    let mut entries = BTreeMap::new();
    for pair in args.all().chunks(2) {
        let value = pair.get(1).cloned().unwrap_or_else(|| "".into());
        entries.insert(strval(&pair[0], meter)?, value);
    }
    Ok(Value::Map(Map::new(Elem::Any, entries)))
}

/// `dig "a" "b" DEFAULT DICT`
fn dig(_: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let [path @ .., default, dict] = args.all() else { return Err("dig needs at least three arguments".into()) };
    if path.is_empty() {
        return Err("dig needs at least three arguments".into());
    }
    if path.iter().any(|key| !matches!(key, Value::Text(_))) {
        return Err("a key is not a string".into());
    }
    let mut at = dict.clone();
    for key in path {
        let (Value::Map(map), Value::Text(key)) = (&at, key) else {
            return Err(format!("expected map[string]interface {{}}, found {}", at.type_name()).into());
        };
        if map.elem() != Elem::Any {
            return Err("expected map[string]interface {}, found map[string]string".into());
        }
        match map.get(key.expose()) {
            Some(value) => at = value,
            None => return Ok(default.clone()),
        }
    }
    Ok(at)
}

/// Lists and maps anew, at all depths.
fn deep_copy(value: &Value, meter: &mut Meter, depth: usize) -> Result<Value, Limit> {
    if depth > meter.depth() {
        return Err(Limit::Depth);
    }
    Ok(match value {
        Value::List(list) => {
            meter.items(1 + list.items.len())?;
            let items: Result<_, _> = list.items.iter().map(|item| deep_copy(item, meter, depth + 1)).collect();
            Value::List(std::sync::Arc::new(List { elem: list.elem, nil: list.nil, items: items? }))
        }
        Value::Map(map) if map.is_nil() => value.clone(),
        Value::Map(map) => {
            meter.entries(map.len())?;
            // Entries are ordered anew.
            meter.steps(map.entries().keys().map(|key| key_steps(key.expose())).sum())?;
            let copied: Result<BTreeMap<Text, Value>, Limit> =
                map.entries().iter().map(|(key, item)| Ok((key.clone(), deep_copy(item, meter, depth + 1)?))).collect();
            Value::Map(Map::new(map.elem(), copied?))
        }
        value => value.clone(),
    })
}

/// What looking for a key costs: it is held against others that may begin as it does.
fn key_steps(key: &[u8]) -> u64 {
    key.len() as u64 / 16
}

/// What happens to a value that is there already and not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Stays,
    Goes,
}

fn merge_all(meter: &mut Meter, args: &Args<'_>, existing: Existing) -> Result<Value, Failure> {
    let mut target = args.map(0);
    if target.is_nil() && args.all().len() > 1 {
        target = Map::new(Elem::Any, BTreeMap::new());
    }
    for index in 1..args.all().len() {
        merge(&target, &args.map(index), existing, meter, 0)?;
    }
    Ok(Value::Map(target))
}

/// Maps within maps are merged, too; of all else one or the other stays.
fn merge(target: &Map, source: &Map, existing: Existing, meter: &mut Meter, depth: usize) -> Result<(), Failure> {
    if depth > meter.depth() {
        return Err(Limit::Depth.into());
    }
    meter.items(2 * source.len())?;
    // Both may be the same map.
    let entries: Vec<_> = source.entries().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in entries {
        meter.steps(1 + key_steps(key.expose()))?;
        let old = target.get(key.expose());
        if value.is_nil() {
            if existing == Existing::Goes {
                put(target, key, value, source.elem(), meter)?;
            }
            continue;
        }
        if let (Value::Map(inner), Some(Value::Map(old))) = (&value, &old) {
            merge(old, inner, existing, meter, depth + 1)?;
            if !old.is_empty() {
                continue;
            }
        }
        if existing == Existing::Goes || old.is_none_or(|old| !old.truth()) {
            put(target, key, value, source.elem(), meter)?;
        }
    }
    Ok(())
}

fn put(target: &Map, key: Text, value: Value, from: Elem, meter: &mut Meter) -> Result<(), Failure> {
    if target.elem() == Elem::Text && from != Elem::Text {
        return Err("a map of strings holds strings only".into());
    }
    target.set(key, value, meter)
}
