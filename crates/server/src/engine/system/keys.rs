//! The keyring, and sealing.

use super::System;
use crate::core::time_text;
use crate::logical::{Call, Error, Response, Result};

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

pub async fn config(_: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::data(object! { "enabled": true, "interval": 0, "max_operations": 1_u64 << 31 }))
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
