//! `sys/quotas`.

use super::System;
use crate::core::Open;
use crate::core::mount::AUTH;
use crate::core::quota::{Config, Rule};
use crate::logical::{Call, Error, Field, Kind, Response, Result};

pub const RULE: &[Field] = &[
    Field::new("name", Kind::Text, "The quota's name."),
    Field::new("path", Kind::Text, "The mount, or a path of it; with a `*` at the end a beginning. None: everything."),
    Field::new("rate", Kind::Float, "How many requests."),
    Field::new("interval", Kind::Seconds, "In which time; a second if it is not given."),
    Field::new("block_interval", Kind::Seconds, "For how long a client that made more gets nothing."),
    Field::new("inheritable", Kind::Bool, "Kept, without effect: there are no namespaces."),
    Field::new("role", Kind::Text, "The role of an auth method: its logins at the mount alone count."),
    Field::new("type", Kind::Text, "`rate-limit`."),
];
pub const CONFIG: &[Field] = &[
    Field::new("rate_limit_exempt_paths", Kind::Texts, "Paths that are not counted."),
    Field::new("enable_rate_limit_audit_logging", Kind::Bool, "Whether a request that is refused is written down."),
    Field::new("enable_rate_limit_response_headers", Kind::Bool, "Whether answers say how much is left."),
];

pub async fn config(system: &System, _: &Call<'_>) -> Result<Response> {
    let config = system.open()?.quotas.config();
    Ok(Response::data(object! {
        "enable_rate_limit_audit_logging": config.audit,
        "enable_rate_limit_response_headers": config.headers,
        "rate_limit_exempt_paths": config.exempt.as_slice(),
    }))
}

/// All of it: what is not given is off.
pub async fn configure(system: &System, call: &Call<'_>) -> Result<Response> {
    let config = Config {
        exempt: call.input.texts("rate_limit_exempt_paths")?.unwrap_or_default(),
        audit: call.input.bool("enable_rate_limit_audit_logging")?.unwrap_or(false),
        headers: call.input.bool("enable_rate_limit_response_headers")?.unwrap_or(false),
    };
    system.open()?.quotas.configure(config).await?;
    Ok(Response::empty())
}

pub async fn list(system: &System, _: &Call<'_>) -> Result<Response> {
    Response::list(system.open()?.quotas.rules().into_iter().map(|rule| rule.name).collect())
}

pub async fn read(system: &System, call: &Call<'_>) -> Result<Response> {
    let name = call.input.capture("name");
    let rule = system.open()?.quotas.rules().into_iter().find(|rule| rule.name == name);
    let rule = rule.ok_or_else(Error::not_found)?;
    // The digits that make the number again.
    let rate = crate::json::Value::Number(rule.rate.to_string().into());
    Ok(Response::data(object! {
        "block_interval": rule.block_interval,
        "inheritable": rule.inheritable,
        "interval": rule.interval,
        "name": rule.name.as_str(),
        "path": rule.path(),
        "rate": rate,
        "role": rule.role.as_str(),
        "type": "rate-limit",
    }))
}

pub async fn write(system: &System, call: &Call<'_>) -> Result<Response> {
    let open = system.open()?;
    let rate = call.input.float("rate")?.unwrap_or(0.0);
    if !(rate.is_finite() && rate > 0.0) {
        return Err(Error::bad_request("'rate' is invalid"));
    }
    let seconds = |name: &str| -> Result<i64> {
        let seconds = call.input.seconds(name)?.unwrap_or(0);
        if seconds < 0 {
            return Err(Error::bad_request(format!(
                "Field validation failed: error converting input for field {name:?}: cannot provide negative value '{seconds}'"
            )));
        }
        Ok(seconds)
    };
    let (interval, block_interval) = (seconds("interval")?.max(1), seconds("block_interval")?);
    let path = call.input.text("path")?.unwrap_or_default();
    let path = path.trim_start_matches('/');
    let (mount, suffix) = if path.is_empty() {
        (String::new(), String::new())
    } else {
        let path = format!("{}/", path.trim_end_matches('/'));
        let invalid = || Error::bad_request(format!("invalid mount path {path:?}"));
        let (mount, below) = open.mounts.route(&path).ok_or_else(invalid)?;
        (mount.info.path.clone(), below.trim_end_matches('/').to_owned())
    };
    let role = call.input.text("role")?.unwrap_or_default();
    if !role.is_empty() {
        check_role(&open, &mount, &suffix)?;
    }
    let inheritable = call.input.bool("inheritable")?.unwrap_or(mount.is_empty());
    let name = call.input.capture("name").to_owned();
    let rule = Rule { name, mount, suffix, rate, interval, block_interval, inheritable, role };
    open.quotas
        .change(|rules| {
            let of = |rule: &Rule| (rule.mount.clone(), rule.suffix.clone(), rule.role.clone());
            let same = |one: &&Rule| of(one) == of(&rule) && one.name != rule.name;
            if let Some(other) = rules.iter().find(same) {
                return Err(Error::bad_request(format!(
                    "quota rule with similar properties exists under the name {:?}",
                    other.name
                )));
            }
            rules.retain(|one| one.name != rule.name);
            rules.push(rule);
            Ok(())
        })
        .await?;
    Ok(Response::empty())
}

/// Whether a quota can be for a role there.
fn check_role(open: &Open, mount: &str, suffix: &str) -> Result<()> {
    if !mount.starts_with(AUTH) {
        return Err(Error::bad_request(format!(
            "Mount path {mount:?} is not a valid auth method and therefore unsuitable for use with role-based quotas"
        )));
    }
    if !suffix.is_empty() {
        return Err(Error::bad_request(
            "Quotas cannot contain both a path suffix and a role. If a role is provided, path must be a valid auth mount with a concept of roles",
        ));
    }
    if !open.mounts.at(mount).is_some_and(|mount| mount.backend.has_roles()) {
        return Err(Error::bad_request(format!("Mount path {mount:?} does not support use with role-based quotas")));
    }
    Ok(())
}

pub async fn delete(system: &System, call: &Call<'_>) -> Result<Response> {
    let name = call.input.capture("name");
    let remove = |rules: &mut Vec<Rule>| {
        rules.retain(|rule| rule.name != name);
        Ok(())
    };
    system.open()?.quotas.change(remove).await?;
    Ok(Response::empty())
}
