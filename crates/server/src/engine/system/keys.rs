//! The keyring, and sealing.

use super::System;
use crate::barrier::RECORDS_PER_TERM;
use crate::core::time_text;
use crate::json::Value;
use crate::logical::{Call, Error, Field, Kind, Response, Result, format_go};

pub async fn status(system: &System, _: &Call<'_>) -> Result<Response> {
    let status = system.open()?.barrier.key_status();
    Ok(Response::flat(object! {
        "encryptions": status.encryptions,
        "install_time": time_text(status.begun.saturating_mul(1_000_000_000)),
        "term": status.term,
    }))
}

pub async fn rotate(system: &System, _: &Call<'_>) -> Result<Response> {
    system.open()?.barrier.rotate().await?;
    Ok(Response::empty())
}

pub const CONFIG: &[Field] = &[
    Field::new("enabled", Kind::Bool, "Whether terms begin by themselves."),
    Field::new("max_operations", Kind::Int, "After how many records."),
    Field::new("interval", Kind::Seconds, "After how long, at least a day; 0: however old a term is."),
];

pub async fn config(system: &System, _: &Call<'_>) -> Result<Response> {
    let config = system.open()?.rotation.config();
    let interval = if config.interval == 0 { Value::from(0) } else { format_go(config.interval).into() };
    Ok(Response::data(object! {
        "enabled": config.enabled,
        "interval": interval,
        "max_operations": config.max_operations,
    }))
}

pub async fn configure(system: &System, call: &Call<'_>) -> Result<Response> {
    let (open, input) = (system.open()?, &call.input);
    let mut config = open.rotation.config();
    config.enabled = input.bool("enabled")?.unwrap_or(config.enabled);
    config.interval = input.seconds("interval")?.unwrap_or(config.interval);
    if let Some(most) = input.int("max_operations")? {
        config.max_operations = u64::try_from(most).unwrap_or(0);
    }
    open.rotation.set(config).await?;
    if config.enabled && config.max_operations <= RECORDS_PER_TERM {
        return Ok(Response::empty());
    }
    Ok(Response::empty().warn(format!("a term ends after {RECORDS_PER_TERM} records in any case")).with_status(200))
}

pub async fn seal(system: &System, _: &Call<'_>) -> Result<Response> {
    let core = system.open()?.core()?;
    // This request holds what is to be forgotten.
    tokio::spawn(async move { core.seal().await });
    // It is sealed when the answer is there.
    while system.open().is_ok_and(|open| open.core().is_ok_and(|core| !core.is_sealed())) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(Response::empty())
}

pub async fn reload(system: &System, call: &Call<'_>) -> Result<Response> {
    match call.input.capture("subsystem") {
        "audit" => {
            system.open()?.audit.reopen();
            Ok(Response::empty())
        }
        other => Err(Error::bad_request(format!("the configuration of {other:?} cannot be reloaded; \"audit\" can"))),
    }
}
