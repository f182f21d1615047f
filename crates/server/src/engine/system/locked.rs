//! `sys/locked-users`, and how a method's limits are tuned and shown.

use super::System;
use crate::core::lockout::ByKind;
use crate::core::mount::{Entry, Lockout};
use crate::json::{Object, Value};
use crate::logical::{Call, Error, Field, Kind, Response, Result, parse_seconds};

pub const ACCESSOR: Field = Field::new("mount_accessor", Kind::Text, "The accessor of the auth method.");

pub async fn list(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let mut locked = open.lockouts.locked(&open.mounts.lockouts());
    let wanted = call.input.text("mount_accessor")?.unwrap_or_default();
    if !wanted.is_empty() {
        let names = locked.remove(&wanted).unwrap_or_default();
        locked = [(wanted, names)].into();
    }
    let total: usize = locked.values().map(Vec::len).sum();
    let mut methods: Vec<_> = locked.into_iter().collect();
    methods.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let methods = methods.into_iter().map(|(accessor, names)| {
        let (counts, names) = (names.len(), if names.is_empty() { Value::Null } else { names.into() });
        Value::from(object! { "mount_accessor": accessor, "counts": counts, "alias_identifiers": names })
    });
    let root = object! {
        "namespace_id": "root",
        "namespace_path": "",
        "counts": total,
        "mount_accessors": Value::Array(methods.collect()),
    };
    Ok(Response::data(object! { "by_namespace": vec![Value::from(root)], "total": total }))
}

pub async fn unlock(system: &System, call: &Call<'_>) -> Result<Response> {
    let (accessor, name) = (call.input.capture("mount_accessor"), call.input.capture("alias_identifier"));
    system.open()?.lockouts.unlock(accessor, name);
    Ok(Response::empty())
}

/// Changes what is given of a method's limits.
///
/// # Errors
/// 400 if it is no method that locks out, or a value cannot be read.
pub fn tune(entry: &mut Entry, given: &Object) -> Result<()> {
    if given.is_empty() {
        return Ok(());
    }
    if !ByKind::KINDS.contains(&entry.kind.as_str()) {
        return Err(Error::bad_request(format!(
            "tuning of user lockout configuration for auth type {:?} not allowed",
            entry.kind
        )));
    }
    let mut lockout = entry.config.lockout.unwrap_or_default();
    let text = |name: &str| match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(digits)) => Ok(Some(digits.to_string())),
        Some(_) => Err(Error::bad_request("unable to convert given user lockout config information")),
    };
    let seconds = |name: &str, was: i64| -> Result<i64> {
        let Some(text) = text(name)? else { return Ok(was) };
        let seconds =
            parse_seconds(&text).map_err(|error| Error::bad_request(format!("unable to parse {name}: {error}")))?;
        if seconds < 0 { Err(Error::bad_request(format!("{name} cannot be negative"))) } else { Ok(seconds) }
    };
    if let Some(text) = text("lockout_threshold")? {
        let bad = |_| {
            Error::bad_request(format!(
                "unable to parse user lockout threshold: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        };
        lockout.threshold = text.parse().map_err(bad)?;
    }
    lockout.duration = seconds("lockout_duration", lockout.duration)?;
    lockout.reset = seconds("lockout_counter_reset_duration", lockout.reset)?;
    match given.get("lockout_disable") {
        None | Some(Value::Null) => {}
        Some(Value::Bool(disabled)) => lockout.disabled = *disabled,
        Some(_) => return Err(Error::bad_request("unable to convert given user lockout config information")),
    }
    entry.config.lockout = Some(lockout);
    Ok(())
}

/// As answers show it.
pub fn shown(lockout: &Lockout) -> Object {
    object! {
        "user_lockout_counter_reset_duration": lockout.reset,
        "user_lockout_threshold": lockout.threshold,
        "user_lockout_duration": lockout.duration,
        "user_lockout_disable": lockout.disabled,
    }
}
