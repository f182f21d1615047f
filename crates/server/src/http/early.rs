//! What is answered without a token, and while the server is sealed: `sys/init`, `sys/seal-status`, `sys/unseal`, `sys/health`, `sys/leader`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use tokio::sync::Semaphore;

use super::asked::Asked;
use super::body::AnswerBody;
use super::surely::surely;
use crate::core::{API_VERSION, Core, Init, SealStatus, hex};
use crate::http::answer;
use crate::json::{Object, Value};
use crate::logical::{Error, Operation, Pinned, Result};
use crate::seal::{Shares, shamir};

/// The answer, if the path is one of these.
pub async fn try_answer(core: &Arc<Core>, asked: &Asked) -> Option<Response<AnswerBody>> {
    let request = &asked.request;
    let writes = request.operation == Operation::Update;
    let reads = request.operation == Operation::Read;
    let result = match request.path.as_str() {
        "sys/health" if reads => return Some(health(core, &request.data).await),
        "sys/init" if reads => core.is_initialized().await.map(|initialized| object! { "initialized": initialized }),
        "sys/init" if writes => initialize(core, &request.data).await,
        "sys/seal-status" if reads => core.seal_status().await.map(|status| shown(core, &status)),
        "sys/unseal" if writes => unseal(core, &request.data).await,
        // One server: there is nobody to follow, and nobody to hand over to.
        "sys/leader" if reads => Ok(object! { "ha_enabled": false }),
        "sys/health" | "sys/init" | "sys/seal-status" | "sys/unseal" | "sys/leader"
            if request.operation != Operation::Help =>
        {
            return Some(answer::errors(405, &[]));
        }
        _ => return None,
    };
    Some(match result {
        Ok(object) => answer::json(200, &object),
        Err(error) => answer::error(&error),
    })
}

fn shown(core: &Core, status: &SealStatus) -> Object {
    let mut shown = object! {
        "type": status.kind.as_str(),
        "initialized": status.initialized,
        "sealed": status.sealed,
        "t": status.threshold,
        "n": status.shares,
        "progress": status.progress,
        "nonce": status.nonce.as_str(),
        "recovery_seal": status.recovery,
        "version": API_VERSION,
        "commit_date": "",
        "migration": status.migrating,
        "storage_type": core.storage_kind(),
    };
    if status.recovery {
        shown.insert("recovery_seal_type".to_owned(), shamir::NAME.into());
    }
    if let Some((name, id)) = &status.cluster {
        shown.insert("cluster_name".to_owned(), name.as_str().into());
        shown.insert("cluster_id".to_owned(), id.as_str().into());
    }
    shown
}

async fn health(core: &Core, query: &Object) -> Response<AnswerBody> {
    // Reading goes on. Whoever watches the server should know all the same.
    if core.has_failed() {
        let failed = "the storage could not be written: nothing is before the server is started again";
        return answer::errors(500, &[failed.to_owned()]);
    }
    let status = match core.seal_status().await {
        Ok(status) => status,
        Err(error) => return answer::error(&error),
    };
    let code = |name: &str, otherwise: u16| match query.get(name).and_then(Value::as_str) {
        None => Ok(otherwise),
        Some(text) => {
            // 1xx is no answer; a proxy takes 101 for one and stops looking at what follows.
            let code = text.parse::<u16>().ok().filter(|code| (200..600).contains(code));
            code.ok_or(())
        }
    };
    let code = match (status.initialized, status.sealed) {
        (false, _) => code("uninitcode", 501),
        (true, true) => code("sealedcode", 503),
        (true, false) => code("activecode", 200),
    };
    let Ok(code) = code else { return answer::errors(400, &[]) };
    let replication = if status.sealed { "unknown" } else { "disabled" };
    let mut shown = object! {
        "initialized": status.initialized,
        "sealed": status.sealed,
        "standby": status.sealed,
        // As Vault has it, and clients of Vault want it: vaultrs reads no answer without.
        "performance_standby": false,
        "replication_performance_mode": replication,
        "replication_dr_mode": replication,
        "server_time_utc": jiff::Timestamp::now().as_second(),
        "version": API_VERSION,
    };
    if let Some((name, id)) = &status.cluster {
        shown.insert("cluster_name".to_owned(), name.as_str().into());
        shown.insert("cluster_id".to_owned(), id.as_str().into());
    }
    answer::json(code, &shown)
}

async fn initialize(core: &Arc<Core>, body: &Object) -> Result<Object> {
    for name in ["pgp_keys", "recovery_pgp_keys", "root_token_pgp_key"] {
        let given = body.get(name);
        if given
            .is_some_and(|value| !value.is_null() && *value != Value::from("") && *value != Value::Array(Vec::new()))
        {
            return Err(Error::bad_request(format!("{name} is not supported by this server yet")));
        }
    }
    let number = |name: &str| match body.get(name) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(digits)) => digits.parse().map_err(|_| Error::bad_request(format!("{name} is a number"))),
        Some(_) => Err(Error::bad_request(format!("{name} is a number"))),
    };
    let prefix = if core.has_auto_seal() { "recovery" } else { "secret" };
    let shares =
        Shares { shares: number(&format!("{prefix}_shares"))?, threshold: number(&format!("{prefix}_threshold"))? };
    if core.has_auto_seal() && (number("secret_shares")? > 1 || number("secret_threshold")? > 1) {
        return Err(Error::bad_request(format!(
            "parameters secret_shares,secret_threshold not applicable to seal type {}",
            core.seal_kind()
        )));
    }
    let ours = Arc::clone(core);
    let made = to_its_end(Box::pin(async move { ours.initialize(Init { shares }).await })).await?;
    let texts = |form: fn(&[u8]) -> String| {
        Value::from(made.shares.iter().map(|share| form(share.expose())).collect::<Vec<_>>())
    };
    let (in_hex, in_base64) = (texts(hex), texts(|share| STANDARD.encode(share)));
    let mut shown = object! { "root_token": made.root_token.expose() };
    if made.recovery {
        shown.extend(object! { "keys": Vec::<String>::new(), "keys_base64": Vec::<String>::new() });
        if !made.shares.is_empty() {
            shown.extend(object! { "recovery_keys": in_hex, "recovery_keys_base64": in_base64 });
        }
    } else {
        shown.extend(object! { "keys": in_hex, "keys_base64": in_base64 });
    }
    Ok(shown)
}

async fn unseal(core: &Arc<Core>, body: &Object) -> Result<Object> {
    let is_set = |name: &str| matches!(body.get(name), Some(Value::Bool(true)));
    if is_set("reset") {
        core.reset_unseal();
        return Ok(shown(core, &core.seal_status().await?));
    }
    let key = body.get("key").and_then(Value::as_str).unwrap_or_default();
    if key.is_empty() {
        return Err(Error::bad_request("'key' must be specified in request body as JSON, or 'reset' set to true"));
    }
    let bad = || Error::bad_request("'key' must be a valid hex or base64 string");
    let ours = Arc::clone(core);
    if is_set("migrate") {
        let share = shamir::parse_share(key).ok_or_else(bad)?;
        to_its_end(Box::pin(async move { ours.unless_stopping(ours.unseal_and_migrate(share)).await })).await?;
    } else if core.is_sealed() {
        let share = shamir::parse_share(key).ok_or_else(bad)?;
        to_its_end(Box::pin(async move { ours.unless_stopping(ours.unseal(share)).await })).await?;
    }
    Ok(shown(core, &core.seal_status().await?))
}

/// How many of those there are at once: one is done after the other, and nobody leaves behind as many as he likes.
static PLACES: Semaphore = Semaphore::const_new(16);

/// Does it by itself once it has its place: a client that goes away, or waits for too long, leaves nothing half-done.
async fn to_its_end<T: Send + 'static>(doing: Pinned<'static, T>) -> Result<T> {
    let place = PLACES.acquire().await.map_err(|error| Error::internal(&error))?;
    surely(async move {
        let _place = place;
        doing.await
    })
    .await
}

#[cfg(test)]
mod tests;
