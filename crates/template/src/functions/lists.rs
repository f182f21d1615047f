//! sprig's functions on lists.

use std::sync::Arc;

use super::{Args, Function, Param, Run};
use crate::builtins;
use crate::compare;
use crate::convert::to_int64;
use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::value::{Elem, List, Value};

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Int};
    let f = Function::plain;
    all.extend([
        f("list", &[], list).with_rest(Any),
        f("tuple", &[], list).with_rest(Any),
        f("concat", &[], concat).with_rest(Any),
    ]);
    both(all, ["append", "mustAppend"], &[Any, Any], None, push);
    both(all, ["push", "mustPush"], &[Any, Any], None, push);
    both(all, ["prepend", "mustPrepend"], &[Any, Any], None, prepend);
    both(all, ["first", "mustFirst"], &[Any], None, |_, args| {
        Ok(args.list(0, "find first")?.items.first().cloned().unwrap_or(Value::Nil))
    });
    both(all, ["last", "mustLast"], &[Any], None, |_, args| {
        Ok(args.list(0, "find last")?.items.last().cloned().unwrap_or(Value::Nil))
    });
    both(all, ["rest", "mustRest"], &[Any], None, |meter, args| {
        let items = &args.list(0, "find rest")?.items;
        copy_or_nil(meter, items.get(1..))
    });
    both(all, ["initial", "mustInitial"], &[Any], None, |meter, args| {
        let items = &args.list(0, "find initial")?.items;
        copy_or_nil(meter, items.len().checked_sub(1).map(|end| &items[..end]))
    });
    both(all, ["reverse", "mustReverse"], &[Any], None, |meter, args| {
        let items = &args.list(0, "find reverse")?.items;
        meter.items(items.len())?;
        Ok(Value::list(items.iter().rev().cloned().collect()))
    });
    both(all, ["compact", "mustCompact"], &[Any], None, |meter, args| {
        let items = &args.list(0, "compact")?.items;
        meter.items(items.len())?;
        Ok(Value::list(items.iter().filter(|item| item.truth()).cloned().collect()))
    });
    both(all, ["uniq", "mustUniq"], &[Any], None, |meter, args| {
        let mut unique: Vec<Value> = Vec::new();
        for item in &args.list(0, "find uniq")?.items {
            if !is_in(&unique, item, meter)? {
                meter.items(1)?;
                unique.push(item.clone());
            }
        }
        Ok(Value::list(unique))
    });
    both(all, ["without", "mustWithout"], &[Any], Some(Any), |meter, args| {
        let mut kept = Vec::new();
        for item in &args.list(0, "find without")?.items {
            if !is_in(args.from(1), item, meter)? {
                meter.items(1)?;
                kept.push(item.clone());
            }
        }
        Ok(Value::list(kept))
    });
    both(all, ["has", "mustHas"], &[Any, Any], None, |meter, args| {
        if args.value(1).is_nil() {
            return Ok(false.into());
        }
        Ok(is_in(&args.list(1, "find has")?.items, args.value(0), meter)?.into())
    });
    both(all, ["slice", "mustSlice"], &[Any], Some(Any), slice);
    both(all, ["chunk", "mustChunk"], &[Int, Any], None, chunk);
}

/// The two names that sprig has for a function: one panics where the other returns an error, which is the same in a template.
pub(super) fn both(
    all: &mut Vec<Function>,
    names: [&'static str; 2],
    params: &'static [Param],
    rest: Option<Param>,
    run: impl Fn(&mut Meter, &Args<'_>) -> Result<Value, Failure> + Send + Sync + 'static,
) {
    let run: Arc<Run> = Arc::new(run);
    for name in names {
        let run = Arc::clone(&run);
        let mut function = Function::new(name, params, move |meter, args| run(meter, args));
        function.rest = rest;
        all.push(function);
    }
}

fn list(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    meter.items(args.all().len())?;
    Ok(Value::list(args.all().to_vec()))
}

fn concat(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut items = Vec::new();
    for index in 0..args.all().len() {
        let more = &args.list(index, "concat")?.items;
        meter.items(more.len())?;
        items.extend(more.iter().cloned());
    }
    Ok(if items.is_empty() { Value::nil_list(Elem::Any) } else { Value::list(items) })
}

fn push(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let old = &args.list(0, "push")?.items;
    meter.items(old.len() + 1)?;
    let mut items = Vec::with_capacity(old.len() + 1);
    items.extend(old.iter().cloned());
    items.push(args.value(1).clone());
    Ok(Value::list(items))
}

fn prepend(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let old = &args.list(0, "prepend")?.items;
    meter.items(old.len() + 1)?;
    let mut items = Vec::with_capacity(old.len() + 1);
    items.push(args.value(1).clone());
    items.extend(old.iter().cloned());
    Ok(Value::list(items))
}

fn copy_or_nil(meter: &mut Meter, items: Option<&[Value]>) -> Result<Value, Failure> {
    let Some(items) = items else { return Ok(Value::nil_list(Elem::Any)) };
    meter.items(items.len())?;
    Ok(Value::list(items.to_vec()))
}

fn is_in(items: &[Value], needle: &Value, meter: &mut Meter) -> Result<bool, Limit> {
    for item in items {
        if compare::deep(needle, item, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn slice(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let list: &List = args.list(0, "slice")?;
    let len = list.items.len();
    if len == 0 {
        return Ok(Value::Nil);
    }
    let place = |index: usize, default: usize| match args.from(1).get(index) {
        Some(value) => usize::try_from(to_int64(value)).ok(),
        None => Some(default),
    };
    match (place(0, 0), place(1, len)) {
        (Some(start), Some(end)) if start <= end && end <= len => builtins::part(meter, args.value(0), start, end),
        _ => Err("slice index out of bounds".into()),
    }
}

fn chunk(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let items = &args.list(1, "chunk")?.items;
    let size = usize::try_from(args.int(0)).ok().filter(|&size| size > 0).ok_or("the size must be positive")?;
    meter.items(items.len() * 2)?;
    let chunks = items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::typed_list(Elem::List, chunks))
}
