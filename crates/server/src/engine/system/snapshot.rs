//! Snapshots of all that the server keeps.

use super::System;
use crate::logical::{Call, Error, Response, Result};

/// A snapshot, sent while it is made. Who may read this path has all that the storage has: encrypted, and complete.
pub async fn save(system: &System, call: &Call<'_>) -> Result<Response> {
    if call.request.wrap_ttl.is_some() {
        return Err(Error::bad_request("a snapshot cannot be wrapped: it is too long for that"));
    }
    Ok(Response { stream: Some(system.open()?.snapshot().await?), ..Response::default() })
}
