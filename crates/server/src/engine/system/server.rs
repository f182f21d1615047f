//! What there is to say of the server as a process, of which there is one.

use super::System;
use crate::core::{time_text, versions};
use crate::json::{Object, Value};
use crate::logical::{Call, Response, Result};

/// The servers on this storage: this one.
pub async fn nodes(_: &System, _: &Call<'_>) -> Result<Response> {
    let node = object! {
        "active_node": true,
        "api_address": "",
        "cluster_address": "",
        "hostname": host_name(),
        "last_echo": Value::Null,
        "version": crate::core::API_VERSION,
    };
    Ok(Response::flat(object! { "nodes": Value::Array(vec![node.into()]) }))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// There is nobody to hand over to: it goes on serving, as the peer does that is alone.
pub async fn step_down(_: &System, _: &Call<'_>) -> Result<Response> {
    Ok(Response::empty())
}

/// Which versions have opened this storage.
pub async fn versions(system: &System, _: &Call<'_>) -> Result<Response> {
    let all = versions::all(&system.open()?.barrier).await?;
    let names: Vec<&str> = all.iter().map(|one| one.version.as_str()).collect();
    let mut info = Object::new();
    let mut before = Value::Null;
    for one in &all {
        info.insert(
            one.version.clone(),
            object! {
                "commit_date": "",
                "previous_version": std::mem::replace(&mut before, one.version.as_str().into()),
                "timestamp_installed": time_text(one.installed / 1_000_000_000 * 1_000_000_000),
            }
            .into(),
        );
    }
    Ok(Response::data(object! { "key_info": info, "keys": names }))
}
